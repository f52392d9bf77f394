"""`pile run` is killed with SIGKILL and run again: the bytes and the files of an undisturbed run, and no process left.

A few moments only; `python -m tests.faults.campaign --kills 300` draws hundreds, over all stages.
"""

from __future__ import annotations

import pytest

from tests.faults.ground import compare, copy_root
from tests.faults.kills import STAGES, kill
from tests.faults.outcome import Lost, require


def seed_of(stage, turn):
    """The seed of a stage's case of this number, from 0."""
    return STAGES.index(stage) + turn * len(STAGES)


# On the clock, all processes; on the clock, the parent alone; at a file operation.
@pytest.mark.parametrize(("stage", "turn"), [("corpus", 0), ("shards", 1), ("train", 2)])
def test_a_run_killed_in_mid_stage_and_run_again_gives_the_same_bytes(ground, stage, turn):
    require(kill(ground, seed_of(stage, turn)))


# Even turns before a file operation, odd ones in mid-file.
@pytest.mark.parametrize(
    ("place", "turn"), [("join", 1), ("materialize", 1), ("mix", 0), ("filters on", 0), ("corpus, pass 2", 0)]
)
def test_a_command_killed_inside_of_its_stage_and_run_again_gives_the_same_bytes(ground, place, turn):
    require(kill(ground, seed_of(place, turn)))


def test_consecutive_seeds_go_through_all_stages_and_both_ways_to_kill(ground):
    assert {
        "download",
        "plan",
        "corpus",
        "train",
        "minhash",
        "lease",
        "join",
        "materialize",
        "mix",
        "stats",
        "filters off",
    } <= set(STAGES)
    assert {STAGES[seed % len(STAGES)] for seed in range(len(STAGES))} == set(STAGES)


@pytest.mark.parametrize(
    ("harm", "fact"),
    [
        (lambda root: (root / "shards" / ".work-0123").mkdir(), r"left over: shards/\.work-0123"),
        (lambda root: (root / ".lease.json.0123").touch(), r"left over: \.lease\.json\.0123"),
        (lambda root: (root / "dedup" / "manifest.json").unlink(), "other bytes in dedup/clusters.parquet"),
        (lambda root: (root / "reports" / "index.html").unlink(), "a manifest stands over damage"),
        (lambda root: (root / "corpus" / "val.jsonl.zst").write_bytes(b""), "a manifest stands over damage"),
    ],
)
def test_a_loss_is_noticed(ground, tmp_path, harm, fact):
    copy_root(ground.data.root, tmp_path / "root")
    compare(ground.data, tmp_path / "root")
    harm(tmp_path / "root")
    with pytest.raises(Lost, match=fact):
        compare(ground.data, tmp_path / "root")
