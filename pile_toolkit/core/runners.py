"""A function and its arguments in, results out: in this process, in a pool of processes, or on Dask workers.

Results come back as they finish, with the number of their argument; what a caller makes of them must not depend on that
order. Functions and arguments travel between processes, so both must be importable or picklable by value.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from concurrent import futures
from typing import TYPE_CHECKING, Any

from pile_toolkit.core.errors import OutOfSpace, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

SCHEDULERS = "serial, process, dask, or the address of a Dask scheduler such as tcp://host:8786"
_ADDRESSES = ("tcp://", "tls://")
_PR_SET_PDEATHSIG = 1


def run_all(
    function: Callable[..., Any], arguments: Sequence[tuple], *, jobs: int = 1, scheduler: str = "process"
) -> Generator[tuple[int, Any]]:
    """Yields (number of the argument, result) as calls finish.

    scheduler: serial | process | dask (workers on this machine) | tcp://... (a running Dask scheduler).
    Raises what a call raises, UsageError for an unknown scheduler, OutOfSpace where a worker was killed.
    """
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}, at least one is needed", hint="--jobs 1")
    if scheduler not in ("serial", "process", "dask") and not scheduler.startswith(_ADDRESSES):
        raise UsageError(f"unknown scheduler {scheduler!r}", hint=f"--scheduler takes {SCHEDULERS}")
    workers = min(jobs, len(arguments))
    if scheduler == "serial" or workers == 0 or (scheduler == "process" and workers == 1):
        return ((number, function(*values)) for number, values in enumerate(arguments))
    if scheduler == "process":
        return _run_in_processes(function, arguments, workers)
    return _run_on_dask(function, arguments, workers, None if scheduler == "dask" else scheduler)


def _run_in_processes(
    function: Callable[..., Any], arguments: Sequence[tuple], jobs: int
) -> Generator[tuple[int, Any]]:
    import multiprocessing

    # Spawned, not forked: threads of numba, pyarrow and tokenizers do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = futures.ProcessPoolExecutor(jobs, mp_context=context, initializer=die_with_parent, initargs=(os.getpid(),))
    try:
        numbers = {pool.submit(function, *values): number for number, values in enumerate(arguments)}
        for done in futures.as_completed(numbers):
            yield numbers[done], done.result()
    except (KeyboardInterrupt, GeneratorExit):
        # Nobody waits for the results any more, and a task may take hours; what it had half done is done again.
        for worker in list(pool._processes.values()):
            worker.kill()
        raise
    except futures.process.BrokenProcessPool as error:
        raise OutOfSpace(
            "a worker process was killed, most likely for memory",
            hint="run again with fewer --jobs: finished parts are kept",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def die_with_parent(parent: int) -> None:
    """Ties this process to its parent: a worker that outlives its run would write under nobody's lease.

    Ctrl-C is left to the parent, which then ends its workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _run_on_dask(
    function: Callable[..., Any], arguments: Sequence[tuple], workers: int, address: str | None
) -> Generator[tuple[int, Any]]:
    from distributed import Client, LocalCluster, as_completed
    from distributed.scheduler import KilledWorker

    with contextlib.ExitStack() as stack:
        if address is None:
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs="ERROR"
            )
            stack.callback(_close, cluster)
            address = cluster.scheduler_address
        client = stack.enter_context(Client(address))
        try:
            # pure=False: two equal calls must both run, each writes its own output.
            submitted = [client.submit(function, *values, pure=False) for values in arguments]
            numbers = {future.key: number for number, future in enumerate(submitted)}
            for future in as_completed(submitted):
                yield numbers[future.key], future.result()
        except KilledWorker as error:
            raise OutOfSpace(f"Dask workers died on one task: {error}", hint="give the workers more memory") from error


def _close(cluster: Any) -> None:
    # Closing fails where a worker that died is just being replaced, and must not hide what killed it.
    with contextlib.suppress(Exception):
        cluster.close()


def available_jobs() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


def naming_input(error: Exception, name: str) -> Exception:
    """The same error with a note of the input it happened on; a PileError's own sentence names its file already."""
    error.add_note(f"while working on {name}")
    return error
