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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pile_toolkit.core.errors import UsageError, WorkerKilled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

SCHEDULERS = "serial, process, dask, or the address of a Dask scheduler such as tcp://host:8786"
_ADDRESSES = ("tcp://", "tls://")
_PR_SET_PDEATHSIG = 1
_VMSTAT = Path("/proc/vmstat")


def run_all(
    function: Callable[..., Any], arguments: Sequence[tuple], *, jobs: int = 1, scheduler: str = "process"
) -> Generator[tuple[int, Any]]:
    """Yields (number of the argument, result) as calls finish.

    scheduler: serial | process | dask (workers on this machine) | tcp://... (a running Dask scheduler).
    Raises what a call raises, UsageError for an unknown scheduler, WorkerKilled where a worker was killed.
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
    workers: list[Any] = []
    kills_before = _memory_kills()
    try:
        with _interrupts_held_back():
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
def _interrupts_held_back() -> Iterator[None]:
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


def _run_on_dask(
    function: Callable[..., Any], arguments: Sequence[tuple], workers: int, address: str | None
) -> Generator[tuple[int, Any]]:
    from distributed import Client, as_completed
    from distributed.scheduler import KilledWorker

    with contextlib.ExitStack() as stack:
        if address is None:
            with _interrupts_held_back():
                cluster = _local_cluster(workers)
            stack.callback(_close, cluster)
            address = cluster.scheduler_address
        client = stack.enter_context(Client(address))
        # pure=False: two equal calls must both run, each writes its own output.
        submitted = [client.submit(function, *values, pure=False) for values in arguments]
        numbers = {future.key: number for number, future in enumerate(submitted)}
        for future in as_completed(submitted):
            try:
                result = future.result()
            except KilledWorker as error:
                killed = WorkerKilled(
                    f"{error.allowed_failures + 1} Dask workers were killed in succession, most likely for memory",
                    hint="give the workers more memory, then run again: finished parts are kept",
                )
                killed.positions = (numbers[future.key],)
                raise killed from error
            yield numbers[future.key], result


def _local_cluster(workers: int) -> Any:
    """Dask workers on this machine. Raises WorkerKilled where they are killed while they start, twice."""
    import dask
    from distributed import LocalCluster

    # What a task raises is raised here, and said once: Dask's own log would print its traceback before.
    options: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": "CRITICAL"}
    # Tasks wait at the scheduler and not at a worker, where one that kills it takes the blame to those that wait.
    with dask.config.set({"distributed.scheduler.worker-saturation": 1.0}):
        try:
            return LocalCluster(n_workers=workers, **options)
        except RuntimeError as error:
            with contextlib.suppress(RuntimeError):
                return LocalCluster(n_workers=workers, **options)
            fact = "Dask workers were killed while they started, twice, most likely for memory"
            raise WorkerKilled(fact, hint="run again with fewer --jobs: finished parts are kept") from error


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
