"""Megatron-LM's arrays: its own steps in plain Python, and its own numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.dataset import TokenDataset
from shards.index import SampleIndex, megatron_arrays, neox_arrays
from shards.index.megatron import sample_dtype

MEGATRON = [
    [2, 1, 5, 0, 4, 3, 0, 4, 3, 2, 5, 1],
    [
        [0, 0],
        [0, 4],
        [1, 1],
        [2, 2],
        [3, 2],
        [4, 1],
        [4, 5],
        [5, 0],
        [6, 2],
        [7, 1],
        [7, 5],
        [8, 0],
        [9, 2],
        [9, 6],
        [10, 3],
    ],
    [1, 0, 3, 2, 5, 4, 6, 9, 10, 12, 8, 11, 13, 7],
]


def twin_arrays(sizes, *, sequence_length, samples, seed):
    """Document, sample and shuffle index, step by step as GPTDataset and its helpers make them."""
    tokens, epochs = sum(sizes), 1
    while epochs * tokens < samples * sequence_length + 1:
        epochs += 1
    apart, before = False, 0
    if epochs > 1:
        before = ((epochs - 1) * tokens - 1) // sequence_length
        apart = samples - before < int(0.80 * ((tokens - 1) // sequence_length))
    random = np.random.RandomState(seed)

    def documents(count):
        array = np.array(list(range(len(sizes))) * count, dtype=np.int32)
        random.shuffle(array)
        return array

    document_index = np.concatenate([documents(epochs - 1), documents(1)]) if apart else documents(epochs)
    places = [(place, at) for place, number in enumerate(document_index) for at in range(sizes[number])]
    rows = (len(places) - 1) // sequence_length
    sample_index = [(0, 0)] + [places[row * sequence_length] for row in range(1, rows + 1)]
    parts = []
    for start, stop in [(0, before), (before, rows)] if apart else [(0, rows)]:
        parts.append(np.arange(start, stop, dtype=np.uint32))
        random.shuffle(parts[-1])
    return document_index, np.array(sample_index, dtype=np.int32), np.concatenate(parts)


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=30).filter(any),
    sequence_length=st.integers(1, 50),
    samples=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_all_three_arrays_equal_the_twin_with_their_types(sizes, sequence_length, samples, seed):
    request = {"sequence_length": sequence_length, "samples": samples, "seed": seed}
    arrays = megatron_arrays(np.array(sizes, np.int32), **request)
    for ours, twin in zip(arrays, twin_arrays(sizes, **request), strict=True):
        assert ours.dtype == twin.dtype
        assert ours.tolist() == twin.tolist()


def test_arrays_that_megatron_lm_made():
    # Of its GPTDataset and compiled helpers, for a last epoch that is kept apart.
    arrays = megatron_arrays(np.array([5, 3, 7, 2, 9, 4], np.int32), sequence_length=4, samples=9, seed=1234)
    assert [array.tolist() for array in arrays] == MEGATRON
    assert [array.dtype for array in arrays] == [np.int32, np.int32, np.uint32]


def test_a_last_epoch_that_is_nearly_used_up_is_shuffled_with_the_others():
    sizes = np.full(100, 10, np.int32)
    request = {"sequence_length": 10, "seed": 1}
    # 99 samples an epoch, 79 of which are 80%: from 178 samples on two epochs are one order, which is gpt-neox's.
    for samples, together in ((99, True), (100, False), (177, False), (178, True)):
        neox = neox_arrays(sizes, samples=samples, **request)
        arrays = megatron_arrays(sizes, samples=samples, **request)
        assert all(map(np.array_equal, arrays, neox)) == together
        if not together:
            assert sorted(arrays.doc_idx[:100]) == sorted(arrays.doc_idx[100:]) == list(range(100))
            assert sorted(arrays.shuffle_idx[:99]) == list(range(99))


def test_offsets_are_wide_only_where_positions_or_documents_are():
    assert sample_dtype(entries=2**31 - 1, longest=2**31 - 1) == np.int32
    assert sample_dtype(entries=2**31, longest=5) == np.int64


@pytest.mark.parametrize("samples", [3, 20, 31])
def test_its_samples_are_cut_from_its_documents(write_documents, samples):
    dataset = TokenDataset(
        write_documents([list(range(10 * size, 10 * size + size)) for size in (5, 3, 7, 2, 9)]).prefix
    )
    index = SampleIndex.build(dataset, sequence_length=4, samples=samples, order="megatron")
    stream = [token for number in index.arrays.doc_idx for token in dataset[number].tolist()]
    assert len(index) >= samples
    for number, row in enumerate(index.arrays.shuffle_idx.tolist()):
        assert index.tokens(number).tolist() == stream[4 * row : 4 * row + 5]
