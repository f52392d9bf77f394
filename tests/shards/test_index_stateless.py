"""The stateless order: every epoch reads every token once, and no sample depends on how many are asked for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.seeds import keyed
from shards.dataset import TokenDataset
from shards.index import SampleIndex
from shards.index.inverse import unpermuted
from shards.index.kernels import ROUNDS, permuted
from shards.index.stateless import StatelessOrder, epoch_table

DOCUMENTS = [list(range(100 * number, 100 * number + size)) for number, size in enumerate([5, 3, 0, 7, 2, 40, 1])]
KEY = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def dataset(write_documents):
    return TokenDataset(write_documents(DOCUMENTS, [2, 0, 3, 5, 1, 0, 4, 5, 6]).prefix)


def order_of(sizes, sequence_length, *, seed=1):
    row = np.array(sizes, np.int32)
    table = epoch_table(row, sequence_length=sequence_length)
    return StatelessOrder(table, sizes=row, sequence_length=sequence_length, key=KEY, seed=seed)


def twin_token(sizes, sequence_length, number, *, seed=1):
    """The first token of a sample, counted from the start of the endless text, in Python's integers."""
    tokens = sum(sizes)
    epoch = number * sequence_length // tokens
    firsts = [-(-start * tokens // sequence_length) for start in (epoch, epoch + 1)]
    keys = [keyed(seed, "stateless sample order", bytes.fromhex(KEY), epoch, turn) for turn in range(ROUNDS)]
    return (
        firsts[0] + permuted(number - firsts[0], firsts[1] - firsts[0], np.array(keys, np.uint64))
    ) * sequence_length


def place_of(sizes, token):
    """Document and offset of a token of the endless text."""
    token %= sum(sizes)
    for position, size in enumerate(sizes):
        if token < size:
            return position, token
        token -= size
    raise AssertionError


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(lambda sizes: sum(sizes) > 1),
    data=st.data(),
)
def test_every_epoch_reads_every_token_once_as_an_input(sizes, data):
    tokens = sum(sizes)
    sequence_length = data.draw(st.integers(1, tokens - 1))
    order = order_of(sizes, sequence_length)
    # After this many epochs samples and epochs end together.
    epochs = sequence_length
    starts = order.starts(np.arange(order.first_of(epochs)))
    read = np.zeros(tokens, int)
    before = np.concatenate([[0], np.cumsum(sizes)])
    for position, offset in starts.tolist():
        read[(before[position] + offset + np.arange(sequence_length)) % tokens] += 1
    assert read.tolist() == [epochs] * tokens
    # And until then no token is read twice more often than another's epochs allow.
    assert order.first_of(0) == 0
    assert all(order.epoch_of(order.first_of(epoch)) == epoch for epoch in range(epochs))


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(lambda sizes: sum(sizes) > 1),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_a_sample_starts_where_the_twin_says_alone_and_among_others(sizes, seed, data):
    sequence_length = data.draw(st.integers(1, sum(sizes) - 1))
    order = order_of(sizes, sequence_length, seed=seed)
    # Far past 2^32 samples, up to the last that is allowed.
    largest = order.limit - 1
    numbers = data.draw(
        st.lists(st.integers(0, 200) | st.integers(2**31 - 2, 2**33) | st.integers(0, largest), max_size=9)
    )
    numbers = [min(number, largest) for number in numbers]
    expected = [place_of(sizes, twin_token(sizes, sequence_length, number, seed=seed)) for number in numbers]
    assert [order.start(number) for number in numbers] == expected
    assert [tuple(row) for row in order.starts(np.array(numbers, np.int64)).tolist()] == expected


def test_sizes_past_32_bits_of_tokens_and_samples():
    size = 2**31 - 1
    sizes, sequence_length = [size] * 40, 2**22
    order = order_of(sizes, sequence_length)
    assert order.tokens == 40 * size
    for number in (0, 1, 20_000, 2**32, 2**39 + 12_345):
        place, offset = order.start(number)
        token = twin_token(sizes, sequence_length, number) % order.tokens
        assert (place, offset) == divmod(token, size)
        assert order.starts(np.array([number])).tolist() == [[place, offset]]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 1),
    span=st.tuples(st.integers(0, 90), st.integers(0, 90)).map(sorted),
    data=st.data(),
)
def test_reads_of_a_span_are_those_of_its_samples(sizes, span, data):
    sequence_length = data.draw(st.integers(1, sum(sizes) - 1))
    order = order_of(sizes, sequence_length)
    expected = [0] * len(sizes)
    for number in range(*span):
        first = twin_token(sizes, sequence_length, number)
        for token in range(first, first + sequence_length):
            expected[place_of(sizes, token)[0]] += 1
    assert order.reads(*span).tolist() == expected


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**64 - 1))
def test_the_permutation_of_an_epoch_is_undone(size, seed):
    keys = np.random.default_rng(seed).integers(0, 2**64, ROUNDS, np.uint64)
    places = np.array([permuted(number, size, keys) for number in range(size)])
    assert sorted(places) == list(range(size))
    assert unpermuted(places, size, keys).tolist() == list(range(size))


