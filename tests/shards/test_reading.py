"""Samples read alone, in batches and from threads are the slices of plain lists; nothing wrong leads outside."""

from __future__ import annotations

import itertools
import mmap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from shards.dataset import TokenDataset
from shards.reading import kernels
from shards.reading.reader import ANNOUNCED_BATCHES, SampleReader

DOCUMENTS = [[5, 6, 7], [], [1, 2, 3, 4], [9], list(range(100, 140))]
ORDER = np.array([4, 2, 0, 3, 2, 1, 0, 1, 1, 4], np.int32)
LENGTH = 6


@pytest.fixture(scope="module")
def dataset(write_documents):
    return TokenDataset(write_documents(DOCUMENTS).prefix)


@pytest.fixture
def reader(dataset):
    return SampleReader(dataset, sequence_length=LENGTH - 1, doc_idx=ORDER)


def twin_sample(sequences, order, position, offset, length):
    """The ids from a place on, by slices of lists."""
    stream = itertools.chain(sequences[order[position]][offset:], *(sequences[at] for at in order[position + 1 :]))
    return list(itertools.islice(stream, length))


def all_starts(sequences, order, length):
    """Every place from which `length` ids follow."""
    places = [(at, offset) for at, number in enumerate(order) for offset in range(len(sequences[number]) + 1)]
    return np.array([place for place in places if len(twin_sample(sequences, order, *place, length)) == length])


@settings(max_examples=40)
@given(
    documents=st.lists(st.lists(st.integers(0, 30_000), max_size=12), min_size=1, max_size=6),
    kinds=st.sampled_from(
        [("u2", None), ("u2", "u2"), ("u2", "i4"), ("u2", "i8"), ("i4", None), ("i4", "i8"), ("i2", "i8"), ("i8", "i8")]
    ),
    length=st.integers(1, 20),
    draw=st.data(),
)
def test_every_sample_is_the_slice_of_plain_lists(write_documents, documents, kinds, length, draw):
    stored, wanted = kinds
    order = draw.draw(st.lists(st.integers(0, len(documents) - 1), min_size=1, max_size=10))
    starts = all_starts(documents, order, length)
    if len(starts) == 0:
        return
    chosen = starts[draw.draw(st.lists(st.integers(0, len(starts) - 1), max_size=40))].reshape(-1, 2)
    with TokenDataset(write_documents(documents, dtype=stored, provenance=False).prefix) as dataset:
        reader = SampleReader(dataset, sequence_length=length - 1, doc_idx=np.array(order, np.int32))
        expected = [twin_sample(documents, order, *start, length) for start in chosen.tolist()]
        batch = reader.batch(chosen, dtype=wanted)
        assert (batch.dtype, batch.shape) == (np.dtype(wanted or stored), (len(chosen), length))
        assert batch.tolist() == expected
        alone = [reader.sample(*start) for start in chosen.tolist()]
        assert [ids.tolist() for ids in alone] == expected
        assert all(ids.dtype == np.dtype(stored) for ids in alone)
        places = np.full((100, 2), -1, np.int64)
        found = kernels.find_pieces(
            dataset.ids, dataset.sizes, dataset.pointers, np.array(order, np.int32), chosen, length, places
        )
        pieces = [dataset.ids[first : first + count].tolist() for first, count in places[:found].tolist()]
        assert all(pieces)
        assert list(itertools.chain(*pieces)) == list(itertools.chain(*expected))[: sum(map(len, pieces))]
        assert found == 100 or sum(map(len, pieces)) == length * len(chosen)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_orders_and_places_of_either_width_are_read_mapped_or_not(dataset, tmp_path, kind):
    np.save(tmp_path / "order.npy", ORDER.astype(kind))
    order = np.load(tmp_path / "order.npy", mmap_mode="r")
    reader = SampleReader(dataset, sequence_length=LENGTH - 1, doc_idx=order)
    starts = all_starts(DOCUMENTS, ORDER, LENGTH)
    expected = [twin_sample(DOCUMENTS, ORDER, *start, LENGTH) for start in starts.tolist()]
    for places in (starts.astype(np.int32), starts.astype(np.int64)):
        assert reader.batch(places).tolist() == expected
        assert reader.batch(places[::-1]).tolist() == expected[::-1]


def test_without_an_order_the_sequences_follow_one_another_over_and_over(dataset):
    reader = SampleReader(dataset, sequence_length=59)
    sequences, text = len(DOCUMENTS), list(itertools.chain(*DOCUMENTS))
    starts = [(2, 1), (sequences * 10**12 + 2, 1), (4, 40), (0, 0)]
    expected = [(text * 3)[at : at + 60] for at in (4, 4, len(text), 0)]
    assert reader.batch(np.array(starts)).tolist() == expected
    assert [reader.sample(*start).tolist() for start in starts] == expected


