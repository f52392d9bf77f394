"""The kernels' own XXH64 and SHA-1 are the libraries', for every length and wherever the bytes lie."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.kernels import kernel
from pipelines.minhash.hashing.kernels import SHORT_BYTES, WORDS, sha1_32, xxh64, xxh64_of_words

DATA = np.random.default_rng(5).integers(0, 256, 700, dtype=np.uint8)


@kernel
def hash_words(low, high, lengths, hashes, first):
    xxh64_of_words(low, high, lengths, hashes, first)


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_xxh64_is_the_librarys_for_every_length(seed):
    for length in range(260):
        start = length * 7 % 97
        expected = xxhash.xxh64_intdigest(DATA[start : start + length].tobytes(), seed)
        assert xxh64(DATA, start, length, np.uint64(seed)) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=SHORT_BYTES), min_size=WORDS, max_size=WORDS), st.binary(min_size=16, max_size=16))
def test_words_side_by_side_have_the_hashes_of_each_whatever_lies_behind_them(words, behind):
    padded = [np.frombuffer((word + behind)[:16], np.uint64) for word in words]
    low, high = (np.array([one[place] for one in padded]) for place in (0, 1))
    lengths, hashes = np.array([len(word) for word in words], np.uint64), np.zeros(WORDS, np.uint64)
    hash_words(low, high, lengths, hashes, 0)
    assert hashes.tolist() == [xxhash.xxh64_intdigest(word) for word in words]


def test_sha1_is_the_standard_librarys_for_every_length():
    scratch = np.zeros(80, np.uint32)
    for length in range(300):
        digest = hashlib.sha1(DATA[5 : 5 + length].tobytes()).digest()
        assert sha1_32(DATA, 5, length, scratch) == int.from_bytes(digest[:4], "little")
