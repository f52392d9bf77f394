"""Training gives what the library's BpeTrainer gives without runs of spaces, and depends on the counted texts only."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from pile_toolkit.core.console import Silent
from pile_toolkit.core.errors import CorruptData, UsageError
from tests.making import examples
from tests.tokenizer.library import librarys_merges
from tests.tokenizer.twin import merges_of_words
from tokenizer.definition import render
from tokenizer.layout import byte_characters
from tokenizer.train import train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pile_toolkit.core.console import Advance
    from tokenizer.encoder import Encoder

SPECIAL = ["<|endoftext|>", "<|padding|>"]
# GPT-2's pattern where only ASCII letters and digits occur.
WORD = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def plain_python_merges(texts: list[str], merges: int, max_space_run: int, copies: int) -> list[tuple[str, str]]:
    pieces = [
        piece
        for text in texts
        for piece in (re.split(f" {{2,{max_space_run}}}", text) if max_space_run > 1 else [text])
    ]
    words = Counter(word.encode() for piece in pieces for word in WORD.findall(piece))
    return merges_of_words({word: copies * count for word, count in words.items()}, merges)


def spoken(alphabet: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.text(alphabet, max_size=40), max_size=10)


def test_without_runs_of_spaces_it_is_a_plain_bpe_trainer(texts):
    encoder = train_tokenizer(texts[::6], vocab_size=4000, max_space_run=1)
    vocab, merges = librarys_merges(texts[::6], 4000)
    assert encoder.definition.vocab == vocab
    assert [list(merge) for merge in encoder.definition.merges] == merges
    assert [token.content for token in encoder.definition.added_tokens] == SPECIAL
    assert encoder.vocab_size == 4000


def corpora(documents: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Texts of very different kinds, real ones and some that nobody writes."""
    picked = random.Random(4)
    points = [picked.randrange(0xA0, 0x30000) for _ in range(400)]
    letters = [chr(point) for point in points if not 0xD800 <= point < 0xE000]
    return {
        "code": [text for component, text in documents if component == "github"],
        "languages": [text for component, text in documents if component in ("europarl", "opensubtitles")],
        "digits": [text for component, text in documents if component == "dm-mathematics"],
        "code points": ["".join(picked.choices([*letters, " ", "\u3000", "\n"], k=300)) for _ in range(60)],
        "one letter": ["a" * 3000, "a" * 17, "aa aaa aaaa", "a a a"],
        "two letters": ["ab" * 900 + "a", "ba" * 901, "abba" * 100, "\n" * 40],
        "long words": [picked.choice("xyz") * 20 + "".join(picked.choices("xyz", k=90)) for _ in range(40)],
        "nothing": ["", " ", "a", "\n"],
    }


KINDS = ("code", "languages", "digits", "code points", "one letter", "two letters", "long words", "nothing")
# Plain BPE of real texts stands above: on the longest of these it is a repetition.
LONGEST = ("code", "languages")


@pytest.mark.parametrize(
    ("kind", "max_space_run"),
    [
        *((kind, 24) for kind in KINDS),
        *(pytest.param(kind, 1, marks=pytest.mark.campaign if kind in LONGEST else ()) for kind in KINDS),
    ],
)
def test_merges_are_the_librarys_on_texts_of_every_kind(documents, kind, max_space_run):
    some = corpora(documents)[kind]
    encoder = train_tokenizer(some, vocab_size=6000, max_space_run=max_space_run, allow_smaller=True, threads=2)
    pieces = (
        [piece for text in some for piece in re.split(f" {{2,{max_space_run}}}", text)] if max_space_run > 1 else some
    )
    vocab, merges = librarys_merges(pieces, 6001 - max_space_run)
    assert [list(merge) for merge in encoder.definition.merges] == merges
    assert encoder.definition.vocab == vocab


