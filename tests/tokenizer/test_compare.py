"""The table's counts are those of the library and of plain Python over the same documents."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.console import Silent
from pile_toolkit.core.errors import CorruptData, UsageError
from tokenizer.compare import BATCH_CHARACTERS, compare, compare_tokenizers
from tokenizer.comparing.published import GPT2, IN_THE_PAPER, NEOX_20B
from tokenizer.comparing.results import printable, quoted
from tokenizer.comparing.tally import is_white_space
from tokenizer.layout import byte_characters

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tokenizer.conftest import Pair
    from tokenizer.compare import Comparison


def bytes_by_id(pair: Pair) -> dict[int, bytes]:
    """What every token stands for, from the library's vocabulary."""
    byte_of = {character: byte for byte, character in enumerate(byte_characters())}
    added = {token_id: token.content for token_id, token in pair.library.get_added_tokens_decoder().items()}
    spelled = {token_id: token for token, token_id in pair.library.get_vocab(with_added_tokens=False).items()}
    merged = {
        token_id: bytes(byte_of[char] for char in token) for token_id, token in spelled.items() if token_id not in added
    }
    return merged | {token_id: content.encode() for token_id, content in added.items()}


def is_space(token: bytes) -> bool:
    """Whether nothing is left of a token when white space is stripped."""
    text = token.decode(errors="replace")
    return bool(text) and not text.strip()


@pytest.fixture(scope="module")
def some(documents) -> list[tuple[str, str]]:
    return documents[::5]


@pytest.fixture(scope="module")
def compared(gpt2, neox, some) -> Comparison:
    return compare({"GPT-2": gpt2.ours, "20B": neox.ours}, iter(some), threads=2, longest=25, unused=3000, worst=7)


@pytest.fixture(scope="module")
def expected_ids(gpt2, neox, some) -> dict[str, list[list[int]]]:
    """The library's ids of every document."""
    return {name: [pair.expected(text) for _, text in some] for name, pair in (("GPT-2", gpt2), ("20B", neox))}


def test_counts_per_component_and_in_all_are_the_librarys(gpt2, neox, some, compared, expected_ids):
    assert compared.encoders == ("GPT-2", "20B")
    assert [row.component for row in compared.rows] == list(dict.fromkeys(component for component, _ in some))
    for name, pair in (("GPT-2", gpt2), ("20B", neox)):
        token_bytes = bytes_by_id(pair)
        tokens, solid, solid_bytes, documents, size = (defaultdict(int) for _ in range(5))
        for (component, text), ids in zip(some, expected_ids[name], strict=True):
            kept = [token_bytes[token_id] for token_id in ids if not is_space(token_bytes[token_id])]
            for of in (component, "total"):
                documents[of] += 1
                size[of] += len(text.encode())
                tokens[of] += len(ids)
                solid[of] += len(kept)
                solid_bytes[of] += sum(map(len, kept))
        for row in (*compared.rows, compared.total):
            of, without = row.component, row.without_white_space
            assert (row.documents, row.bytes, row.tokens[name]) == (documents[of], size[of], tokens[of])
            assert row.bytes_per_token[name] == size[of] / tokens[of]
            assert row.ratio[name] == row.tokens[name] / row.tokens["GPT-2"]
            assert without.tokens[name] == solid[of] <= tokens[of]
            assert without.bytes_per_token[name] == solid_bytes[of] / solid[of]
            assert without.ratio[name] == without.tokens[name] / without.tokens["GPT-2"]
        assert tokens["total"] > solid["total"]


def test_longest_and_unused_tokens_are_those_of_plain_python(gpt2, neox, compared, expected_ids):
    for name, pair in (("GPT-2", gpt2), ("20B", neox)):
        token_bytes, use = bytes_by_id(pair), compared.vocabularies[name]
        occurrences = Counter(token_id for ids in expected_ids[name] for token_id in ids)
        longest = sorted(token_bytes, key=lambda token_id: (-len(token_bytes[token_id]), token_id))[:25]
        assert [token.id for token in use.longest] == longest
        assert [token.bytes for token in use.longest] == [len(token_bytes[token_id]) for token_id in longest]
        assert [token.occurrences for token in use.longest] == [occurrences[token_id] for token_id in longest]
        unused = sorted(token_bytes.keys() - occurrences.keys())
        special = {token_id for token_id, token in pair.library.get_added_tokens_decoder().items() if token.special}
        single = {token_id for token_id in unused if len(token_bytes[token_id]) == 1}
        assert (use.ids, use.unused) == (len(token_bytes), len(unused))
        assert (use.unused_special, use.unused_bytes) == (len(special), len(single))
        merged = [token_id for token_id in unused if token_id not in special | single]
        assert [token.id for token in use.examples] == merged[:3000]
        assert len(merged) > 3000


def test_worst_documents_are_those_with_the_fewest_bytes_per_token(some, compared, expected_ids):
    for name in compared.encoders:
        sizes = [len(text.encode()) for _, text in some]
        counts = [len(ids) for ids in expected_ids[name]]
        worst = sorted(range(len(some)), key=lambda number: (sizes[number] / counts[number], number))[:7]
        found = compared.worst[name]
        assert [item.place for item in found] == [f"document {number + 1:,}" for number in worst]
        assert [(item.bytes, item.tokens) for item in found] == [(sizes[number], counts[number]) for number in worst]
        assert [item.component for item in found] == [some[number][0] for number in worst]
        assert [item.begins for item in found] == [printable(some[number][1][:60]) for number in worst]