@given(number=st.integers(0, 2**62 - 1), more=st.integers(1, 2**62), seed=st.integers(0, 2**64 - 1))
def test_the_permutation_of_a_large_epoch_is_undone(number, more, seed):
    size = min(number + more, 2**62)
    keys = np.random.default_rng(seed).integers(0, 2**64, ROUNDS, np.uint64)
    place = permuted(number, size, keys)
    assert unpermuted(np.array([place]), size, keys).tolist() == [number]


def test_samples_are_cut_from_the_documents_as_they_follow_each_other(dataset):
    index = SampleIndex.build(dataset, sequence_length=11, samples=50, order="stateless")
    assert (len(index), index.arrays) == (50, None)
    text = [token for number in range(len(dataset)) for token in dataset[number].tolist()] * 2
    joined = " ".join(map(str, text)) + " "
    for number in range(50):
        ids = index.tokens(number).tolist()
        assert len(ids) == 12
        assert " ".join(map(str, ids)) + " " in joined
        assert index.batch([number])[0].tolist() == ids
        assert sum(stop - start for _, start, stop in index.pieces(number)) == 12
    assert index.tokens(-1).tolist() == index.tokens(49).tolist()


def test_a_longer_run_goes_on_where_a_shorter_one_ended(dataset):
    short = SampleIndex.build(dataset, sequence_length=11, samples=5, order="stateless")
    long = SampleIndex.build(dataset, sequence_length=11, samples=500, order="stateless")
    assert short.hash == long.hash
    # Numbers past those asked for are there all the same.
    assert all(short.tokens(number).tolist() == long.tokens(number).tolist() for number in range(500))


def test_another_seed_length_or_order_of_documents_is_another_order(dataset, write_documents):
    request = {"sequence_length": 7, "samples": 90, "seed": 1, "order": "stateless"}
    other = TokenDataset(write_documents(DOCUMENTS, [6, 0, 3, 5, 1, 0, 4, 5, 2]).prefix)
    indexes = [
        SampleIndex.build(dataset, **request),
        SampleIndex.build(dataset, **request | {"seed": 2}),
        SampleIndex.build(dataset, **request | {"sequence_length": 8}),
        SampleIndex.build(other, **request),
    ]
    assert len({index.hash for index in indexes}) == 4
    assert len({str(index.starts(np.arange(90)).tolist()) for index in indexes}) == 4


def test_numbers_that_no_run_reaches_are_refused(dataset):
    index = SampleIndex.build(dataset, sequence_length=11, samples=5, order="stateless")
    for number in (-6, 2**62):
        with pytest.raises(IndexError):
            index.tokens(number)
    with pytest.raises(IndexError):
        index.starts([3, 2**62])
    assert len(index.tokens(2**62 // 11 - 1)) == 12


@pytest.mark.parametrize("order", ["neox", "megatron", "stateless"])
def test_an_index_pickles_as_what_was_asked_for(dataset, order):
    index = SampleIndex.build(dataset, sequence_length=11, samples=20, order=order)
    copy = pickle.loads(pickle.dumps(index))
    assert len(pickle.dumps(index)) < 1000
    assert (copy.hash, len(copy)) == (index.hash, len(index))
    assert np.array_equal(copy.batch(range(20)), index.batch(range(20)))
