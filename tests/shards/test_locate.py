"""Samples that hold an occurrence are those that a walk over every sample finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.dataset import TokenDataset
from shards.find import find_tokens
from shards.index import SampleIndex
from shards.index.stateless import StatelessOrder, epoch_table
from shards.locate import samples_holding

DOCUMENTS = [[1, 2, 3, 9], [4, 5, 9], [1, 2, 1, 2, 9], [9], [7] * 30 + [1, 2, 9], []]
ENTRIES = [2, 0, 3, 2, 1, 0, 4, 5]


def walked(index, occurrences, samples):
    """Every id of every sample looked at, one by one."""
    found = {}
    for sample in range(samples):
        place = 0
        for sequence, start, stop in index.pieces(sample):
            for at in range(start, stop):
                for number, one in enumerate(occurrences):
                    same = index.dataset.pointers[sequence] == index.dataset.pointers[one.sequence]
                    if same and len(index.dataset[sequence]) and one.start <= at < one.stop:
                        found.setdefault((sample, number, place + one.start - at), []).append(place)
                place += 1
    return {(key[0], key[1], places[0], places[-1] + 1) for key, places in found.items()}


@settings(deadline=None, max_examples=40)
@given(length=st.integers(1, 12), samples=st.integers(1, 30), seed=st.integers(0, 5), asked=st.integers(1, 60))
def test_samples_are_those_that_a_walk_finds(write_documents, length, samples, seed, asked):
    dataset = TokenDataset(write_documents(DOCUMENTS, ENTRIES).prefix)
    index = SampleIndex.build(dataset, sequence_length=length, samples=samples, seed=seed)
    occurrences = find_tokens(dataset, [1, 2]).occurrences
    asked = min(asked, len(index))
    found = samples_holding(index, occurrences, samples=asked, limit=10_000)
    # Sample k shares its last id with the next one: a document's ids may stand in both.
    assert {(one.sample, one.occurrence, one.start, one.stop) for one in found} == walked(index, occurrences, asked)
    for one in found:
        assert one.whole == (one.stop - one.start == 2)
        ids = index.tokens(one.sample)[one.start : one.stop].tolist()
        assert ids in ([1, 2], [1], [2])


def test_no_more_than_asked_for_are_listed_and_nothing_is_in_none(write_documents):
    dataset = TokenDataset(write_documents(DOCUMENTS, ENTRIES).prefix)
    index = SampleIndex.build(dataset, sequence_length=4, samples=50)
    occurrences = find_tokens(dataset, [1, 2]).occurrences
    assert len(samples_holding(index, occurrences, limit=3)) == 3
    assert samples_holding(index, [], limit=3) == []


@settings(max_examples=60)
@given(length=st.integers(1, 40), samples=st.integers(1, 200), seed=st.integers(0, 5), asked=st.integers(0, 300))
def test_samples_of_an_order_without_arrays_are_those_that_a_walk_finds(write_documents, length, samples, seed, asked):
    dataset = TokenDataset(write_documents(DOCUMENTS, ENTRIES).prefix)
    index = SampleIndex.build(dataset, sequence_length=length, samples=samples, seed=seed, order="stateless")
    occurrences = find_tokens(dataset, [1, 2]).occurrences
    asked = min(asked, samples)
    found = samples_holding(index, occurrences, samples=asked, limit=10**6)
    assert {(one.sample, one.occurrence, one.start, one.stop) for one in found} == walked(index, occurrences, asked)
    assert [one.sample for one in found] == sorted(one.sample for one in found)
    assert samples_holding(index, occurrences, samples=asked, limit=3) == found[:3]


def test_a_place_is_found_in_more_samples_than_could_be_walked(write_documents):
    dataset = TokenDataset(write_documents(DOCUMENTS, ENTRIES).prefix)
    # Some 15 million samples in each of 2 epochs, which differ in nothing but the order.
    sizes = dataset.sizes.astype(np.int64) * 2_000_000
    order = StatelessOrder(
        epoch_table(sizes.astype(np.int32), sequence_length=7),
        sizes=sizes.astype(np.int32),
        sequence_length=7,
        key="ab" * 16,
        seed=3,
    )
    column = np.array([4]), np.array([5_000_001]), np.array([5_000_010])
    samples = order.first_of(2)
    found = list(order.holding(*column, samples))
    first = int(sizes[:4].sum()) + 5_000_001
    starts = order.starts(np.array(found))
    for position, offset in starts.tolist():
        assert (position, offset <= 5_000_009, offset + 7 >= 5_000_001) == (4, True, True)
    total = int(sizes.sum())
    # Samples begin at every seventh token of the endless text, and hold eight.
    wanted = {token + epoch * total for epoch in (0, 1) for token in range(first, first + 9)}
    held = {token // 7 for token in wanted} | {token // 7 - 1 for token in wanted if token % 7 == 0}
    assert len(found) == len(held)
    assert found == sorted(set(found))
