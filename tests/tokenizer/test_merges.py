"""The compiled merge loop is byte-pair encoding as defined, whatever the words, however large their counts."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.making import examples
from tests.tokenizer.twin import merges_of_words
from tokenizer.layout import SPECIAL_TOKENS, byte_characters
from tokenizer.training.counting.words import WordCounts
from tokenizer.training.merging import kernels
from tokenizer.training.merging import merges as engine

LARGEST_COUNT = 10**13
# So few that pairs are often equal, or differ by one; some are nothing, or negative, in 32 bits.
TIED = st.sampled_from([2**31 - 1, 2**31, 2**32, 2**32 + 1, LARGEST_COUNT - 1, LARGEST_COUNT])
WORDS = st.sampled_from([b"ab", b"abc", b"a", b"ab\n", bytes([0, 255, 128])]).flatmap(
    lambda letters: st.binary(min_size=1, max_size=24).map(lambda word: bytes(letters[b % len(letters)] for b in word))
)


def merges(counts: dict[bytes, int], limit: int) -> list[tuple[str, str]]:
    characters = byte_characters()
    tokens = [*SPECIAL_TOKENS, *sorted(characters)]
    symbols = np.array([tokens.index(character) for character in characters], np.int32)
    found = engine.find_merges(WordCounts.of(counts), symbol_of_byte=symbols, first_id=len(tokens), limit=limit)
    assert (np.diff(found.counts) <= 0).all()
    result = []
    for left, right in found.pairs.tolist():
        result.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return result


@pytest.fixture
def knobs(monkeypatch):
    """Sets how often all is counted again, how small the arrays are and which words are long: no merge may change."""

    def turn(share: int, most: int, table: int, short: int) -> None:
        monkeypatch.setattr(engine, "MOST_PAIRS", most)
        monkeypatch.setattr(engine, "LONGEST_SHORT_BYTES", short)
        monkeypatch.setattr(engine, "THRESHOLD_SHARE", share)
        monkeypatch.setattr(engine, "SMALLEST_TABLE", table)
        monkeypatch.setattr(engine, "MERGES_AT_ONCE", table)

    return turn


def test_merges_are_those_of_the_definition_with_counts_beyond_32_bits(knobs):
    @settings(max_examples=examples(250, daily=100))
    @given(
        counts=st.dictionaries(WORDS, st.integers(1, LARGEST_COUNT) | st.integers(1, 3) | TIED, max_size=25),
        limit=st.integers(0, 80),
        share=st.sampled_from([1, 2, 64, 2**62]),
        most=st.sampled_from([1, 3, 1 << 18]),
        table=st.sampled_from([2, 1 << 12]),
        short=st.sampled_from([0, 4, 7, 64]),
    )
    def check(counts, limit, share, most, table, short):
        knobs(share, most, table, short)
        assert merges(counts, limit) == merges_of_words(counts, limit)

    check()


@settings(max_examples=100)
@given(counts=st.dictionaries(st.text("abc", min_size=1, max_size=20), st.integers(1, 5), min_size=1, max_size=20))
def test_merges_of_words_are_the_librarys(counts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", behavior="removed")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["\n".join([word] * count) for word, count in counts.items()], trainer)
    library = json.loads(tokenizer.to_str())["model"]["merges"]
    ours = merges({word.encode(): count for word, count in counts.items()}, 400 - 258)
    assert [list(merge) for merge in ours] == library


def test_a_count_one_higher_than_all_others_decides_beyond_53_bits():
    counts = {b"ab": 2**60, b"cd": 2**60 + 1, b"ef": 2**60}
    assert merges(counts, 3) == [("c", "d"), ("a", "b"), ("e", "f")]


def test_many_merges_of_one_long_word():
    word = bytes((position * position // 7) % 251 for position in range(3000))
    assert merges({word: LARGEST_COUNT}, 200) == merges_of_words({word: LARGEST_COUNT}, 200)
    # Some thousand equal letters: pairs of pairs, and what is left over at the end.
    assert merges({b"a" * 4095: 3}, 50) == merges_of_words({b"a" * 4095: 3}, 50)


@pytest.mark.parametrize("short", [0, 16, 10**6])
def test_long_and_short_words_share_their_pairs(monkeypatch, short):
    monkeypatch.setattr(engine, "LONGEST_SHORT_BYTES", short)
    picked = random.Random(short)
    counts = {
        bytes(picked.choices(b"abcd", weights=(8, 4, 2, 1), k=length)): picked.randrange(1, 9)
        for length in [*range(2, 60), 200, 700]
    }
    assert merges(counts, 300) == merges_of_words(counts, 300)


GIANTS = {
    "one letter": lambda picked: np.full(5_000_000, ord("a"), np.uint8),
    "two letters": lambda picked: np.tile(np.frombuffer(b"abaab", np.uint8), 1_000_000),
    "any letters": lambda picked: picked.integers(97, 123, 5_000_000).astype(np.uint8),
    "ideographs": lambda picked: np.frombuffer(
        "".join(map(chr, 0x4E00 + np.minimum(picked.zipf(1.3, 1_600_000), 5000))).encode(), np.uint8
    ),
}


@pytest.mark.parametrize("kind", GIANTS)
def test_a_word_of_megabytes_takes_no_longer_than_as_much_text(monkeypatch, kind):
    seen = []

    def watched(*arguments):
        status = compiled(*arguments)
        (state,) = (array for array in arguments if np.shape(array) == (kernels.STATE_SIZE,))
        seen.append(int(state[kernels.CELLS_SEEN]))
        return status

    compiled = kernels.merge_pairs
    monkeypatch.setattr(kernels, "merge_pairs", watched)
    data = GIANTS[kind](np.random.default_rng(4))
    found = merges({data.tobytes(): 1}, 20_000)
    # Each cell is the place of one pair; those that merging makes are fewer. Walking through the word for each merge
    # looks at a thousand times as many.
    assert 0 < seen[-1] < 4 * len(data)
    if kind in ("one letter", "two letters"):
        # Each merge halves what is left, until nothing is.
        assert found == first_merges(data, 40)
        assert 20 < len(found) < 40
    else:
        assert found[:12] == first_merges(data, 12)
        assert len(found) == 20_000


def first_merges(data: np.ndarray, limit: int) -> list[tuple[str, str]]:
    """The definition of the merges of one word, in whole arrays."""
    characters = byte_characters()
    tokens = [*SPECIAL_TOKENS, *sorted(characters)]
    symbols = np.array([tokens.index(character) for character in characters])[data]
    result = []
    while len(result) < limit and len(symbols) > 1:
        counts = np.bincount(symbols[:-1] * 512 + symbols[1:])
        # The first of the highest is that of the lowest ids.
        left, right = divmod(int(counts.argmax()), 512)
        places = np.flatnonzero((symbols[:-1] == left) & (symbols[1:] == right))
        if left == right:
            # In a run of them every other one, from the left.
            starts = np.flatnonzero(np.diff(places, prepend=-2) != 1)
            run = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(places)))
            places = places[(places - places[starts][run]) % 2 == 0]
        symbols[places] = len(tokens)
        symbols = np.delete(symbols, places + 1)
        result.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return result


@pytest.mark.parametrize("counts", [{}, {b"a": 5}, {b"a": 1, b"b": 1}])
def test_words_without_a_pair_have_no_merge(counts):
    assert merges(counts, 10) == []
