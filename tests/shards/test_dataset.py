"""Sequences are read as gpt-neox reads them: each through its own pointer, as a view of the file."""

from __future__ import annotations

import multiprocessing
import operator
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from shards.dataset import TokenDataset

DOCUMENTS = [[5, 6, 7], [], [1, 2, 3, 4], [9]]
ENTRIES = [2, 0, 3, 2, 1, 0]


@pytest.fixture
def written(write_documents):
    return write_documents(DOCUMENTS, ENTRIES)


def neox_get(data, dtype, pointer, size, offset=0, length=None):
    """gpt-neox's `get`: count `length` ids from the pointer plus offset."""
    length = size - offset if length is None else length
    return np.frombuffer(data, dtype, count=length, offset=pointer + offset * np.dtype(dtype).itemsize)


@settings(deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(0, 65_535), max_size=12), min_size=1, max_size=8),
    dtype=st.sampled_from(["u2", "i4"]),
    draw=st.data(),
)
def test_every_sequence_and_range_is_what_gpt_neox_reads(write_documents, documents, dtype, draw):
    entries = draw.draw(st.lists(st.integers(0, len(documents) - 1), max_size=20))
    written = write_documents(documents, entries, dtype=dtype, provenance=False)
    data = written.prefix.with_suffix(".bin").read_bytes()
    with TokenDataset(written.prefix) as dataset:
        assert (len(dataset), dataset.dtype) == (len(entries), np.dtype(dtype))
        assert dataset.total_tokens == sum(map(len, written.sequences))
        for number, ids in enumerate(written.sequences):
            place = int(dataset.pointers[number]), len(ids)
            assert dataset[number].tolist() == neox_get(data, dtype, *place).tolist() == ids
            offset = draw.draw(st.integers(0, len(ids)))
            length = draw.draw(st.none() | st.integers(0, len(ids) - offset))
            expected = neox_get(data, dtype, *place, offset, length)
            assert dataset.get(number, offset, length).tolist() == expected.tolist()


def test_numbers_count_from_the_end_as_in_lists_and_stop_at_both_ends(written):
    dataset = TokenDataset(written.prefix)
    for number in range(-len(ENTRIES), len(ENTRIES)):
        assert dataset[number].tolist() == written.sequences[number]
    assert dataset[np.int64(2)].tolist() == [9]
    assert [ids.tolist() for ids in dataset] == written.sequences
    for number in (len(ENTRIES), -len(ENTRIES) - 1, 2**70):
        with pytest.raises(IndexError, match="which has 6"):
            dataset[number]


def test_slices_are_refused_with_the_reason_and_what_to_type(written):
    with pytest.raises(UsageError, match="not contiguous") as error:
        TokenDataset(written.prefix)[1:3]
    assert error.value.hint == "[dataset[i] for i in range(start, stop)]"


@pytest.mark.parametrize("number", [1.0, "1", None])
def test_what_is_no_number_is_a_type_error(written, number):
    with pytest.raises(TypeError):
        TokenDataset(written.prefix)[number]


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (4, None), (0, 4), (2, 2), (1, -1)])
def test_a_range_outside_its_sequence_is_refused(written, offset, length):
    with pytest.raises(UsageError, match=r"sequence 1 .*it has 3"):
        TokenDataset(written.prefix).get(1, offset, length)


def test_sequences_are_read_only_views_and_copies_are_the_same_bytes(written):
    dataset = TokenDataset(written.prefix)
    assert np.shares_memory(dataset[0], dataset.ids)
    assert dataset[0].ctypes.data == dataset[3].ctypes.data
    assert not dataset[0].flags.writeable
    assert len(dataset.ids) == sum(map(len, DOCUMENTS))


def test_it_travels_to_another_process_as_its_prefix(written):
    dataset = TokenDataset(written.prefix)
    assert len(pickle.dumps(dataset)) < 500
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(operator.getitem, dataset, 3).result().tolist() == [1, 2, 3, 4]


def test_views_outlive_closing_and_a_closed_set_says_so(written):
    with TokenDataset(written.prefix) as dataset:
        view = dataset[0]
    assert view.tolist() == [1, 2, 3, 4]
    with pytest.raises(UsageError, match="are closed"):
        dataset[0]


def test_a_bin_removed_while_mapped_is_read_on(written):
    dataset = TokenDataset(written.prefix)
    written.prefix.with_suffix(".bin").unlink()
    assert [ids.tolist() for ids in dataset] == written.sequences


def test_no_sequences_are_a_data_set_too(write_documents):
    dataset = TokenDataset(write_documents([]).prefix)
    assert (len(dataset), dataset.total_tokens, list(dataset)) == (0, 0, [])


def test_dots_in_a_prefix_are_part_of_its_name(write_documents):
    written = write_documents(DOCUMENTS)
    for suffix in (".bin", ".idx"):
        written.prefix.with_suffix(suffix).rename(written.prefix.with_name(f"pile.v1{suffix}"))
    assert TokenDataset(str(written.prefix.with_name("pile.v1")))[3].tolist() == [9]


def test_the_hash_names_sizes_and_order(write_documents):
    hashes = [
        TokenDataset(write_documents(documents, entries, dtype=dtype).prefix).hash
        for documents, entries, dtype in [
            (DOCUMENTS, [0, 2], "u2"),
            ([[8, 8, 8], [], [8, 8, 8, 8], [8]], [0, 2], "u2"),
            (DOCUMENTS, [2, 0], "u2"),
            (DOCUMENTS, [0, 2, 2], "u2"),
            (DOCUMENTS, [0, 2], "i4"),
        ]
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def test_provenance_of_other_shards_is_refused(written, write_documents):
    other = write_documents(DOCUMENTS)
    other.prefix.with_suffix(".docs.arrow").replace(written.prefix.with_suffix(".docs.arrow"))
    with pytest.raises(CorruptData, match=r"describes 4 sequences, .* has 6"):
        _ = TokenDataset(written.prefix).provenance
