"""A seed in, an outcome out: the same bytes from every scheduler, whatever happens to its workers or to the run.

Each scenario is a function of the ground and a source of random numbers, which draws stage, moment and victim.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest

from pile_toolkit.core.lease import LEASE
from tests.faults.cluster import cluster, memory_limit
from tests.faults.commands import COMMANDS, begin, death_in, died, finish, started
from tests.faults.ground import PREDECESSORS, compare, complete, files_of, running, scratch
from tests.faults.outcome import demand, demand_end, judged
from tests.faults.slurm_cases import SLURM_SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.ground import Ground, RunningPile
    from tests.faults.outcome import Outcome

    Scenario = Callable[[Ground, random.Random], str]

# Stages with tasks for several workers.
SHARED_STAGES = ("dedup", "corpus", "shards")
USAGE, CORRUPT_DATA, OUT_OF_SPACE, INTERRUPTED, TRY_AGAIN = 2, 4, 5, 130, 75
# The file that is fatal, and the names of the tasks that are at work on it.
FATAL, FATAL_TASKS = "enron-emails/02.jsonl.zst", r"while working on (\w+-)?enron-emails-(2|02\.jsonl\.zst)\b"
LIMIT_BYTES = 700 << 20


def lose_worker(ground: Ground, seed: int) -> Outcome:
    """One case: seeds go through the scenarios in turn."""
    name = list(SCENARIOS)[seed % len(SCENARIOS)]
    return judged("worker", name, seed, lambda: SCENARIOS[name](ground, random.Random(f"worker {seed}")))


def _with_scheduler(scheduler: str, jobs: int) -> Scenario:
    def case(ground: Ground, rng: random.Random) -> str:
        finished = rng.choice((ground.data, ground.near))
        with scratch(ground) as folder:
            complete(finished, folder / "root", "--scheduler", scheduler, "--jobs", str(jobs))
        return f"the same bytes from {scheduler} with {jobs} jobs, {finished.config.stem}"

    return case


def _with_cluster(ground: Ground, rng: random.Random) -> str:
    finished = rng.choice((ground.data, ground.near))
    with scratch(ground) as folder, cluster(folder, 2) as there:
        complete(finished, folder / "root", "--scheduler", there.address, "--jobs", "2")
    return "the same bytes from a tcp:// scheduler with 2 workers"


def _begin(ground: Ground, rng: random.Random, folder: Path) -> tuple[Path, str, float]:
    """(root before a drawn stage, the line after which it runs, a drawn moment of it in seconds)."""
    stage = rng.choice(SHARED_STAGES)
    ground.start(ground.data, stage, folder / "root")
    return folder / "root", str(PREDECESSORS[stage]), rng.random() * ground.data.elapsed_s[stage]


def _kill_cluster_worker(ground: Ground, rng: random.Random) -> str:
    with scratch(ground) as folder, cluster(folder, 3) as there:
        root, before, delay_s = _begin(ground, rng, folder)
        with running(ground.data.config, root, "--scheduler", there.address, "--jobs", "3") as run:
            demand(run.says(before), f"the run failed early: {run.said()}")
            for victim in rng.sample(there.workers, 2):
                run.ends(delay_s)
                victim.kill()
            demand(run.ends() and run.process.returncode == 0, f"the others did not finish: {run.said()}")
        compare(ground.data, root)
    return f"2 of 3 workers killed one after the other from {delay_s:.2f} s after {before} on, the last one finished"


def _kill_in_phase(name: str) -> Scenario:
    """One of three workers is killed in the middle of a task of a drawn phase."""

    def case(ground: Ground, rng: random.Random) -> str:
        phase, opened = rng.choice(list(COMMANDS[name].phases.items()))
        with scratch(ground) as folder, cluster(folder, 3, environment=_of_workers(opened, folder)) as there:
            begin(ground, name, folder / "root")
            run = started(ground, name, folder / "root", "--scheduler", there.address, "--jobs", "3")
            finish(ground, name, folder / "root", run)
            dead = [worker for worker in there.workers if worker.poll() == -signal.SIGKILL]
            demand(died(folder) and len(dead) == 1, f"{len(dead)} workers died in {phase}")
        return f"1 of 3 workers killed in a task of {phase}"

    return case


def _root_not_shared(ground: Ground, rng: random.Random) -> str:
    """The only worker has another file system where the run has its root, which is said at once."""
    with scratch(ground) as folder:
        (folder / "shared").mkdir()
        hide = f'mount -t tmpfs none {folder}/shared && exec "$@"'
        if subprocess.run(["unshare", "--mount", "sh", "-c", hide, "sh", "true"], capture_output=True).returncode != 0:
            pytest.skip("no file system of its own can be given to a worker here")
        with cluster(folder, 1, wrapper=["unshare", "--mount", "sh", "-c", hide, "sh"]) as there:
            begin(ground, "build", folder / "shared" / "root")
            run = started(ground, "build", folder / "shared" / "root", "--scheduler", there.address)
            unseen = rf"the worker on \S+ does not see {re.escape(str(folder / 'shared' / 'root'))}"
            demand_end(run, USAGE, unseen, "a file system that all machines share")
        finish(ground, "build", folder / "shared" / "root", started(ground, "build", folder / "shared" / "root"))
    return "a worker that does not see the root is named"


def _of_workers(opened: str, folder: Path) -> dict[str, str]:
    # The first process of a run lives; these are none.
    return {**death_in(opened, folder), "FAULT_FIRST": "0"}


def _kill_local_dask_worker(ground: Ground, rng: random.Random) -> str:
    """The others finish; only where Dask was still starting may the run end, and then it says why and goes on later."""
    with scratch(ground) as folder:
        root, _, delay_s = _begin(ground, rng, folder)
        with running(ground.data.config, root, "--scheduler", "dask") as run:
            victim = _a_worker(run, rng, after_s=delay_s)
            if victim is not None:
                victim.kill()
            demand(run.ends(), f"the run does not end: {run.said()}")
            code = run.process.returncode
            if code != 0:
                demand_end(run, OUT_OF_SPACE, r"\bkilled\b")
            demand(not run.left_alive(), f"alive after the run: {run.left_alive()}")
        complete(ground.data, root)
    return f"a worker killed {delay_s:.2f} s after it came, exit code {code}" if victim else "over before the kill"


def _a_worker(run: RunningPile, rng: random.Random, *, after_s: float) -> psutil.Process | None:
    """One of the worker processes, some time after the first was seen; None where the run ends before."""
    while not run.ends(0.02):
        if _worker_processes(run):
            run.ends(after_s)
            return rng.choice(_worker_processes(run) or [None])
    return None


def _worker_processes(run: RunningPile) -> list[psutil.Process]:
    return [process for process in run.members() if "spawn_main" in _command_line(process)]


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _fatal_task(scheduler: str) -> Scenario:
    """Every worker that opens one of the files is killed."""

    def case(ground: Ground, rng: random.Random) -> str:
        with scratch(ground) as folder:
            root, _, _ = _begin(ground, rng, folder)
            fault = {"FAULT_OPENED": FATAL, "FAULT_DOES": "kill"}
            with running(ground.data.config, root, "--scheduler", scheduler, fault=fault) as run:
                demand_end(run, OUT_OF_SPACE, r"\bkilled\b", FATAL_TASKS)
            complete(ground.data, root)
            return run.said().splitlines()[-2]

    return case


def _killed_for_memory(ground: Ground, rng: random.Random) -> str:
    with scratch(ground) as folder, memory_limit(LIMIT_BYTES) as wrapper:
        root, _, _ = _begin(ground, rng, folder)
        fault = {"FAULT_OPENED": FATAL, "FAULT_DOES": "eat"}
        with running(ground.data.config, root, fault=fault, wrapper=wrapper) as run:
            demand_end(run, OUT_OF_SPACE, r"\bkilled for memory\b", FATAL_TASKS)
        complete(ground.data, root)
        return run.said().splitlines()[-2]


def _damaged_file(ground: Ground, rng: random.Random) -> str:
    """One file among many is cut short: the same sentence from every scheduler."""
    with scratch(ground) as folder:
        shutil.copytree(ground.folder / "source", folder / "source")
        damaged = folder / "source" / FATAL
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[: rng.randrange(10, len(whole))])
        config = folder / "data.toml"
        config.write_text(ground.data.config.read_text())
        said = set()
        for scheduler in ("serial", "process", "dask"):
            with running(config, folder / scheduler, "--scheduler", scheduler) as run:
                demand_end(run, CORRUPT_DATA, re.escape(str(damaged)))
                said.add(run.said().partition("error: ")[2])
        demand(len(said) == 1, f"{len(said)} different sentences: {said}")
        return said.pop().splitlines()[0].replace(f"{folder}/", "")


def _ctrl_c(scheduler: str) -> Scenario:
    def case(ground: Ground, rng: random.Random) -> str:
        with scratch(ground) as folder:
            root, before, delay_s = _begin(ground, rng, folder)
            to_all = rng.random() < 0.7
            with running(ground.data.config, root, "--scheduler", scheduler) as run:
                demand(run.says(before), f"the run failed early: {run.said()}")
                run.ends(delay_s)
                with contextlib.suppress(ProcessLookupError):
                    (os.killpg if to_all else os.kill)(run.process.pid, signal.SIGINT)
                if run.process.wait() == 0:
                    return "the run was over when the signal came"
                demand_end(run, INTERRUPTED, "run the same command to continue")
            complete(ground.data, root)
            return f"SIGINT to {'all' if to_all else 'the parent'} {delay_s:.2f} s after {before}"

    return case


def _parent_killed_under_dask(ground: Ground, rng: random.Random) -> str:
    with scratch(ground) as folder:
        root, before, delay_s = _begin(ground, rng, folder)
        with running(ground.data.config, root, "--scheduler", "dask") as run:
            demand(run.says(before), f"the run failed early: {run.said()}")
            run.ends(delay_s)
            run.process.kill()
            run.process.wait()
            demand(not run.left_alive(), f"outlived the run: {run.left_alive()}")
        complete(ground.data, root, "--scheduler", "dask")
    return f"parent killed {delay_s:.2f} s after {before}"


def _rivals(ground: Ground, rng: random.Random) -> str:
    """Of two runs on one root the second says who holds it, and the first goes on undisturbed."""
    with scratch(ground) as folder:
        root, before, delay_s = _begin(ground, rng, folder)
        with running(ground.data.config, root) as first:
            _stop(first, before, delay_s)
            with running(ground.data.config, root) as second:
                owner = rf"in use by process {first.process.pid} on {re.escape(socket.gethostname())} since \d{{4}}-"
                demand_end(second, TRY_AGAIN, owner)
            os.killpg(first.process.pid, signal.SIGCONT)
            demand(first.ends() and first.process.returncode == 0, f"the first run failed: {first.said()}")
        compare(ground.data, root)
    return f"the second came {delay_s:.2f} s after {before}"


def _deposed(ground: Ground, rng: random.Random) -> str:
    """A run that slept while another took its root over publishes nothing when it wakes."""
    with scratch(ground) as folder:
        root, before, delay_s = _begin(ground, rng, folder)
        with running(ground.data.config, root) as first:
            _stop(first, before, delay_s)
            _make_foreign(root / LEASE)
            complete(ground.data, root, "--take-over")
            left = _states(root)
            os.killpg(first.process.pid, signal.SIGCONT)
            demand_end(first, TRY_AGAIN, "lost its lease|lease")
            demand(_states(root) == left, f"the deposed run changed {_states(root) ^ left}")
        compare(ground.data, root)
    return f"deposed {delay_s:.2f} s after {before}"


def _stop(run: RunningPile, before: str, delay_s: float) -> None:
    demand(run.says(before), f"the run failed early: {run.said()}")
    demand(not run.ends(delay_s), f"the run was over before it could be stopped: {run.said()}")
    os.killpg(run.process.pid, signal.SIGSTOP)


def _make_foreign(lease: Path) -> None:
    held = msgspec.json.decode(lease.read_bytes())
    lease.write_bytes(msgspec.json.encode({**held, "host": "elsewhere.invalid"}))


def _states(root: Path) -> set[tuple[str, int, int]]:
    """Every file with its inode and time of change, and every folder, in which a temporary file may come and go."""
    stats = {name: (root / name).stat() for name in files_of(root)}
    return {(name, one.st_ino, 0 if stat.S_ISDIR(one.st_mode) else one.st_mtime_ns) for name, one in stats.items()}


SCENARIOS: dict[str, Scenario] = {
    "serial": _with_scheduler("serial", 1),
    "process 1": _with_scheduler("process", 1),
    "process 2": _with_scheduler("process", 2),
    "process 4": _with_scheduler("process", 4),
    "dask 1": _with_scheduler("dask", 1),
    "dask 2": _with_scheduler("dask", 2),
    "dask 4": _with_scheduler("dask", 4),
    "tcp": _with_cluster,
    "tcp, workers killed": _kill_cluster_worker,
    "tcp, minhash": _kill_in_phase("minhash"),
    "tcp, build": _kill_in_phase("build"),
    "tcp, another file system": _root_not_shared,
    "dask, a worker killed": _kill_local_dask_worker,
    "dask, the parent killed": _parent_killed_under_dask,
    "process, a fatal task": _fatal_task("process"),
    "dask, a fatal task": _fatal_task("dask"),
    "killed for memory": _killed_for_memory,
    "a damaged file": _damaged_file,
    "serial, Ctrl-C": _ctrl_c("serial"),
    "process, Ctrl-C": _ctrl_c("process"),
    "dask, Ctrl-C": _ctrl_c("dask"),
    "rivals": _rivals,
    "deposed": _deposed,
    **SLURM_SCENARIOS,
}
