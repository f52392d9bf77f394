"""Files of ranks: tiktoken's merging, a twin in plain Python, gives our ids, and what it would not is refused."""

from __future__ import annotations

import base64
import itertools
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from pile_toolkit.core.errors import CorruptData, UsageError
from tests.making import examples
from tests.tokenizer.twin import merges_of_words
from tokenizer.exchange import export_tokenizer, import_tokenizer
from tokenizer.formats.tiktoken import MOST_WORK, recover_merges
from tokenizer.layout import byte_characters
from tokenizer.train import train_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizer.encoder import Encoder

WORDS = "the quick brown fox jumps over the lazy dog, and the others: naïve café 12 123 don't 中文 中文\n\n  x\n    y\n"
BYTES = [bytes([byte]) for byte in range(256)]


@pytest.fixture(scope="module")
def plain() -> Encoder:
    """A tokenizer trained here that every format can hold: without tokens for runs of spaces."""
    return train_tokenizer([WORDS * 3], vocab_size=400, max_space_run=1, allow_smaller=True)


def tiktoken_merge(piece: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """What tiktoken does with a piece: always the adjacent pair that is the token of the lowest rank."""
    parts = [piece[place : place + 1] for place in range(len(piece))]
    while pairs := [(ranks[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in ranks]:
        _, place = min(pairs)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


def merge_in_order(piece: bytes, merges: list[tuple[bytes, bytes]]) -> list[bytes]:
    """Byte-pair merging by a list of pairs: always the adjacent pair that stands first in it."""
    parts, rank = [piece[place : place + 1] for place in range(len(piece))], {pair: n for n, pair in enumerate(merges)}
    while pairs := [(rank[pair], i) for i, pair in enumerate(itertools.pairwise(parts)) if pair in rank]:
        _, place = min(pairs)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


def ranks_in(path: Path) -> dict[bytes, int]:
    """A file of ranks as tiktoken's `load_tiktoken_bpe` reads it."""
    lines = (line.split() for line in path.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def write_ranks(path: Path, ranks: dict[bytes, int]) -> Path:
    path.write_bytes(b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks.items()))
    return path


def test_tiktokens_merging_of_our_ranks_gives_our_ids(plain, gpt2, texts, tmp_path):
    split = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    byte_of = {character: byte for byte, character in enumerate(byte_characters())}
    for number, (encoder, sample) in enumerate(((plain, [WORDS, *texts[:3]]), (gpt2.ours, texts[::200]))):
        path = tmp_path / f"{number}.tiktoken"
        export_tokenizer(encoder, path, to="tiktoken")
        ranks = ranks_in(path)
        assert sorted(ranks.values()) == list(ranks.values())
        for text in sample:
            pieces = [bytes(map(byte_of.__getitem__, piece)) for piece, _ in split(text[:5000])]
            theirs = [ranks[token] for piece in pieces for token in tiktoken_merge(piece, ranks)]
            assert encoder.encode(text[:5000]).tolist() == theirs


@settings(max_examples=200)
@given(words=st.lists(st.text("abc ", min_size=1, max_size=12).map(str.encode), min_size=1, max_size=8))
def test_merges_are_recovered_from_the_ranks_of_what_was_trained(words):
    merges = [(left.encode(), right.encode()) for left, right in trained_merges(words)]
    ranks = {token: rank for rank, token in enumerate([*BYTES, *(left + right for left, right in merges)])}
    assert recover_merges(ranks, name="ranks") == merges


def trained_merges(words: list[bytes]) -> list[tuple[str, str]]:
    characters = byte_characters()
    blank = characters[ord(" ")]
    merges = merges_of_words(dict.fromkeys(words, 1), 40)
    return [(left.replace(blank, " "), right.replace(blank, " ")) for left, right in merges]


@settings(max_examples=examples(500, daily=150))
@given(
    tokens=st.lists(st.text("ab", min_size=2, max_size=5).map(str.encode), max_size=12, unique=True),
    texts=st.lists(st.text("ab", max_size=12).map(str.encode), min_size=1, max_size=10),
)
def test_any_ranks_give_tiktokens_tokens_or_are_refused(tokens, texts):
    # Tokens of no training, in any order: what is accepted must merge as tiktoken merges.
    ranks = {token: rank for rank, token in enumerate([*BYTES, *tokens])}
    try:
        merges = recover_merges(ranks, name="ranks")
    except CorruptData:
        return
    for text in texts:
        assert merge_in_order(text, merges) == tiktoken_merge(text, ranks)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b"YWI= 256\nYWI= 257\n", "line 258 of .* is the token b'ab' again"),
        (b"YWI= 255\n", "lines 256 and 257 of .* both have the rank 255"),
        (b"YW= 256\n", "line 257 of .* is b'YW= 256', not a token in base64 and its rank"),
        (b"Y?I= 256\n", "not a token in base64"),
        (b"YWI=\n", "not a token in base64"),
        (b"YWI= 256 1\n", "not a token in base64"),
        (b"YWI= x\n", "not a token in base64"),
        (b"YWI= -1\n", "rank out of range"),
        (b"YWI= %d\n" % 2**40, "rank out of range"),
        (b"YWI= %s\n" % (b"9" * 5000), "not a token in base64"),
        (b"YWJj 256\n", "the token b'abc' of rank 256 is not made of two tokens of lower ranks"),
        (b"YWJj 256\nYWI= 257\n", "b'abc' of rank 256 is not made"),
        (b"YWJjZA== 256\nYWJj 257\nYWI= 258\n", "b'abcd' of rank 256 is not made"),
    ],
)
def test_damaged_ranks_are_one_sentence_with_the_line(tmp_path, lines, said):
    path = write_ranks(tmp_path / "x.tiktoken", {byte: rank for rank, byte in enumerate(BYTES)})
    path.write_bytes(path.read_bytes() + lines)
    with pytest.raises(CorruptData, match=said) as error:
        import_tokenizer(path)
    assert "\n" not in error.value.message
    assert len(error.value.message) < 400