def test_a_sample_inside_one_document_is_a_view_and_any_other_an_array_of_its_own(reader, dataset):
    inside, across = reader.sample(0, 10), reader.sample(0, 38)
    assert np.shares_memory(inside, dataset.ids)
    assert not inside.flags.writeable
    assert not np.shares_memory(across, dataset.ids)
    across[0] = 0
    # To the last id of its document and one further.
    assert np.shares_memory(reader.sample(0, 40 - LENGTH), dataset.ids)
    assert not np.shares_memory(reader.sample(0, 41 - LENGTH), dataset.ids)


def test_a_given_array_is_filled_and_returned(reader):
    starts = np.array([(0, 38), (1, 2)])
    out = np.full((2, LENGTH), 77, np.int64)
    assert reader.batch(starts, out=out) is out
    assert out.tolist() == [twin_sample(DOCUMENTS, ORDER, *start, LENGTH) for start in starts.tolist()]


@pytest.mark.parametrize(
    ("out", "says"),
    [
        (np.empty((3, LENGTH), np.int64), r"shape \(3, 6\); these samples need \(2, 6\)"),
        (np.empty((2, LENGTH, 1), np.int64), "shape"),
        (np.empty((LENGTH, 2), np.int64).T, "contiguous"),
        (np.frombuffer(bytes(8 * 2 * LENGTH), np.int64).reshape(2, LENGTH), "writable"),
        (np.empty((2, LENGTH), np.int16), "uint16 do not fit into int16"),
        (np.empty((2, LENGTH), np.float32), "uint16 do not fit into float32"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(reader, out, says):
    with pytest.raises(UsageError, match=says):
        reader.batch(np.array([(0, 0), (0, 1)]), out=out)


@pytest.mark.parametrize(
    "start",
    [(-1, 0), (10, 0), (2**40, 0), (0, -1), (0, 41), (0, 2**40), (9, 35), (9, 40), (-(2**63), 0), (0, -(2**63))],
)
def test_a_place_outside_is_corrupt_data_in_one_sentence(reader, dataset, start):
    for read in (lambda: reader.sample(*start), lambda: reader.batch(np.array([(0, 0), start]))):
        with pytest.raises(CorruptData, match="leads outside of") as error:
            read()
        assert dataset.prefix in error.value.message
    assert reader.announce(np.array([start])) <= 1


@pytest.mark.parametrize("sequence", [-1, 5, 2**31 - 1, -(2**31)])
def test_an_order_of_other_shards_is_corrupt_data(dataset, sequence):
    reader = SampleReader(dataset, sequence_length=4, doc_idx=np.array([3, sequence, 4], np.int32))
    for read in (lambda: reader.sample(0, 0), lambda: reader.sample(1, 0), lambda: reader.batch(np.array([(0, 0)]))):
        with pytest.raises(CorruptData, match="leads outside"):
            read()


# As parts of larger arrays, so that what lies before and behind them would do.
AROUND_IDS = np.arange(100, dtype=np.uint16)
AROUND_SIZES, AROUND_POINTERS = np.full(9, 10, np.int32), np.full(9, 20, np.int64)
AROUND_ORDER = np.ones(9, np.int32)


@pytest.mark.parametrize(
    ("position", "offset", "pointer", "fits"),
    [
        (0, 0, 20, True),
        (1, 4, 20, True),
        (2, 0, 20, False),
        (-1, 0, 20, False),
        (1, -1, 20, False),
        (1, 5, 20, False),
        (0, 0, 80, True),
        (0, 0, 90, False),
        (0, 0, 2**62, False),
        (0, 0, -2, False),
    ],
)
def test_kernels_stay_inside_the_arrays_whatever_these_say(position, offset, pointer, fits):
    """Two positions, three sequences of 10 ids, a file of 50."""
    pointers = AROUND_POINTERS.copy()
    pointers[4] = pointer
    arrays = (AROUND_IDS[30:80], AROUND_SIZES[3:6], pointers[3:6], AROUND_ORDER[3:5])
    out = np.zeros(6, np.int64)
    assert kernels.gather(*arrays, position, offset, 6, out, 0) == fits
    assert kernels.gather_batch(*arrays, np.array([(position, offset)]), 6, out) == fits
    if fits:
        assert out.tolist() == list(range(30 + pointer // 2 + offset, 36 + pointer // 2 + offset))
    assert (kernels.locate(*arrays, position, offset, 6) >= 0) == fits


@pytest.mark.parametrize("sequence", [-1, 3, 2**31 - 1])
def test_kernels_refuse_a_sequence_that_there_is_not(sequence):
    order = np.full(1, sequence, np.int32)
    arrays = (AROUND_IDS, AROUND_SIZES[3:6], AROUND_POINTERS[3:6], order)
    assert not kernels.gather(*arrays, 0, 0, 6, np.zeros(6, np.int64), 0)


@pytest.mark.parametrize("documents", [[], [[], []]])
def test_shards_without_ids_end_instead_of_turning_for_ever(write_documents, documents):
    reader = SampleReader(TokenDataset(write_documents(documents, provenance=False).prefix), sequence_length=4)
    for read in (lambda: reader.sample(0, 0), lambda: reader.batch(np.array([(0, 0)]))):
        with pytest.raises(CorruptData, match="leads outside"):
            read()
    assert reader.announce(np.array([(0, 0)])) == 0


def shuffled_reader(dataset, kinds=(np.int32, np.int64)):
    """A reader of every place as sample_idx, shuffled; and the ids of its samples by plain slices."""
    places = all_starts(DOCUMENTS, ORDER, LENGTH)
    shuffle_idx = np.random.default_rng(1).permutation(len(places))
    arrays = places.astype(kinds[0]), shuffle_idx.astype(kinds[1])
    reader = SampleReader(dataset, sequence_length=LENGTH - 1, doc_idx=ORDER, arrays=arrays)
    return reader, [twin_sample(DOCUMENTS, ORDER, *places[row].tolist(), LENGTH) for row in shuffle_idx]


@pytest.mark.parametrize("kinds", [(np.int32, np.uint32), (np.int64, np.int64)])
@pytest.mark.parametrize("announced", [0, 2])
def test_samples_by_number_are_those_that_the_shuffled_places_lead_to(dataset, kinds, announced):
    reader, expected = shuffled_reader(dataset, kinds)
    reader._to_announce = announced
    numbers = np.random.default_rng(2).integers(0, len(expected), 100)
    assert reader.shuffled(numbers, out=None, dtype=None).tolist() == [expected[number] for number in numbers]
    out = np.zeros((3, LENGTH), np.int64)
    assert reader.shuffled(numbers[:3], out=out, dtype=None) is out
    assert out.tolist() == [expected[number] for number in numbers[:3]]
    assert reader.shuffled(numbers[:0], out=None, dtype=np.int64).shape == (0, LENGTH)


@pytest.mark.parametrize("number", [-1, -(2**63), 2**40])
@pytest.mark.parametrize("announced", [0, 2])
def test_a_number_that_no_sample_has_is_an_index_error(dataset, number, announced):
    reader, expected = shuffled_reader(dataset)
    reader._to_announce = announced
    for wrong in (number, len(expected)):
        with pytest.raises(IndexError, match=f"of an index of {len(expected)}"):
            reader.shuffled(np.array([0, wrong]), out=None, dtype=None)


@pytest.mark.parametrize("row", [-1, 3, 2**40])
@pytest.mark.parametrize("announced", [0, 2])
def test_a_shuffle_of_other_places_is_corrupt_data(dataset, row, announced):
    arrays = all_starts(DOCUMENTS, ORDER, LENGTH)[:3].astype(np.int32), np.array([0, row])
    reader = SampleReader(dataset, sequence_length=LENGTH - 1, doc_idx=ORDER, arrays=arrays)
    reader._to_announce = announced
    with pytest.raises(CorruptData, match="leads outside"):
        reader.shuffled(np.array([0, 1]), out=None, dtype=None)


def test_threads_share_a_reader_and_read_what_one_thread_reads(reader):
    starts = all_starts(DOCUMENTS, ORDER, LENGTH)
    draws = [np.random.default_rng(seed).choice(starts, 64) for seed in range(200)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(reader.batch, draws))
    assert all((batch == reader.batch(draw)).all() for batch, draw in zip(together, draws, strict=True))


def test_what_is_not_in_memory_is_announced_and_read_the_same(write_documents):
    documents = [np.random.default_rng(number).integers(0, 50_000, 4_000).tolist() for number in range(300)]
    prefix = write_documents(documents, provenance=False).prefix
    order = np.random.default_rng(1).permutation(300)
    starts = np.stack([np.arange(0, 299), np.arange(0, 299) * 13], axis=1)
    dataset = TokenDataset(prefix)
    reader = SampleReader(dataset, sequence_length=2048, doc_idx=order)
    expected = [twin_sample(documents, order, *start, 2049) for start in starts.tolist()]
    reader._to_announce = ANNOUNCED_BATCHES
    assert reader.batch(starts).tolist() == expected
    assert reader._to_announce == ANNOUNCED_BATCHES - 1
    assert reader.announce(starts) > len(starts)


def test_only_whole_pages_inside_the_file_are_announced(write_documents):
    dataset = TokenDataset(write_documents([[1] * (mmap.PAGESIZE // 2), [], [2, 3]], provenance=False).prefix)
    reader = SampleReader(dataset, sequence_length=0, doc_idx=np.array([0, 1, 2, 1]))
    starts = np.array([(0, 0), (0, mmap.PAGESIZE // 2), (1, 0), (2, 1)])
    assert reader.announce(starts) == 4
    assert reader.batch(starts).ravel().tolist() == [1, 2, 2, 3]
