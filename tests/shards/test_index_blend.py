"""Blends of data sets: gpt-neox's arrays, and samples of each data set in the order it has alone."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import UsageError
from shards.dataset import TokenDataset
from shards.index import BlendedIndex, SampleIndex
from shards.index.blending import blend, blend_dtype, normalized, samples_asked


def twin_blend(weights, steps):
    """gpt-neox's loop in Python's doubles."""
    total = 0.0
    for weight in weights:
        total += weight
    row = np.array([weight / total for weight in weights])
    row = (row / row.sum()).tolist()
    counts, chosen, samples = [0] * len(row), [], []
    for step in range(steps):
        errors = [weight * max(step, 1) - count for weight, count in zip(row, counts, strict=True)]
        best = errors.index(max(errors))
        chosen.append(best)
        samples.append(counts[best])
        counts[best] += 1
    return chosen, samples


@pytest.fixture(scope="module")
def datasets(write_documents):
    return [
        TokenDataset(
            write_documents(
                [list(range(base + 50 * k, base + 50 * k + 20 + k + base // 1000)) for k in range(6)]
            ).prefix
        )
        for base in (0, 1000, 2000)
    ]


def test_the_golden_blend():
    arrays = blend([0.5, 0.3, 0.2], samples=10)
    assert arrays.dataset_index.tolist() == [0, 1, 2, 0, 1, 0, 2, 0, 1, 0]
    assert arrays.dataset_sample_index.tolist() == [0, 0, 0, 1, 1, 2, 1, 3, 2, 4]
    assert [array.dtype for array in arrays] == [np.uint8, np.int64]


def test_ties_are_decided_by_the_last_bit_as_in_gpt_neox():
    # Of its compiled helper; divided by their sum only once, these weights tie elsewhere.
    assert blend([6.0, 12.0, 2.0], samples=9).dataset_index.tolist() == [1, 0, 1, 2, 1, 0, 1, 1, 0]


@settings(deadline=None)
@given(
    weights=st.lists(st.floats(1e-6, 1e6) | st.integers(1, 9).map(float), min_size=1, max_size=30),
    samples=st.integers(1, 300),
)
def test_steps_are_the_twins_and_stay_near_their_shares(weights, samples):
    chosen, numbers = twin_blend(weights, samples)
    arrays = blend(weights, samples=samples)
    assert (arrays.dataset_index.tolist(), arrays.dataset_sample_index.tolist()) == (chosen, numbers)
    shorter = blend(weights, samples=max(samples // 2, 1))
    assert shorter.dataset_index.tolist() == chosen[: len(shorter.dataset_index)]


def test_samples_asked_of_each_are_rounded_as_each_program_does():
    for samples, share in itertools.product((1, 10, 999, 200_000), (0.5, 0.3, 1 / 3)):
        exact = Fraction(samples * share) * Fraction(1005, 1000)
        assert samples_asked(share, samples=samples, order="neox") - exact <= 1
        assert samples_asked(share, samples=samples, order="megatron") >= samples_asked(
            share, samples=samples, order="neox"
        )
    # 3.5 samples: gpt-neox rounds 3.5175 once, Megatron-LM 4 x 1.005 again.
    assert [samples_asked(0.35, samples=10, order=order) for order in ("neox", "megatron")] == [4, 5]


def test_types_are_those_of_each_program():
    assert [blend_dtype(count, order="neox") for count in (254, 255)] == [np.uint8, np.int16]
    assert blend_dtype(2, order="megatron") == np.int16


@pytest.mark.parametrize("order", ["neox", "megatron", "stateless"])
def test_each_data_set_gives_its_samples_in_its_own_order(datasets, order):
    request = {"sequence_length": 16, "seed": 7, "order": order}
    index = BlendedIndex.build(datasets, weights=[5, 3, 2], samples=40, **request)
    chosen, numbers = twin_blend([5.0, 3.0, 2.0], 40)
    alone = [
        SampleIndex.build(ds, samples=samples_asked(share, samples=40, order=order), **request)
        for ds, share in zip(datasets, normalized([5, 3, 2], order=order), strict=True)
    ]
    assert len(index) == 40
    for number, (owner, sample) in enumerate(zip(chosen, numbers, strict=True)):
        assert index.locate(number) == (owner, sample)
        assert index.tokens(number).tolist() == alone[owner].tokens(sample).tolist()
        assert index.pieces(number) == alone[owner].pieces(sample)
        assert index.provenance(number) == alone[owner].provenance(sample)
    assert index.tokens(-1).tolist() == index.tokens(39).tolist()
    for some in (range(40), [39, 0, 0, 17], []):
        batch = index.batch(some, dtype=np.int64)
        assert (batch.dtype, batch.tolist()) == (np.int64, [index.tokens(number).tolist() for number in some])
    for beyond in (lambda: index.tokens(40), lambda: index.batch([40]), lambda: index.batch([-1])):
        with pytest.raises(IndexError, match="an index of 40"):
            beyond()
    for first, stop in ((0, 40), (7, 23), (5, 5)):
        spans = [
            [sample for owner, sample in list(zip(chosen, numbers, strict=True))[first:stop] if owner == k]
            for k in range(3)
        ]
        reads = index.reads(first, stop)
        for k, span in enumerate(spans):
            expected = alone[k].reads(span[0], span[-1] + 1) if span else 0 * alone[k].reads(0, 1)
            assert reads[k].tolist() == expected.tolist()


def test_a_blend_has_another_hash_with_other_weights_or_data(datasets):
    request = {"sequence_length": 16, "samples": 40}
    hashes = [
        BlendedIndex.build(some, weights=weights, **request | more).hash
        for some, weights, more in (
            (datasets, [5, 3, 2], {}),
            (datasets, [5, 2, 3], {}),
            (datasets[::-1], [5, 3, 2], {}),
            (datasets, [5, 3, 2], {"samples": 41}),
            (datasets, [5, 3, 2], {"order": "stateless"}),
        )
    ]
    assert len(set(hashes)) == 5
    assert BlendedIndex.build(datasets, weights=[0.5, 0.3, 0.2], **request).hash == hashes[0]


def test_impossible_blends_are_refused(datasets, write_documents):
    request = {"sequence_length": 16, "samples": 4}
    for weights, says in (
        ([1, 2], "3 data sets were given, and 2 weights"),
        ([1, 0, 2], "the weight of data set 1 is 0"),
        ([1, float("nan"), 2], "the weight of data set 1 is nan"),
        ([1, -1.5, 2], r"is -1\.5"),
    ):
        with pytest.raises(UsageError, match=says):
            BlendedIndex.build(datasets, weights=weights, **request)
    with pytest.raises(UsageError, match="0 weights were given"):
        BlendedIndex.build([], weights=[], **request)
    wide = TokenDataset(write_documents([list(range(50))], dtype="i4").prefix)
    with pytest.raises(UsageError, match="different types"):
        BlendedIndex.build([datasets[0], wide], weights=[1, 1], **request)