@given(
    texts=st.lists(st.text(alphabet="the  qu\ud7ff\n", max_size=6), min_size=1, max_size=30), worst=st.integers(0, 8)
)
def test_of_equally_bad_documents_the_first_are_listed(small, texts, worst):
    found = compare({"small": small}, [("component", text) for text in texts], worst=worst).worst["small"]
    ratios = [
        (len(text.encode()) / len(small.encode(text)), f"document {number:,}", number)
        for number, text in enumerate(texts, start=1)
        if text
    ]
    expected = sorted(ratios, key=lambda item: (item[0], item[2]))[:worst]
    assert [(item.bytes_per_token, item.place) for item in found] == [item[:2] for item in expected]


def test_many_batches_and_threads_count_as_one(small):
    documents = [(f"component {number % 3}", "the quick " * (BATCH_CHARACTERS // 40)) for number in range(9)]
    tables = [compare({"small": small}, documents, threads=threads) for threads in (1, 2, 5)]
    tokens = len(small.encode(documents[0][1]))
    assert [row.tokens["small"] for row in tables[0].rows] == [3 * tokens] * 3
    assert tables[0].total.tokens == {"small": 9 * tokens}
    assert tables[1:] == tables[:1] * 2


def test_documents_without_tokens_have_no_ratio(small):
    table = compare({"small": small}, [("empty", ""), ("full", "the"), ("space", " ")])
    empty, full, space = table.rows
    assert (empty.bytes_per_token, empty.ratio) == ({"small": None}, {"small": None})
    assert (full.bytes_per_token, full.ratio) == ({"small": 3.0}, {"small": 1.0})
    assert (space.tokens, space.without_white_space.tokens) == ({"small": 1}, {"small": 0})
    assert space.without_white_space.ratio == {"small": None}
    assert [item.component for item in table.worst["small"]] == ["space", "full"]
    assert msgspec.json.decode(msgspec.json.encode(table), type=type(table)) == table


@pytest.mark.parametrize("space", [" ", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", " " * 24, "\x0b\x0c"])
def test_a_token_of_nothing_but_white_space_is_a_white_space_token(space):
    assert is_white_space(space.encode())
    assert not is_white_space(space.encode() + b"a")


@pytest.mark.parametrize("token", [b"", b"\xc2", b"\x80", b" \xe2", "\u200b".encode(), b"\x00", b" a"])
def test_halves_of_characters_and_what_is_seen_are_no_white_space_tokens(token):
    assert not is_white_space(token)


def test_the_papers_figures_are_as_published():
    rows = {(row.data, row.white_space): row for row in IN_THE_PAPER}
    pile, solid = rows["the Pile, validation", True], rows["the Pile, validation", False]
    assert pile.tokens == {GPT2: 383_111_734, NEOX_20B: 342_887_807}
    assert solid.tokens == {GPT2: 337_787_550, NEOX_20B: 322_074_249}
    assert rows["C4, validation", True].tokens == {GPT2: 173_669_294, NEOX_20B: 173_768_876}
    assert f"{pile.ratio:.3f}" == "0.895"


def test_text_from_outside_is_harmless_on_a_terminal(small):
    table = compare({"small": small}, [("a\x1b[31m", "\x1b]0;title\x07\u202edrow\x9b2J\r\n" + "x" * 100)])
    (row,), (worst,) = table.rows, table.worst["small"]
    assert row.component == worst.component == "a\\x1b[31m"
    assert worst.begins == "\\x1b]0;title\\x07\\u202edrow\\x9b2J\\r\\n" + "x" * 40
    assert printable("a b é 漢 🙂") == "a b é 漢 🙂"


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("the", "'the'"),
        ("", "''"),
        ("-" * 15, f"'{'-' * 15}'"),
        (" " * 512, "' ' × 512"),
        ("\\n" + " " * 16 + "if", "'\\n' + ' ' × 16 + 'if'"),
    ],
)
def test_a_character_repeated_often_stands_once(token, shown):
    assert quoted(token) == shown


class Counting(Silent):
    """Keeps the units and notes of a progress bar."""

    def __init__(self) -> None:
        self.units: list[int] = []
        self.notes: list[str] = []

    def progress(self, label, *, total, unit):
        counting = self

        class Bar:
            def __enter__(self):
                return lambda units, note="": (counting.units.append(units), counting.notes.append(note))

            def __exit__(self, *error):
                pass

        return Bar()


def test_progress_counts_the_bytes_of_the_texts(small, tmp_path: Path):
    small.save(tmp_path / "tokenizer.json")
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("é" * 10)
    reporter = Counting()
    table = compare_tokenizers([tmp_path / "tokenizer.json"], tmp_path, reporter=reporter)
    assert (sum(reporter.units), reporter.notes) == (40, ["2 of 2 files"])
    assert (table.total.bytes, table.total.documents) == (40, 2)


def test_what_cannot_be_compared_is_refused(small, tmp_path: Path):
    with pytest.raises(UsageError, match="no tokenizer"):
        compare({}, [("a", "b")])
    with pytest.raises(UsageError, match="no documents"):
        compare({"small": small}, [])
    with pytest.raises(CorruptData, match="a document of wikipedia-en has the lone surrogate"):
        compare({"small": small}, [("wikipedia-en", "\ud800")])
    with pytest.raises(UsageError, match="worst is -1"):
        compare({"small": small}, [("a", "b")], worst=-1)
    small.save(tmp_path / "tokenizer.json")
    with pytest.raises(UsageError, match=r"tokenizer\.json is given twice"):
        compare_tokenizers([tmp_path / "tokenizer.json", str(tmp_path / "tokenizer.json")], tmp_path)
