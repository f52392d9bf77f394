"""`pile run` is killed with SIGKILL and run again: the bytes and the files of an undisturbed run, and no process left.

A few moments only; `python -m tests.faults.campaign --kills 300` draws hundreds, over all stages.
"""

from __future__ import annotations

import pytest

from tests.faults.ground import compare, copy_root
from tests.faults.kills import STAGES, kill
from tests.faults.outcome import Lost, require


# Seeds of: corpus, on the clock, all processes; shards, on the clock, the parent alone; train, at a file operation.
@pytest.mark.parametrize("seed", [3, 18, 32])
def test_a_run_killed_in_mid_stage_and_run_again_gives_the_same_bytes(ground, seed):
    require(kill(ground, seed))


# Seeds of: parts that are joined, in mid-file; copies written out, in mid-file; a mix, before a file operation.
@pytest.mark.parametrize("seed", [23, 24, 12])
def test_shards_killed_while_they_are_put_together_and_made_again_have_the_same_bytes(ground, seed):
    require(kill(ground, seed))


def test_consecutive_seeds_go_through_all_stages_and_both_ways_to_kill(ground):
    assert {"download", "plan", "corpus", "train", "minhash", "lease", "join", "materialize", "mix"} <= set(STAGES)
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