@pytest.mark.parametrize("kind", ["languages", "code points"])
def test_merges_in_the_released_layout_are_the_librarys_on_normalized_text(documents, kind):
    some = [normalizers.NFD().normalize_str(text) for text in corpora(documents)[kind]]
    composed = [normalizers.NFC().normalize_str(text) for text in some]
    assert composed != some
    encoder = train_tokenizer(some, vocab_size=4000, layout="neox-20b", allow_smaller=True)
    vocab, merges = librarys_merges([piece for text in composed for piece in re.split(" {2,24}", text)], 4000)
    assert [list(merge) for merge in encoder.definition.merges] == merges
    assert encoder.definition.vocab == vocab


# The shortest and the published one; what is between is left to the campaign.
@pytest.mark.parametrize("max_space_run", [2, pytest.param(7, marks=pytest.mark.campaign), 24])
def test_runs_of_spaces_are_cut_out_before_counting(texts, max_space_run):
    encoder = train_tokenizer(texts[::8], vocab_size=3000, max_space_run=max_space_run)
    pieces = [piece for text in texts[::8] for piece in re.split(f" {{2,{max_space_run}}}", text)]
    vocab, merges = librarys_merges(pieces, 3000 - (max_space_run - 1))
    assert encoder.definition.vocab == vocab
    assert [list(merge) for merge in encoder.definition.merges] == merges
    assert not any("ĠĠ" in token for token in vocab)
    assert encoder.vocab_size == 3000


@settings(max_examples=examples(200, daily=80), deadline=None)
@given(texts=st.sampled_from(["ab", "ab ", "abc ", "aab12 '.\n", "  a", "'s re\t"]).flatmap(spoken), data=st.data())
def test_merges_and_ties_are_those_of_the_definition(texts, data):
    max_space_run = data.draw(st.sampled_from([1, 2, 3, 24]))
    merges = data.draw(st.integers(0, 60))
    copies = data.draw(st.sampled_from([1, 2**31, 10**13]))
    size = 258 + merges + max_space_run - 1
    weighted = [(text, copies) for text in texts]
    encoder = train_tokenizer(weighted, vocab_size=size, max_space_run=max_space_run, allow_smaller=True, threads=1)
    assert list(encoder.definition.merges) == plain_python_merges(texts, merges, max_space_run, copies)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=30), max_size=8), data=st.data())
def test_the_order_of_texts_and_the_threads_change_no_byte(texts, data):
    shuffled = data.draw(st.permutations(texts))
    hashes = {
        train_tokenizer(some, vocab_size=330, allow_smaller=True, threads=threads).hash
        for some in (texts, shuffled)
        for threads in (1, 2)
    }
    assert len(hashes) == 1


def test_real_texts_in_another_order_give_the_same_file(texts, tmp_path):
    some = texts[::8]
    orders = [some, some[::-1], sorted(some, key=len)]
    for number, (order, threads) in enumerate(zip(orders, (None, 1, 2), strict=True)):
        train_tokenizer(iter(order), vocab_size=3000, threads=threads).save(tmp_path / f"{number}.json")
    first, second, third = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert first == second == third


def test_copies_count_a_text_that_often():
    texts, copies = ["aab aab xyz", "xyz xyzz", "never counted"], np.array([3, 2, 0])
    weighted = train_tokenizer(zip(texts, copies, strict=True), vocab_size=290, allow_smaller=True)
    repeated = train_tokenizer(
        [text for text, times in zip(texts, copies, strict=True) for _ in range(times)],
        vocab_size=290,
        allow_smaller=True,
    )
    assert weighted.hash == repeated.hash
    assert weighted.hash != train_tokenizer(texts, vocab_size=290, allow_smaller=True).hash


def test_copies_beyond_32_bits_count_for_what_they_are():
    # Counted in 32 bits, most of these would come out as other numbers, some of them as the highest.
    copies = [10**13 + 3, 10**13 + 2, 10**13 + 1, 10**13, 1]
    words = ["ab", "cd", "ef", "gh", "ij"]
    encoder = train_tokenizer(zip(words, copies, strict=True), vocab_size=281 + 5)
    assert ["".join(merge) for merge in encoder.definition.merges] == words


