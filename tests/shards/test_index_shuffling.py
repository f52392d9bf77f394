"""The compiled shuffle is numpy's RandomState, draw for draw, also where an array has more than 2^32 elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.index.kernels import swap
from shards.index.shuffling import LegacyRandom


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(0, 3000) | st.sampled_from([623, 624, 625, 1023, 1024, 1025, 2049]), max_size=4),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from([np.int32, np.uint32, np.int64]),
)
def test_shuffles_one_after_another_are_those_of_one_random_state(lengths, seed, kind):
    ours, theirs = LegacyRandom(seed), np.random.RandomState(seed)
    for length in lengths:
        shuffled, expected = np.arange(length, dtype=kind), np.arange(length, dtype=kind)
        ours.shuffle(shuffled)
        theirs.shuffle(expected)
        assert shuffled.dtype == kind
        assert np.array_equal(shuffled, expected)


def test_a_million_elements():
    shuffled, expected = np.arange(1_000_003, dtype=np.uint32), np.arange(1_000_003, dtype=np.uint32)
    LegacyRandom(1234).shuffle(shuffled)
    np.random.RandomState(1234).shuffle(expected)
    assert np.array_equal(shuffled, expected)


class Recorded(Sequence):
    """A sequence of any length, of which numpy's shuffle tells which elements it exchanges."""

    def __init__(self, length, draws):
        self.length, self.draws, self.partners = length, draws, []

    def __len__(self):
        return self.length

    def __getitem__(self, place):
        if len(self.partners) == self.draws:
            raise StopIteration
        return place

    def __setitem__(self, place, value):
        # x[i], x[j] = x[j], x[i]: the first assignment is of element j to place i.
        if not self.partners or self.partners[-1][0] != value:
            self.partners.append((place, value))


@pytest.mark.parametrize("length", [2**32 + 500, 2**32 + 1, 2**33 + 7, 2**32 - 1, 2**31 + 3, 2**40])
def test_draws_for_more_than_32_bits_are_numpys(length):
    draws = 1500
    recorded = Recorded(length, draws)
    with pytest.raises(StopIteration):
        np.random.RandomState(5).shuffle(recorded)
    assert [place for place, _ in recorded.partners] == [length - 1 - k for k in range(draws)]
    drawn = LegacyRandom(5).draw(length - 1, draws)
    assert drawn.tolist() == [partner for _, partner in recorded.partners]


def test_elements_past_2_to_the_32_are_exchanged_where_they_are(tmp_path):
    # A file with holes: only what is touched takes room.
    length = 2**32 + 5000
    array = np.memmap(tmp_path / "sparse", dtype=np.int64, mode="w+", shape=(length,))
    first, partners = length - 1, np.array([2**32 + 17, 5, length - 3, 2**32 + 17], np.int64)
    places = [first - k for k in range(len(partners))] + partners.tolist()
    twin = {place: place for place in places}
    for place in places:
        array[place] = place
    swap(array, first, partners)
    for k, partner in enumerate(partners.tolist()):
        twin[first - k], twin[partner] = twin[partner], twin[first - k]
    assert {place: int(array[place]) for place in places} == twin
    assert len(set(twin.values()) - set(places)) == 0