def test_ranks_with_a_byte_or_ids_missing_are_refused_with_what_to_type(tmp_path):
    ranks = {byte: rank for rank, byte in enumerate(BYTES)}
    lacking = write_ranks(tmp_path / "lacking.tiktoken", {token: n for token, n in ranks.items() if token != b"a"})
    with pytest.raises(CorruptData, match="no rank for 1 bytes, such as 0x61"):
        import_tokenizer(lacking)
    gaps = write_ranks(tmp_path / "gaps.tiktoken", ranks | {b"ab": 260})
    with pytest.raises(UsageError, match="none with the id 257, 258, 259") as error:
        import_tokenizer(gaps)
    assert error.value.hint is not None
    assert "--special NAME=257" in error.value.hint
    # One gap is where `<|endoftext|>` was: p50k_base is such a file.
    one = write_ranks(tmp_path / "one.tiktoken", ranks | {b"ab": 257})
    assert import_tokenizer(one).end_of_text == 256
    named = import_tokenizer(one, special_tokens={"<|eot|>": 256, "<|pad|>": 258})
    assert [named.token_id(token) for token in ("<|eot|>", "<|pad|>")] == [256, 258]
    for special, said in (({"a": 300}, "gives 'a' the id 97, not 300"), ({"<|x|>": None}, "has no token '<|x|>'")):
        with pytest.raises(UsageError, match=re.escape(said)):
            import_tokenizer(one, special_tokens=special)
    with pytest.raises(CorruptData, match="two tokens with the id 256"):
        import_tokenizer(one, special_tokens={"<|eot|>": 256, "<|pad|>": 256})


def test_ranks_that_would_take_hours_are_refused(tmp_path):
    ranks = {byte: rank for rank, byte in enumerate(BYTES)}
    length, work = 2, 0
    while work <= MOST_WORK:
        ranks[b"a" * length] = len(ranks)
        work += length**2
        length += 1
    with pytest.raises(UsageError, match="too long together"):
        import_tokenizer(write_ranks(tmp_path / "long.tiktoken", ranks))
