"""Samples come in gpt-neox's order, array for array, and every token in them is traced to its document."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import UsageError
from shards.dataset import TokenDataset
from shards.index import SampleIndex, document_dtype, epochs_needed, neox_arrays, sample_dtype, shuffle_dtype

DOCUMENTS = [list(range(100 * number, 100 * number + size)) for number, size in enumerate([5, 3, 7, 2, 40, 1])]
ENTRIES = [2, 0, 3, 2, 1, 0, 4, 5]


def twin_arrays(sizes, *, sequence_length, samples, seed):
    """gpt-neox's three steps, sample by sample, as its own Python does them."""
    tokens, epochs = sum(sizes), 1
    while (epochs * tokens - 1) // sequence_length < samples:
        epochs += 1
    random = np.random.RandomState(seed)
    doc_idx = np.array(list(range(len(sizes))) * epochs, dtype=np.int32)
    random.shuffle(doc_idx)
    rows, position, offset = [(0, 0)], 0, 0
    for _ in range((epochs * tokens - 1) // sequence_length):
        missing = sequence_length + 1
        while sizes[doc_idx[position]] - offset < missing:
            missing -= sizes[doc_idx[position]] - offset
            position, offset = position + 1, 0
        # The next sample starts with the last token of this one.
        offset += missing - 1
        rows.append((position, offset))
    shuffle_idx = np.arange(len(rows) - 1, dtype=np.uint32)
    random.shuffle(shuffle_idx)
    return doc_idx, np.array(rows, dtype=np.int32), shuffle_idx


@pytest.fixture(scope="module")
def dataset(write_documents):
    return TokenDataset(write_documents(DOCUMENTS, ENTRIES).prefix)


def test_the_golden_arrays():
    doc_idx, sample_idx, shuffle_idx = neox_arrays(
        np.array([5, 3, 7, 2], np.int32), sequence_length=4, samples=8, seed=1234
    )
    assert doc_idx.tolist() == [2, 1, 2, 0, 0, 1, 3, 3]
    assert sample_idx.tolist() == [[0, 0], [0, 4], [1, 1], [2, 2], [2, 6], [3, 3], [4, 2], [5, 1], [7, 0]]
    assert shuffle_idx.tolist() == [5, 0, 3, 4, 2, 6, 1, 7]
    assert (doc_idx.dtype, sample_idx.dtype, shuffle_idx.dtype) == (np.int32, np.int32, np.uint32)


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=30).filter(any),
    sequence_length=st.integers(1, 50),
    samples=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_all_three_arrays_equal_the_twin_with_their_types(sizes, sequence_length, samples, seed):
    request = {"sequence_length": sequence_length, "samples": samples, "seed": seed}
    arrays = neox_arrays(np.array(sizes, np.int32), **request)
    for ours, twin in zip(arrays, twin_arrays(sizes, **request), strict=True):
        assert ours.dtype == twin.dtype
        assert ours.tolist() == twin.tolist()


@settings(deadline=None)
@given(tokens=st.integers(1, 200), sequence_length=st.integers(1, 50), samples=st.integers(1, 400))
def test_epochs_are_the_fewest_that_give_the_samples(tokens, sequence_length, samples):
    epochs = epochs_needed(tokens=tokens, sequence_length=sequence_length, samples=samples)
    assert (epochs * tokens - 1) // sequence_length >= samples
    assert epochs == 1 or ((epochs - 1) * tokens - 1) // sequence_length < samples


def test_types_change_where_gpt_neox_changes_them():
    assert (shuffle_dtype(2**32 - 3), shuffle_dtype(2**32 - 2)) == (np.uint32, np.int64)
    # 2 (x + 1) < 2^31 - 1 holds up to x = 2^30 - 1.5, exclusively; x = (tokens - 1) / 10 is not rounded.
    limit = 10 * (2**30 - 2) + 5
    kinds = [sample_dtype(tokens=tokens + 1, sequence_length=10, entries=9) for tokens in (limit - 1, limit)]
    assert kinds == [np.int32, np.int64]
    for x_times_10, kind in ((limit - 1, np.int32), (limit, np.int64)):
        assert (2 * (x_times_10 / 10 + 1) < np.iinfo(np.int32).max) == (kind == np.int32)


def test_positions_and_documents_past_int32_get_64_bits_where_gpt_neox_wraps():
    assert sample_dtype(tokens=2**33, sequence_length=2048, entries=2**31 - 1) == np.int32
    assert sample_dtype(tokens=2**33, sequence_length=2048, entries=2**31) == np.int64
    assert (document_dtype(2**31 - 1), document_dtype(2**31)) == (np.int32, np.int64)


def test_token_totals_past_32_bits_are_counted_in_full():
    documents, size, sequence_length = 40, 2**31 - 1, 2**22
    sizes = np.full(documents, size, np.int32)
    samples = (documents * size - 1) // sequence_length
    arrays = neox_arrays(sizes, sequence_length=sequence_length, samples=samples, seed=1)
    assert (len(arrays.doc_idx), len(arrays.shuffle_idx)) == (documents, samples)
    # All documents are equally long, so the shuffle moves no boundary.
    assert [tuple(row) for row in arrays.sample_idx.tolist()] == [
        divmod(number * sequence_length, size) for number in range(samples + 1)
    ]
    one_more = neox_arrays(sizes, sequence_length=sequence_length, samples=samples + 1, seed=1)
    assert len(one_more.doc_idx) == 2 * documents


