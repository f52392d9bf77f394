"""The compiled merge loop is byte-pair encoding as defined, whatever the words, however large their counts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.tokenizer.twin import merges_of_words
from tokenizer.layout import SPECIAL_TOKENS, byte_characters
from tokenizer.training.counting.words import WordCounts
from tokenizer.training.merging import merges as engine

LARGEST_COUNT = 10**13
WORDS = st.sampled_from([b"ab", b"abc", b"a", b"ab\n", bytes([0, 255, 128])]).flatmap(
    lambda letters: st.binary(min_size=1, max_size=24).map(lambda word: bytes(letters[b % len(letters)] for b in word))
)


def merges(counts: dict[bytes, int], limit: int) -> list[tuple[str, str]]:
    characters = byte_characters()
    tokens = [*SPECIAL_TOKENS, *sorted(characters)]
    symbols = np.array([tokens.index(character) for character in characters], np.int32)
    found = engine.find_merges(WordCounts.of(counts), symbol_of_byte=symbols, first_id=len(tokens), limit=limit)
    result = []
    for left, right in found.tolist():
        result.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return result


@pytest.fixture
def knobs(monkeypatch):
    """Sets how often all is counted again and how small the arrays are, which must not change a merge."""

    def turn(share: int, table: int) -> None:
        monkeypatch.setattr(engine, "THRESHOLD_SHARE", share)
        monkeypatch.setattr(engine, "SMALLEST_TABLE", table)
        monkeypatch.setattr(engine, "MERGES_AT_ONCE", table)

    return turn


def test_merges_are_those_of_the_definition_with_counts_beyond_32_bits(knobs):
    @settings(max_examples=300)
    @given(
        counts=st.dictionaries(WORDS, st.integers(1, LARGEST_COUNT) | st.integers(1, 3), max_size=25),
        limit=st.integers(0, 80),
        share=st.sampled_from([1, 2, 64, 2**62]),
        table=st.sampled_from([2, 1 << 12]),
    )
    def check(counts, limit, share, table):
        knobs(share, table)
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


@pytest.mark.parametrize("counts", [{}, {b"a": 5}, {b"a": 1, b"b": 1}])
def test_words_without_a_pair_have_no_merge(counts):
    assert merges(counts, 10) == []
