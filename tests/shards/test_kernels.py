"""The compiled walk over all documents does what a list of every token does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.kernels import fill_sample_idx


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
