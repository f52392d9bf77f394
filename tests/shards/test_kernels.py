"""The compiled walk over all documents does what a list of every token does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.seeds import keyed
from shards.index.kernels import ROUNDS, add_reads, fill_sample_idx, permuted


def twin_rows(sizes, doc_idx, sequence_length):
    """Every token in reading order with its place; each `sequence_length`-th starts a sample."""
    places = [(position, offset) for position, number in enumerate(doc_idx) for offset in range(sizes[number])]
    samples = (len(places) - 1) // sequence_length
    return [(0, 0)] + [places[number * sequence_length] for number in range(1, samples + 1)]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    sequence_length=st.integers(1, 40),
    block=st.integers(1, 20),
    kind=st.sampled_from([np.int32, np.int64]),
    draw=st.data(),
)
def test_rows_are_the_places_of_every_l_th_token(sizes, sequence_length, block, kind, draw):
    doc_idx = draw.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=30))
    if not any(sizes[number] for number in doc_idx):
        return
    expected = twin_rows(sizes, doc_idx, sequence_length)
    rows = np.full((len(expected) + 1, 2), -7, kind)
    sizes_row, order = np.array(sizes, np.int32), np.array(doc_idx, np.int32)
    filled = fill_sample_idx(sizes_row, order, sequence_length, np.empty(block, np.int32), rows[:-1])
    assert filled == len(expected)
    assert rows[:-1].tolist() == [list(row) for row in expected]
    # Nothing is written past the rows that were given.
    assert rows[-1].tolist() == [-7, -7]


@pytest.mark.parametrize("sequence_length", [2**20, 2**31 - 1])
def test_the_largest_documents_do_not_overflow(sequence_length):
    documents = 50
    sizes = np.full(documents, 2**31 - 1, np.int32)
    tokens = documents * (2**31 - 1)
    rows = np.empty(((tokens - 1) // sequence_length + 1, 2), np.int64)
    order = np.arange(documents, dtype=np.int32)
    assert fill_sample_idx(sizes, order, sequence_length, np.empty(7, np.int32), rows) == len(rows)
    assert [tuple(row) for row in rows.tolist()] == [
        divmod(number * sequence_length, 2**31 - 1) for number in range(len(rows))
    ]


def test_no_documents_leave_the_first_row_only():
    rows = np.empty((1, 2), np.int32)
    none = np.empty(0, np.int32)
    assert fill_sample_idx(none, none, 4, np.empty(3, np.int32), rows) == 1
    assert rows.tolist() == [[0, 0]]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(any),
    sequence_length=st.integers(1, 40),
    block=st.integers(1, 20),
)
def test_without_an_order_documents_follow_as_they_are(sizes, sequence_length, block):
    expected = twin_rows(sizes, range(len(sizes)), sequence_length)
    rows = np.full((len(expected), 2), -7, np.int32)
    sizes_row = np.array(sizes, np.int32)
    fill_sample_idx(sizes_row, np.empty(0, np.int32), sequence_length, np.empty(block, np.int32), rows)
    assert rows.tolist() == [list(row) for row in expected]


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any), in_order=st.booleans(), data=st.data())
def test_reads_are_counted_token_by_token(sizes, in_order, data):
    length = data.draw(st.integers(0, 2 * sum(sizes)))
    order = [*range(len(sizes))] if in_order else data.draw(st.permutations(range(len(sizes))))
    endless = [(place, offset) for place in range(4 * len(sizes)) for offset in range(sizes[order[place % len(order)]])]
    starts = data.draw(st.lists(st.integers(0, len(endless) - length - 1), max_size=5))
    expected = [0] * len(sizes)
    for start in starts:
        for place, _ in endless[start : start + length]:
            expected[order[place % len(order)]] += 1
    reads = np.zeros(len(sizes), np.int64)
    doc_idx = np.array([] if in_order else order * 4, np.int32)
    rows = np.array([endless[start] for start in starts], np.int64).reshape(-1, 2)
    add_reads(np.array(sizes, np.int32), doc_idx, rows, length, reads)
    assert reads.tolist() == expected


def test_the_permutation_of_every_small_size_is_one():
    for size in range(1, 400):
        keys = np.array([keyed(size, "test", turn) for turn in range(ROUNDS)], np.uint64)
        assert sorted(permuted(number, size, keys) for number in range(size)) == list(range(size))


def twin_permuted(number, size, keys):
    """The same network in Python's integers."""
    bits = (size - 1).bit_length()
    low_bits, high_bits = bits // 2, bits - bits // 2
    while True:
        low, high = number % (1 << low_bits), number >> low_bits
        for turn in range(0, len(keys), 2):
            high ^= twin_mixed(low ^ keys[turn]) % (1 << high_bits)
            low ^= twin_mixed(high ^ keys[turn + 1]) % (1 << low_bits)
        number = high << low_bits | low
        if number < size:
            return number


def twin_mixed(key):
    key = (key + 0x9E3779B97F4A7C15) % (1 << 64)
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) % (1 << 64)
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) % (1 << 64)
    return key ^ (key >> 31)


@settings(deadline=None)
@given(size=st.integers(1, 2**40) | st.integers(2**31 - 3, 2**32 + 3), data=st.data())
def test_the_permutation_is_that_of_the_twin_and_can_be_undone(size, data):
    keys = np.array(data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=ROUNDS, max_size=ROUNDS)), np.uint64)
    numbers = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20, unique=True))
    found = [permuted(number, size, keys) for number in numbers]
    assert found == [twin_permuted(number, size, keys.tolist()) for number in numbers]
    # A Feistel network is a bijection whatever its rounds do; two numbers never meet.
    assert len(set(found)) == len(numbers)
    assert all(0 <= number < size for number in found)


def test_numbers_that_follow_each_other_are_spread_evenly():
    keys = np.array([keyed(1, "test", turn) for turn in range(ROUNDS)], np.uint64)
    size, cells = 100_003, 50
    counts = np.bincount([permuted(number, size, keys) * cells // size for number in range(10_000)], minlength=cells)
    # Chi squared with 49 degrees of freedom is below 94 in all but one of 10,000 random orders.
    assert ((counts - 200) ** 2 / 200).sum() < 94
