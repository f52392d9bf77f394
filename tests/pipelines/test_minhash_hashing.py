"""XXH64 and SHA-1 of the kernels are the libraries', and permutations are exact where arithmetic wraps."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.kernels import kernel
from pipelines.minhash.hashing.kernels import SHORT_BYTES, WORDS, sha1_32, xxh64, xxh64_of_words
from pipelines.minhash.signing.kernels import LANES, REGISTERS, lower_minima

PRIME = (1 << 61) - 1
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


@given(
    hashes=st.lists(st.integers(0, 2**32 - 1), max_size=5),
    pairs=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), min_size=1, max_size=9),
    registers=st.sampled_from([1, 3, REGISTERS, 2 * REGISTERS + 1]),
)
def test_minima_are_those_of_all_hashes_modulo_32_bits(hashes, pairs, registers):
    factors, summands = np.resize(np.array(pairs, np.uint32), (LANES * registers, 2)).T.copy()
    minima = np.full(LANES * registers, 0xFFFFFFFF, np.uint32)
    lower_minima(minima, factors, summands, np.array([*hashes, 0], np.uint32), len(hashes))
    for place, (a, b) in enumerate(zip(factors.tolist(), summands.tolist(), strict=True)):
        assert minima[place] == min([(a * h + b) % 2**32 for h in hashes], default=0xFFFFFFFF)


@given(
    value=st.integers(0, 2**32 - 1),
    eighth=st.integers(0, 7),
    around=st.integers(-9, 9),
    factor=st.integers(1, PRIME - 1),
)
def test_the_legacy_remainder_is_exact_around_every_multiple_of_the_prime(value, eighth, around, factor):
    # The summand is such that the sum modulo 2^64 is `around` a multiple, where a remainder goes wrong first.
    summand = ((eighth << 61) - eighth + around - factor * value) % 2**64
    minima, hashes = np.full(LANES, 0xFFFFFFFF, np.uint32), np.array([value], np.uint32)
    lower_minima(minima, np.full(LANES, factor, np.uint64), np.full(LANES, summand, np.uint64), hashes, 1)
    expected = (factor * value + summand) % 2**64 % PRIME & 0xFFFFFFFF
    assert minima.tolist() == [expected] * LANES