@pytest.mark.parametrize(("sequence_length", "samples"), [(4, 8), (1, 3), (11, 50), (30, 7)])
def test_samples_are_the_shuffled_documents_cut_every_l_tokens(dataset, sequence_length, samples):
    index = SampleIndex.build(dataset, sequence_length=sequence_length, samples=samples)
    stream = [token for number in index.arrays.doc_idx for token in dataset[number].tolist()]
    assert len(index) == (len(stream) - 1) // sequence_length >= samples
    for number, row in enumerate(index.arrays.shuffle_idx.tolist()):
        ids = index.tokens(number)
        assert ids.dtype == np.uint16
        assert ids.tolist() == stream[row * sequence_length : (row + 1) * sequence_length + 1]


def test_provenance_leads_every_token_to_its_document(dataset, write_documents):
    written = write_documents(DOCUMENTS, ENTRIES)
    content = {row["document"]: DOCUMENTS[entry] for entry, row in zip(ENTRIES, written.rows, strict=True)}
    slugs = {row["document"]: row["slug"] for row in written.rows}
    index = SampleIndex.build(dataset, sequence_length=11, samples=20)
    for number in range(len(index)):
        origins = index.provenance(number)
        traced = [content[document][start:stop] for _, document, (start, stop) in origins]
        assert all(traced)
        assert list(itertools.chain(*traced)) == index.tokens(number).tolist()
        assert all(component == slugs[document] for component, document, _ in origins)


def test_a_sample_inside_one_document_is_a_view(dataset):
    index = SampleIndex.build(dataset, sequence_length=4, samples=10)
    alone = [number for number in range(len(index)) if len(index.pieces(number)) == 1]
    assert 0 < len(alone) < len(index)
    assert all(np.shares_memory(index.tokens(number), dataset.ids) for number in alone)


def test_sample_numbers_stop_at_both_ends(dataset):
    index = SampleIndex.build(dataset, sequence_length=4, samples=10)
    assert index.tokens(-1).tolist() == index.tokens(len(index) - 1).tolist()
    for number in (len(index), -len(index) - 1):
        with pytest.raises(IndexError, match=f"an index of {len(index)}"):
            index.tokens(number)


def test_shards_without_provenance_give_samples_but_no_documents(write_documents):
    index = SampleIndex.build(
        TokenDataset(write_documents(DOCUMENTS, provenance=False).prefix), sequence_length=4, samples=3
    )
    assert len(index.tokens(0)) == 5
    with pytest.raises(UsageError, match=r"there is no file .*train\.docs\.arrow"):
        index.provenance(0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"order": "random"}, "no sample order 'random'"),
        ({"sequence_length": 0}, "sequence length is 0"),
        ({"sequence_length": 2**31}, "sequence length is 2,147,483,648"),
        ({"samples": 0}, "0 samples"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4,294,967,296"),
        ({"sequence_length": 70}, "holds 70 tokens, one sample of sequence length 70 needs 71"),
    ],
)
def test_an_impossible_request_is_refused_with_its_numbers(dataset, changes, says):
    with pytest.raises(UsageError, match=says):
        SampleIndex.build(dataset, **({"sequence_length": 4, "samples": 8} | changes))


def test_an_unknown_order_is_told_the_known_ones(dataset):
    with pytest.raises(UsageError) as error:
        SampleIndex.build(dataset, sequence_length=4, samples=8, order="shuffled")
    assert error.value.hint == "known orders: neox, megatron, stateless"


@pytest.mark.parametrize("documents", [[], [[]]])
def test_shards_without_tokens_are_refused_with_what_is_needed(write_documents, documents):
    with pytest.raises(UsageError, match="holds 0 tokens, one sample of sequence length 8 needs 9"):
        SampleIndex.build(TokenDataset(write_documents(documents).prefix), sequence_length=8, samples=1)
    with pytest.raises(UsageError, match="hold 0 tokens, one sample needs 9"):
        neox_arrays(np.array([len(ids) for ids in documents], np.int32), sequence_length=8, samples=1, seed=1)


def test_the_hash_changes_with_all_that_samples_depend_on(dataset, write_documents):
    request = {"sequence_length": 4, "samples": 8, "seed": 1}
    other = TokenDataset(write_documents(DOCUMENTS, ENTRIES[::-1]).prefix)
    changed = [{}, {"sequence_length": 5}, {"samples": 9}, {"seed": 2}, {"order": "megatron"}, {"order": "stateless"}]
    hashes = [SampleIndex.build(dataset, **(request | change)).hash for change in changed]
    hashes.append(SampleIndex.build(other, **request).hash)
    assert len(set(hashes)) == 7
    again = TokenDataset(write_documents(DOCUMENTS, ENTRIES).prefix)
    assert SampleIndex.build(again, **request).hash == hashes[0]


def test_reading_needs_neither_numba_nor_pyarrow_until_they_are_used():
    modules = (
        "shards.index, shards.phases, shards.exposures, shards.dataset, shards.stats, shards.verify, shards.writer"
    )
    code = f"import sys, {modules}; print({{'numba', 'pyarrow'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
