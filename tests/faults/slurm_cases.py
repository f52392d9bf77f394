"""A ground in, a fact out: commands at the hands of Slurm jobs, which are cancelled, interrupted or left alone.

Whatever happens, the queue is empty afterwards and the bytes are those of a serial run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from tests.faults.commands import COMMANDS, begin, death_in, died, finish, started
from tests.faults.ground import PATIENCE_S, scratch
from tests.faults.outcome import Lost, demand, demand_end
from tests.faults.slurm import slurm
from tests.faults.slurm_keeper import LOOK_S

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.ground import Ground, RunningPile
    from tests.faults.slurm import Slurm

    SlurmCase = Callable[[Ground, random.Random, Slurm], str]

OPTIONS = ("--scheduler", "slurm:partition=main,mem=600M", "--jobs", "2")
INTERRUPTED = 130
ATTEMPTS = 6


def same_bytes(ground: Ground, rng: random.Random, there: Slurm) -> str:
    """Deduplication and build, each as two jobs."""
    with scratch(ground) as folder:
        for name in COMMANDS:
            begin(ground, name, folder / name)
            finish(ground, name, folder / name, _started(ground, name, folder / name, there))
            demand_empty(there)
            logs = list((folder / name / "logs" / "slurm").iterdir())
            demand(logs, "no logs")
    return "the same bytes from Slurm with 2 jobs, minhash and build"


def a_job_cancelled(ground: Ground, rng: random.Random, there: Slurm) -> str:
    """`scancel` of one of the jobs, at a moment after its worker came."""
    name = rng.choice(list(COMMANDS))
    with scratch(ground) as folder:
        begin(ground, name, folder / "root")
        run = _started(ground, name, folder / "root", there)
        number = _await_a_worker(run, folder / "root", there)
        delay_s = rng.random()
        run.ends(delay_s)
        there.command("scancel", number)
        finish(ground, name, folder / "root", run)
        demand_empty(there)
    return f"job {number} of {name} cancelled {delay_s:.2f} s after its worker came"


def a_worker_dies(ground: Ground, rng: random.Random, there: Slurm) -> str:
    """In the middle of a task of a drawn phase, and with it the job."""
    name = rng.choice(list(COMMANDS))
    phase, opened = rng.choice(list(COMMANDS[name].phases.items()))
    with scratch(ground) as folder:
        begin(ground, name, folder / "root")
        environment = {**there.environment, **death_in(opened, folder)}
        run = started(ground, name, folder / "root", *OPTIONS, environment=environment)
        finish(ground, name, folder / "root", run)
        demand(died(folder), f"no worker died in {phase}")
        demand_empty(there)
    return f"a worker killed in a task of {phase}"


def interrupted(ground: Ground, rng: random.Random, there: Slurm) -> str:
    """Ctrl-C at a drawn moment from the submission on; where that was too late, one nearer to it."""
    name, to_all = rng.choice(list(COMMANDS)), rng.random() < 0.7
    delay_s = 2 * rng.random()
    for _ in range(ATTEMPTS):
        with scratch(ground) as folder:
            begin(ground, name, folder / "root")
            run = _started(ground, name, folder / "root", there)
            _await_jobs(run, there)
            run.ends(delay_s)
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if to_all else os.kill)(run.process.pid, signal.SIGINT)
            if run.ends() and run.process.returncode == 0:
                delay_s /= 2
                continue
            demand_end(run, INTERRUPTED, "run the same command to continue")
            demand_empty(there)
            finish(ground, name, folder / "root", started(ground, name, folder / "root"))
        return f"SIGINT to {'all' if to_all else 'the parent'} {delay_s:.2f} s after {name} submitted its jobs"
    raise Lost(f"{name} is deaf to Ctrl-C")


def all_jobs_cancelled(ground: Ground, rng: random.Random, there: Slurm) -> str:
    """Of the whole run, as when a partition is emptied: others are submitted in their place."""
    name = rng.choice(list(COMMANDS))
    with scratch(ground) as folder:
        begin(ground, name, folder / "root")
        run = _started(ground, name, folder / "root", there)
        _await_a_worker(run, folder / "root", there)
        there.command("scancel", "--user", "root")
        finish(ground, name, folder / "root", run)
        demand_empty(there)
        logs = len(list((folder / "root" / "logs" / "slurm").iterdir()))
    return f"all jobs of {name} cancelled once a worker had come, {logs} jobs wrote logs"


def the_run_killed(ground: Ground, rng: random.Random, there: Slurm) -> str:
    """SIGKILL: nobody cancels the jobs, and those that run end because their run did."""
    name = rng.choice(list(COMMANDS))
    with scratch(ground) as folder:
        begin(ground, name, folder / "root")
        run = _started(ground, name, folder / "root", there)
        _await_a_worker(run, folder / "root", there)
        run.process.kill()
        run.process.wait()
        demand_empty(there, within_s=PATIENCE_S)
        finish(ground, name, folder / "root", started(ground, name, folder / "root"))
    return f"{name} killed once its workers had come"


def _started(ground: Ground, name: str, root: Path, there: Slurm) -> RunningPile:
    return started(ground, name, root, *OPTIONS, environment=there.environment)


def _await_jobs(run: RunningPile, there: Slurm) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not there.jobs():
        demand(not run.ends(LOOK_S), f"the run ended before its jobs: {run.said()}")
        demand(time.monotonic() < deadline, f"no jobs: {run.said()}")


def _await_a_worker(run: RunningPile, root: Path, there: Slurm) -> str:
    """Number of a job whose worker has found its scheduler, by its log."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for log in (root / "logs" / "slurm").glob("*.log"):
            if "Registered to" in log.read_text():
                return log.stem.rpartition("-")[2]
        demand(not run.ends(LOOK_S), f"the run ended before a worker came: {run.said()}")
    demand(False, f"no worker came: {there.jobs()}")
    raise AssertionError


def demand_empty(there: Slurm, *, within_s: float = 0.0) -> None:
    """Raises Lost where jobs are left in the queue."""
    deadline = time.monotonic() + within_s
    while there.jobs() and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    demand(not there.jobs(), f"left in the queue: {there.jobs()}")


CASES: dict[str, SlurmCase] = {
    "slurm": same_bytes,
    "slurm, a job cancelled": a_job_cancelled,
    "slurm, a worker killed": a_worker_dies,
    "slurm, all jobs cancelled": all_jobs_cancelled,
    "slurm, Ctrl-C": interrupted,
    "slurm, the parent killed": the_run_killed,
}


def _alone(case: SlurmCase) -> Callable[[Ground, random.Random], str]:
    def scenario(ground: Ground, rng: random.Random) -> str:
        with slurm(cpus=3) as there:
            return case(ground, rng, there)

    return scenario


# For the campaign, each in a Slurm of its own.
SLURM_SCENARIOS = {name: _alone(case) for name, case in CASES.items()}
