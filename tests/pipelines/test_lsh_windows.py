"""Sets of any size are compared a piece at a time, with the same outcome, and stay inside of a window of memory."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.tasks import Workers
from pipelines.lsh.buckets import find_buckets
from pipelines.lsh.columns import BandFiles
from pipelines.lsh.sets import SetFiles, write_sets
from pipelines.lsh.similarity import kernels
from pipelines.lsh.stars import Centres, Rule, verify_centres
from tests.pipelines.lsh_twin import DIGEST, similarity, write_rows
from tests.pipelines.test_lsh_verify import AMPLE, decided

LONG_SETS = st.sets(st.integers(0, 399), min_size=150)
STEPS = 32


@given(LONG_SETS, LONG_SETS, st.booleans(), st.floats(0.8, 1.2))
def test_sets_are_compared_piece_by_piece_with_the_same_outcome(left, right, alike, factor):
    one, other = sorted(left), sorted(left | set(list(right)[:20]) if alike else right)
    exact = similarity(one, other)
    threshold = min(max(round(exact * kernels.ONE * Fraction(factor)), 1), kernels.ONE)
    calls = decided(one, other, threshold, limit_bytes=0)
    assert calls[-1] == (exact >= Fraction(threshold, kernels.ONE))
    # A call takes so many steps, each to the next number of one side at least; where one side has fewer left, it takes
    # only as many, which can at worst halve them.
    assert len(calls) <= (len(one) + len(other)) // STEPS + 2 + STEPS.bit_length()
    if calls[-1]:
        needed = -(-threshold * (len(one) + len(other)) // (kernels.ONE + threshold))
        assert len(calls) >= -(-needed // STEPS)


def test_sets_larger_than_the_window_stay_inside_of_it(tmp_path, monkeypatch):
    size, window, mapped = 4 << 20, 12 << 20, []
    sets, trim = [np.arange(first, first + size, dtype=np.uint64) for first in (0, 1, 2)], SetFiles.trim
    with write_sets(tmp_path / "0.sets", digest=DIGEST) as writer:
        for number, values in enumerate(sets):
            writer.add(np.array([number]), np.array([0, size]), values)

    def noting(self: SetFiles, limit_bytes: int) -> None:
        mapped.append(resident_bytes(tmp_path / "0.sets"))
        trim(self, limit_bytes)

    monkeypatch.setattr(SetFiles, "trim", noting)
    edges = find_buckets(
        BandFiles(write_rows(tmp_path, np.zeros((3, 1), np.uint64), [3])),
        memory=AMPLE, work=tmp_path / "work", workers=Workers(jobs=1),
    ).edges  # fmt: skip
    (tmp_path / "task").mkdir()
    given = edges, [str(tmp_path / "0.sets")], [3], None, Centres(0, 3, None, 2), Rule(999_999, 64)
    found = verify_centres(tmp_path / "task", *given, window)
    # One number of 4 million is another.
    assert (found["edges"], found["failed"]) == (2, 0)
    assert 4 << 20 < max(mapped) <= window
    # Of the result alone it cannot be seen that they were all read.
    assert sum(mapped) > 2 * sets[0].nbytes


def resident_bytes(path) -> int:
    """How much of a file is in the memory of this process."""
    found, mine = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            mine = line.endswith(str(path))
        elif mine and line.startswith("Rss:"):
            found += int(line.split()[1]) << 10
    return found
