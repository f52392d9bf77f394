"""A function and its arguments in, results out: in this process, in others, on Dask workers, or as Slurm jobs.

Results come back as they finish, with the number of their argument; what a caller makes of them must not depend on that
order. Functions and arguments travel between processes, so both must be importable or picklable by value.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.runners.kept import keeping_workers
from pile_toolkit.core.runners.processes import run_in_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

__all__ = ["SCHEDULERS", "available_jobs", "check_scheduler", "keeping_workers", "naming_input", "run_all"]

SCHEDULERS = "serial, process, dask, slurm, or the address of a Dask scheduler such as tcp://host:8786"
_ADDRESSES = ("tcp://", "tls://")


def run_all(
    function: Callable[..., Any],
    arguments: Sequence[tuple],
    *,
    jobs: int = 1,
    scheduler: str = "process",
    say: Callable[[str], None] | None = None,
) -> Generator[tuple[int, Any]]:
    """Yields (number of the argument, result) as calls finish.

    scheduler: serial | process | dask (workers on this machine) | tcp://... (a running Dask scheduler) | slurm (a job
    for each worker; `slurm:partition=main,mem=8G` says what sbatch is asked for). `say` hears of jobs submitted.
    Raises what a call raises, UsageError for an unknown scheduler or where Slurm refuses the jobs or cannot be had,
    WorkerKilled where a worker was killed, TryAgain where no Slurm job starts in time.
    """
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}, at least one is needed", hint="--jobs 1")
    check_scheduler(scheduler)
    workers = min(jobs, len(arguments))
    if scheduler == "serial" or workers == 0 or (scheduler == "process" and workers == 1):
        return ((number, function(*values)) for number, values in enumerate(arguments))
    if scheduler == "process":
        return run_in_processes(function, arguments, workers)
    if scheduler == "dask":
        from pile_toolkit.core.runners.on_dask import run_locally

        return run_locally(function, arguments, workers)
    if scheduler.startswith(_ADDRESSES):
        from pile_toolkit.core.runners.on_dask import run_at

        return run_at(scheduler, function, arguments)
    from pile_toolkit.core.runners.slurm import run_on_slurm

    return run_on_slurm(scheduler, function, arguments, workers, say=say)


def check_scheduler(name: str) -> None:
    """Raises UsageError for what `run_all` does not know as a scheduler."""
    from pile_toolkit.core.runners.slurm_options import SLURM, SlurmOptions

    if name.partition(":")[0] == SLURM:
        SlurmOptions.parse(name)
    elif name not in ("serial", "process", "dask") and not name.startswith(_ADDRESSES):
        raise UsageError(f"unknown scheduler {name!r}", hint=f"--scheduler takes {SCHEDULERS}")


def available_jobs() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


def naming_input(error: Exception, name: str) -> Exception:
    """The same error with a note of the input it happened on; a PileError's own sentence names its file already."""
    error.add_note(f"while working on {name}")
    return error
