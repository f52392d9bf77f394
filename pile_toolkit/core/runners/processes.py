"""Calls in, results out, by a pool of processes on this machine; no worker outlives its run."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pile_toolkit.core.errors import WorkerKilled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

_PR_SET_PDEATHSIG = 1
_VMSTAT = Path("/proc/vmstat")


def run_in_processes(function: Callable[..., Any], arguments: Sequence[tuple], jobs: int) -> Generator[tuple[int, Any]]:
    """As `run_all` with the scheduler `process`."""
    import multiprocessing

    # Spawned, not forked: threads of numba, pyarrow and tokenizers do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = futures.ProcessPoolExecutor(jobs, mp_context=context, initializer=die_with_parent, initargs=(os.getpid(),))
    workers: list[Any] = []
    kills_before = _memory_kills()
    try:
        with interrupts_held_back():
            numbers = {pool.submit(function, *values): number for number, values in enumerate(arguments)}
        workers = list(pool._processes.values())
        for done in futures.as_completed(numbers):
            yield numbers[done], done.result()
    except (KeyboardInterrupt, GeneratorExit):
        # Nobody waits for the results any more, and a task may take hours; what it had half done is done again.
        for worker in workers:
            worker.kill()
        raise
    except (futures.process.BrokenProcessPool, OSError) as error:
        # A pool that breaks while it is given tasks answers with a closed handle of its own.
        if isinstance(error, OSError) and not pool._broken:
            raise
        # The pool ends the others itself, but not one that was being started when it broke, and waits for it for ever.
        workers = list(pool._processes.values())
        for worker in workers:
            worker.terminate()
        # Only then do all have their exit codes.
        pool.shutdown(wait=True, cancel_futures=True)
        raise _of_dead_workers(workers, _memory_kills() - kills_before) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits for the end of this block, and the processes that are started in it never hear of it.

    While they import it would end them in a traceback each; their run ends them.
    """
    from multiprocessing import resource_tracker

    # Started later, it would let the signal through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _of_dead_workers(workers: Sequence[Any], memory_kills: int) -> Exception:
    """What to say of a pool that broke, from how its processes ended."""
    # SIGTERM is how the pool ends those that are left when one has died.
    dead = [worker for worker in workers if worker.exitcode not in (0, None, -signal.SIGTERM)]
    processes = tuple(worker.pid for worker in dead)
    listed = ", ".join(map(str, processes)) or "unknown"
    if any(worker.exitcode != -signal.SIGKILL for worker in dead):
        ends = {signal.Signals(-worker.exitcode).name if worker.exitcode < 0 else worker.exitcode for worker in dead}
        return RuntimeError(f"worker process {listed} crashed with {', '.join(map(str, sorted(ends, key=str)))}")
    cause = "for memory" if memory_kills > 0 else "(SIGKILL), most likely for memory"
    killed = WorkerKilled(
        f"worker process {listed} was killed {cause}", hint="run again with fewer --jobs: finished parts are kept"
    )
    killed.processes = processes
    return killed


def _memory_kills() -> int:
    """How many processes the kernel has killed for memory since it started."""
    if not _VMSTAT.exists():
        return 0
    counters = dict(line.split() for line in _VMSTAT.read_text().splitlines())
    return int(counters.get("oom_kill", 0))


def die_with_parent(parent: int) -> None:
    """Ties this process to its parent: a worker that outlives its run would write under nobody's lease.

    Ctrl-C is left to the parent, which then ends its workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
