"""Planted near-duplicates of real documents are found as often as the S-curve says, and verified ones never wrongly."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from benchmarks.dedup_quality import DEVIATIONS, STEPS, measure, planted, real_texts
from pipelines.minhash import shingle_hashes
from tests.pipelines.lsh_twin import similarity


@pytest.mark.real_data
def test_the_share_found_is_the_s_curves_and_with_verification_nothing_else_is(minipile, tmp_path):
    pairs = list(planted(real_texts(minipile), 40))
    # The similarity is that of the sets that are compared.
    for pair in itertools.islice(pairs, 0, None, 7):
        assert similarity(shingle_hashes(pair.one).tolist(), shingle_hashes(pair.other).tolist()) == pair.similarity
    free = measure(pairs, threshold=0.8, verify=False, folder=tmp_path)
    verified = measure(pairs, threshold=0.8, verify=True, folder=tmp_path)
    assert [row.similarity for row in free] == STEPS
    assert {row.pairs for row in free} == {40}
    for row in (*free, *verified):
        assert row.deviation <= DEVIATIONS, row
    assert [row.found for row in verified if row.similarity < Fraction(4, 5)] == [0] * 6
    # Of those similar enough none is lost.
    assert [row.found for row in verified[6:]] == [row.found for row in free[6:]]
    assert sum(row.found for row in free[:6]) > 0
