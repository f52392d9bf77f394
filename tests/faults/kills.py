"""A seed in, an outcome out: `pile run` is killed in some stage, run again, and must leave what it always leaves.

Half of the moments are drawn on the clock, uniformly over the stage's own time as an undisturbed run took it; the other
half are file operations, drawn by number, so that the steps around a rename are met as often as the long ones. Either
the whole group is killed or the parent alone, in turn, and of some cases the second run as well.
"""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

from tests.faults.ground import FOLDERS, PATIENCE_S, PREDECESSORS, complete, demand_sound, running, scratch
from tests.faults.outcome import demand, judged
from tests.faults.places import PLACES, kill_place

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.ground import Finished, Ground, RunningPile
    from tests.faults.outcome import Outcome

# The lease is no stage, but has its own moments: taken, released, taken over; so have the places inside of shards.
STAGES = (*FOLDERS, "minhash", "lease", *PLACES)
SECOND_KILLS = 0.3
# A moment that came after the end of the run is drawn again, nearer to the start.
ATTEMPTS = 6


def kill(ground: Ground, seed: int) -> Outcome:
    """One case: seeds go through the stages in turn, and within a stage through group and parent."""
    stage = STAGES[seed % len(STAGES)]
    if stage in PLACES:
        in_mid_file = seed // len(STAGES) % 2 == 1
        return judged("kill", stage, seed, lambda: kill_place(ground, stage, seed, in_mid_file=in_mid_file))
    return judged("kill", stage, seed, lambda: _kill(ground, stage, seed))


def _kill(ground: Ground, stage: str, seed: int) -> str:
    rng = random.Random(f"kill {seed}")
    turn = seed // len(STAGES)
    target = ("group", "process")[turn % 2]
    by_clock = turn // 2 % 2 == 0 and stage != "lease"
    finished = ground.near if stage == "minhash" else ground.full if stage in ("train", "report") else ground.data
    begun = {"minhash": "dedup", "lease": "report"}.get(stage, stage)
    with scratch(ground) as folder:
        root = folder / "root"
        ground.start(finished, begun, root)
        facts = []
        for _ in range(1 + (rng.random() < SECOND_KILLS)):
            facts.append(_kill_once(finished, root, stage, begun, target, by_clock, rng))
            demand_sound(root)
        complete(finished, root)
    return ", then ".join(facts)


def _kill_once(
    finished: Finished, root: Path, stage: str, begun: str, target: str, by_clock: bool, rng: random.Random
) -> str:
    share = rng.random()
    for _ in range(ATTEMPTS):
        if by_clock:
            delay_s = share * finished.elapsed_s[begun]
            alive = _by_clock(finished, root, begun, target, delay_s)
            fact = f"{target} {delay_s:.2f} s into {stage}"
        else:
            operations = finished.operations["lease" if stage == "lease" else begun]
            number = 1 + int(share * operations)
            alive = _by_operation(finished, root, stage, begun, target, number)
            fact = f"{target} before file operation {number} of {operations} of {stage}"
        if alive:
            return fact
        share /= 2
    # The stage had been finished by the first kill already.
    return f"nothing of {stage} was left to kill"


def _by_clock(finished: Finished, root: Path, begun: str, target: str, delay_s: float) -> bool:
    before = PREDECESSORS[begun]
    if before == "train" and "train" not in finished.elapsed_s:
        before = "shards"
    with running(finished.config, root) as run:
        if before is not None and not run.says(before):
            demand(run.process.wait(PATIENCE_S) == 0, f"the run failed before its kill: {run.said()}")
            return False
        if run.ends(delay_s):
            demand(run.process.returncode == 0, f"the run failed before its kill: {run.said()}")
            return False
        if target == "group":
            os.killpg(run.process.pid, signal.SIGKILL)
        else:
            run.process.kill()
        _all_die(run)
    return True


def _by_operation(finished: Finished, root: Path, stage: str, begun: str, target: str, number: int) -> bool:
    prefix = f"{root}/.lease" if stage == "lease" else f"{root}/{FOLDERS[begun]}"
    fault = {"FAULT_FOLDER": prefix, "FAULT_AT": str(number), "FAULT_KILLS": target}
    with running(finished.config, root, fault=fault) as run:
        demand(run.ends(), f"the run does not end: {run.said()}")
        if run.process.returncode == 0:
            return False
        demand(run.process.returncode == -signal.SIGKILL, f"the run failed before its kill: {run.said()}")
        _all_die(run)
    return True


def _all_die(run: RunningPile) -> None:
    run.process.wait()
    alive = run.left_alive()
    demand(not alive, f"outlived the run: {alive}")