def test_the_default_layout_has_exactly_50257_ids(texts):
    encoder = train_tokenizer(texts)
    assert encoder.vocab_size == 50_257
    assert len(encoder.definition.merges) == 49_976
    assert [encoder.token(number) for number in (0, 1)] == SPECIAL
    single_bytes = [encoder.token_bytes(number) for number in range(2, 258)]
    assert sorted(single_bytes) == [bytes([byte]) for byte in range(256)]
    in_file = [character.encode("utf-32-be") for character in sorted(byte_characters())]
    assert [byte_characters()[data[0]].encode("utf-32-be") for data in single_bytes] == in_file
    assert [encoder.token(number) for number in range(50_234, 50_257)] == [" " * length for length in range(24, 1, -1)]
    assert {token.id: token.special for token in encoder.definition.added_tokens} == {
        0: True,
        1: True,
        **dict.fromkeys(range(50_234, 50_257), False),
    }
    some = "".join(texts[::50])
    assert encoder.decode(encoder.encode(some)) == some


def test_a_corpus_too_small_says_how_many_merges_it_has():
    with pytest.raises(UsageError, match=r"too small for 300 ids: 2 merges are possible, 19 are needed") as error:
        train_tokenizer(["abc"], vocab_size=300)
    assert error.value.hint == "more text, --vocab-size 283, or --allow-smaller"
    assert train_tokenizer(["abc"], vocab_size=283).vocab_size == 283


def test_a_smaller_vocabulary_can_be_allowed_and_keeps_the_layout():
    encoder = train_tokenizer(["abc"], vocab_size=10**9, allow_smaller=True)
    assert encoder.vocab_size == 283
    assert encoder.token(259) == "abc"
    assert [encoder.token(number) for number in range(260, 283)] == [" " * length for length in range(24, 1, -1)]
    assert train_tokenizer([], vocab_size=400, allow_smaller=True).vocab_size == 281


@pytest.mark.parametrize(("max_space_run", "smallest"), [(24, 281), (1, 258), (100, 357)])
def test_a_vocabulary_too_small_for_the_layout_names_the_smallest(max_space_run, smallest):
    with pytest.raises(UsageError, match=f"need {smallest}") as error:
        train_tokenizer(["abc"], vocab_size=smallest - 1, max_space_run=max_space_run)
    assert error.value.hint == f"--vocab-size {smallest} or more"
    bytes_only = train_tokenizer(["abc"], vocab_size=smallest, max_space_run=max_space_run)
    assert (bytes_only.vocab_size, bytes_only.definition.merges) == (smallest, ())


def test_bad_requests_are_refused():
    for texts, message in (
        ("one text", "this is one text"),
        ([3], "text 0 is '3'"),
        (["a", ("b", -1)], "text 1 is"),
        ([("a" * 2**20, 2**42)], "count for more than 4,611,686,018,427,387,904 bytes"),
    ):
        with pytest.raises(UsageError, match=message):
            train_tokenizer(texts, vocab_size=300)
    with pytest.raises(CorruptData, match=r"text 1 has the lone surrogate U\+D800"):
        train_tokenizer(["a", "b\ud800"], vocab_size=300)
    with pytest.raises(UsageError, match="threads is 0"):
        train_tokenizer(["a"], vocab_size=300, threads=0)
    with pytest.raises(UsageError, match="max_space_run is 0"):
        train_tokenizer(["a"], vocab_size=300, max_space_run=0)
    with pytest.raises(UsageError, match="there is no layout 'gpt'"):
        train_tokenizer(["a"], vocab_size=300, layout="gpt")
    with pytest.raises(UsageError, match="min_count is 0"):
        train_tokenizer(["a"], vocab_size=300, min_count=0)


def test_an_error_of_the_source_comes_through():
    def broken():
        yield "a text"
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="the disk went away"):
        train_tokenizer(broken(), vocab_size=300)


