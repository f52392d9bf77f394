"""A stage's tasks in, their finished folders out: a killed stage continues from the tasks it had finished.

The work folder is named after the stage's key, so parts of another seed or corpus are never taken for these.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import OutOfSpace, WorkerKilled
from pile_toolkit.core.files import fsync_file, fsync_folder, naming_full_disks, needing_bytes, remove
from pile_toolkit.core.held import Held, held_leases, refuse_if_displaced, writing_under
from pile_toolkit.core.jsonfile import decode_json
from pile_toolkit.core.runners import naming_input, run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.manifest import StageKey

WORK_PREFIX = ".work-"
RESULT = "result.json"
PARTIAL = ".partial-"
_PARTIAL_NAME = re.compile(rf"(?P<name>.*){re.escape(PARTIAL)}(?P<process>\d+)-.*")


class Task(msgspec.Struct, frozen=True):
    """One unit of work: `name` is the name of its folder, `arguments` go to the function after that folder.

    `size` is what the task counts in the progress of all, in any unit.
    """

    name: str
    arguments: tuple[Any, ...]
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Who does the tasks, and where they say how far they are; no result depends on it."""

    jobs: int = 1
    scheduler: str = "process"
    reporter: Reporter = SILENT


@contextlib.contextmanager
def work_folder(folder: Path, key: StageKey, *, needs_bytes: int = 0) -> Iterator[Path]:
    """A scratch folder for one key; kept when the block fails, removed with all older ones when it succeeds.

    `needs_bytes` is about what the stage writes below `folder`, for what is said where the disk is full.
    """
    work = folder / f"{WORK_PREFIX}{key.digest()[:16]}"
    remove_work(folder, but=work)
    # A run that slept would make anew what its successor has removed.
    refuse_if_displaced()
    work.mkdir(parents=True, exist_ok=True)
    with needing_bytes(folder, needs_bytes), naming_full_disks(work):
        yield work
    remove_work(folder)


def remove_work(folder: Path, *, but: Path | None = None) -> None:
    """Removes the scratch folders of a stage, of whatever key."""
    for work in folder.glob(f"{WORK_PREFIX}*"):
        if work != but:
            refuse_if_displaced()
            remove(work)


def run_tasks(
    function: Callable[..., Any],
    tasks: Sequence[Task],
    *,
    work: Path,
    workers: Workers,
    label: str,
    unit: str,
    on_finished: Callable[[int], None] | None = None,
) -> list[Any]:
    """Results of `function(folder, *arguments)` in the order of `tasks`, those finished before not run again.

    The function writes any files into its folder and returns what JSON can hold; both appear at once in `work/<name>`.
    `label` and `unit` are for the progress, which counts the tasks' sizes. `on_finished` is called here with the number
    of every task that is, those finished before first, while others are still at work.
    """
    with workers.reporter.progress(label, total=sum(task.size for task in tasks), unit=unit) as advance:

        def finished(number: int) -> None:
            advance(tasks[number].size)
            if on_finished is not None:
                on_finished(number)

        return _run_tasks(function, tasks, work.resolve(), workers, finished)


def starting_order(tasks: Sequence[Task], jobs: int) -> list[Task]:
    """The tasks in their order, but one that would outlast all the others, shared by `jobs` workers, before them.

    So the first results are there early, and no worker begins a large task when the others are done.
    """
    left = sum(task.size for task in tasks)
    begun: dict[str, Task] = {}
    in_order, by_size = iter(tasks), iter(sorted(tasks, key=lambda task: -task.size))
    following, largest = next(in_order, None), next(by_size, None)
    while following is not None and largest is not None:
        chosen = largest if largest.size * jobs >= left else following
        begun[chosen.name] = chosen
        left -= chosen.size
        while following is not None and following.name in begun:
            following = next(in_order, None)
        while largest is not None and largest.name in begun:
            largest = next(by_size, None)
    return list(begun.values())


def _run_tasks(
    function: Callable[..., Any],
    tasks: Sequence[Task],
    work: Path,
    workers: Workers,
    on_finished: Callable[[int], None],
) -> list[Any]:
    results: dict[int, Any] = {}
    waiting = []
    for number, task in enumerate(tasks):
        finished = work / task.name / RESULT
        if finished.exists():
            results[number] = decode_json(finished.read_bytes(), Any, name=str(finished), hint=f"rm -r {work}")
        else:
            waiting.append(number)
    # A run that slept through its end would make anew what its successor removed.
    refuse_if_displaced()
    work.mkdir(parents=True, exist_ok=True)
    _remove_partial(work)
    for number in results:
        on_finished(number)
    leases = held_leases()
    arguments = [(function, str(work / tasks[number].name), tasks[number].arguments, leases) for number in waiting]
    try:
        # Closed, so that an error while reporting ends the workers at once and not when the interpreter gets to it.
        calls = run_all(_run_task, arguments, jobs=workers.jobs, scheduler=workers.scheduler, say=workers.reporter.say)
        with contextlib.closing(calls) as ended:
            for position, result in ended:
                number = waiting[position]
                results[number] = result
                on_finished(number)
    except WorkerKilled as error:
        names = [tasks[waiting[position]].name for position in error.positions] or _at_work(work, error.processes)
        working_on = f" while working on {', '.join(names)}" if names else ""
        raise WorkerKilled(f"{error.message}{working_on}", hint=error.hint) from error.__cause__
    _remove_partial(work)
    return [results[number] for number in range(len(tasks))]


def _remove_partial(work: Path) -> None:
    """Removes what workers that were killed had begun."""
    for partial in work.glob(f"*{PARTIAL}*"):
        remove(partial)


def _at_work(work: Path, processes: Sequence[int]) -> list[str]:
    """Names of the tasks that these processes had begun."""
    begun = map(_PARTIAL_NAME.fullmatch, (path.name for path in work.glob(f"*{PARTIAL}*")))
    return sorted(match["name"] for match in begun if match and int(match["process"]) in processes)


def _run_task(function: Callable[..., Any], folder: str, arguments: tuple, leases: tuple[Held, ...]) -> Any:
    target = Path(folder)
    # Of its own, because a worker that a cluster gave up may still be at the same task.
    partial = target.with_name(f"{target.name}{PARTIAL}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with writing_under(leases), naming_full_disks(partial):
            _begin(partial)
            # Through JSON and back, so that a resumed run sees exactly what an undisturbed one sees.
            encoded = msgspec.json.encode(function(partial, *arguments))
            # With the others below: a folder that has its name has all of its files.
            (partial / RESULT).write_bytes(encoded)
            fsync_file(partial)
            _publish(partial, target)
    except MemoryError as error:
        fact = f"a worker ran out of memory while working on {target.name}"
        raise OutOfSpace(fact, hint="run again with fewer --jobs: finished parts are kept") from error
    except Exception as error:
        # At once: the room may be what is missing.
        with contextlib.suppress(OSError):
            remove(partial)
        raise naming_input(error, target.name) from error.__cause__
    return msgspec.json.decode(encoded)


def _begin(partial: Path) -> None:
    """Makes a task's folder, and none above it: a successor that took the root over may have removed the work."""
    refuse_if_displaced()
    try:
        partial.mkdir()
    except FileNotFoundError:
        refuse_if_displaced()
        raise


def _publish(partial: Path, target: Path) -> None:
    refuse_if_displaced()
    try:
        partial.rename(target)
    except OSError:
        if not (target / RESULT).exists():
            raise
        # Another worker was at the same task and has finished it, with the same bytes.
        remove(partial)
    fsync_folder(target.parent)
