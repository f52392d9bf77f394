"""Whatever happens to workers, rivals and the run itself, `pile run` says so and the bytes stay the same."""

from __future__ import annotations

import random

import pytest

from tests.faults.outcome import judged, require
from tests.faults.workers import SCENARIOS

# The campaign runs all of them, many times; these are those that no other test has. Workers of a cluster are killed on
# the clock there, here inside of a phase.
FEW = [
    "tcp, minhash",
    "tcp, build",
    "tcp, another file system",
    "dask, a worker killed",
    "dask, Ctrl-C",
    "process, a fatal task",
    "process, Ctrl-C",
    "killed for memory",
    "a damaged file",
    "rivals",
    "deposed",
]
# So that it draws shards, the last stage with tasks: every stage under Dask starts a cluster of its own.
TURNS = {"dask, a worker killed": " 3"}


@pytest.mark.parametrize("scenario", FEW)
def test_a_run_survives_its_workers_and_its_rivals(ground, scenario):
    drawn = random.Random(scenario + TURNS.get(scenario, ""))
    require(judged("worker", scenario, 0, lambda: SCENARIOS[scenario](ground, drawn)))