def test_the_layout_of_the_released_file_has_its_runs_on_top_and_normalizes(reference):
    released = json.loads((reference / "20B_tokenizer.json").read_text())
    texts = ["cafe\u0301 café  cafe\u0301    x", "caf"] * 3
    encoder = train_tokenizer(texts, vocab_size=263, layout="neox-20b")
    ours = json.loads(encoder_json(encoder))
    assert len(ours["model"]["vocab"]) == 263
    assert encoder.vocab_size == 263 + 23
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding"):
        assert ours[part] == released[part]
    moved = [
        token | {"id": token["id"] + 263 - 50254 if token["id"] > 1 else token["id"]}
        for token in released["added_tokens"]
    ]
    assert ours["added_tokens"] == moved
    composed = [unicodedata.normalize("NFC", text) for text in texts]
    _, merges = librarys_merges([piece for text in composed for piece in re.split(" {2,24}", text)], 263)
    assert [list(merge) for merge in encoder.definition.merges] == merges
    assert encoder.encode(texts[0]).tolist() == Tokenizer.from_str(encoder_json(encoder)).encode(texts[0]).ids


@pytest.mark.parametrize("max_space_run", [1, 24])
def test_a_prefix_space_is_put_where_the_library_puts_it(texts, max_space_run):
    some = [*texts[::40], "'s a  's b", "\n\n x", "", "  ", " a", "a   b"]
    encoder = train_tokenizer(some, vocab_size=2000, max_space_run=max_space_run, add_prefix_space=True)
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=True)
    runs = pre_tokenizers.Split(Regex(f" {{2,{max_space_run}}}"), behavior="removed")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([runs, byte_level]) if max_space_run > 1 else byte_level
    trainer = trainers.BpeTrainer(
        vocab_size=2001 - max_space_run,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(some, trainer)
    assert [list(merge) for merge in encoder.definition.merges] == json.loads(tokenizer.to_str())["model"]["merges"]
    assert json.loads(encoder_json(encoder))["pre_tokenizer"]["add_prefix_space"] is True


def encoder_json(encoder: Encoder) -> str:
    return render(encoder.definition).decode()


def test_rare_words_are_left_out_and_that_is_said():
    said = []
    texts = ["aa aa aa bb bb cc", " aa bb"]
    encoder = train_tokenizer(texts, vocab_size=400, min_count=3, allow_smaller=True, reporter=Recorder(said))
    # " aa" three times, " bb" three times; "aa" and " cc" once.
    assert said == ["left out 2 rare words, which occur 2 times"]
    kept = train_tokenizer([" aa bb"] * 3, vocab_size=400, allow_smaller=True)
    assert encoder.hash == kept.hash


class Recorder(Silent):
    """Keeps what is said, and adds up what is counted."""

    def __init__(self, said: list[str]) -> None:
        self.said = said
        self.counted: dict[str, int] = {}
        self.notes: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextlib.contextmanager
    def progress(self, label: str, *, total: int, unit: str) -> Iterator[Advance]:
        self.counted[label] = 0

        def advance(units: int, *, note: str = "") -> None:
            self.counted[label] += units
            self.notes.append(note)

        yield advance


def test_merges_are_told_as_they_are_made(texts):
    recorder = Recorder([])
    train_tokenizer(texts[::8], vocab_size=3000, reporter=recorder)
    assert recorder.counted == {"merging pairs": 3000 - 281}
    # The note of the last call says how often the last pair occurs, fewer times than those before.
    assert recorder.notes == sorted(recorder.notes, key=lambda note: -int(note.split()[-2].replace(",", "")))
    assert len(set(recorder.notes)) > 3


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_training_leaves_the_environment_as_it_was(monkeypatch, threads):
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    before = dict(os.environ)
    train_tokenizer(["abc abd"], vocab_size=283, threads=threads)
    assert dict(os.environ) == before
