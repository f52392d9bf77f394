"""Bands and rows are datasketch's, and a band's hash is what the page says."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import xxhash
from datasketch import MinHashLSH
from datasketch.lsh import _false_negative_probability, _false_positive_probability

from pile_toolkit.core.errors import UsageError
from pipelines.minhash import NUM_PERM, band_hashes, bands
from pipelines.minhash.banding import check_bands

THRESHOLDS = [0.05, 0.1, 0.23, 0.37, 0.5, 0.62, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99]


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_bands_are_those_with_datasketchs_least_error_for_every_number_of_permutations(threshold):
    @functools.cache
    def error(count: int, rows: int) -> float:
        # As it adds them up, and its areas themselves.
        positives = _false_positive_probability(threshold, count, rows)
        return positives * 0.5 + _false_negative_probability(threshold, count, rows) * 0.5

    for num_perm in range(16, 129, 7):
        pairs = [(count, rows) for count in range(1, num_perm + 1) for rows in range(1, num_perm // count + 1)]
        best = min(pairs, key=lambda pair: error(*pair))
        if best[0] < 2:
            with pytest.raises(UsageError, match="too few"):
                bands(num_perm=num_perm, threshold=threshold)
        else:
            assert bands(num_perm=num_perm, threshold=threshold) == best


@pytest.mark.parametrize(("num_perm", "threshold"), [(128, 0.8), (240, 0.7), (256, 0.33), (300, 0.6)])
def test_bands_are_those_of_datasketchs_index(num_perm, threshold):
    index = MinHashLSH(threshold=threshold, num_perm=num_perm)
    assert bands(num_perm=num_perm, threshold=threshold) == (index.b, index.r)


@pytest.mark.parametrize(
    ("num_perm", "threshold", "published"),
    [(128, 0.5, (25, 5)), (128, 0.7, (14, 9)), (128, 0.8, (9, 13)), (128, 0.9, (5, 25)), (256, 0.8, (17, 15))],
)
def test_the_banding_is_the_published_one(num_perm, threshold, published):
    assert bands(num_perm=num_perm, threshold=threshold) == published


@pytest.mark.parametrize("threshold", [-0.1, 0.0, 1.0, 1.5, float("nan")])
def test_a_threshold_outside_zero_and_one_is_refused_with_what_to_type(threshold):
    with pytest.raises(UsageError, match="between 0 and 1") as error:
        bands(num_perm=NUM_PERM, threshold=threshold)
    assert error.value.hint == "--threshold 0.8"


def test_a_threshold_that_needs_more_permutations_is_refused_with_the_numbers():
    with pytest.raises(UsageError, match=r"4 permutations are too few for a similarity threshold of 0\.99"):
        bands(num_perm=4, threshold=0.99)


@pytest.mark.parametrize("chosen", [(0, 5), (5, 0), (-1, -3), (13, 10)])
def test_bands_that_do_not_fit_into_the_signature_are_refused(chosen):
    with pytest.raises(UsageError, match="do not fit into 128 permutations"):
        check_bands(chosen, num_perm=128)
    assert check_bands((16, 8), num_perm=128) == (16, 8)


@pytest.mark.parametrize("chosen", [(9, 13), (1, 1), (128, 1), (1, 128), (5, 8)])
def test_a_band_hash_is_xxh64_of_its_minima_with_its_number_as_seed(chosen):
    signatures = np.random.default_rng(6).integers(0, 2**32, (5, 128), dtype=np.uint32)
    count, rows = chosen
    expected = [
        [xxhash.xxh64_intdigest(row[band * rows : (band + 1) * rows].tobytes(), band) for band in range(count)]
        for row in signatures
    ]
    assert band_hashes(signatures, bands=chosen).tolist() == expected
    assert band_hashes(np.asfortranarray(signatures), bands=chosen).tolist() == expected
    assert band_hashes(signatures[:0], bands=chosen).shape == (0, count)


def test_equal_minima_in_different_bands_have_different_hashes():
    assert np.unique(band_hashes(np.full((1, 128), 7, np.uint32), bands=(16, 8))).size == 16
