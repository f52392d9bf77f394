"""A stage's tasks in, their finished folders out: a killed stage continues from the tasks it had finished.

The work folder is named after the stage's key, so parts of another seed or corpus are never taken for these.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.files import fsync_file, fsync_folder, naming_full_disks, remove, write_bytes
from pile_toolkit.core.runners import naming_input, run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.manifest import StageKey

WORK_PREFIX = ".work-"
RESULT = "result.json"


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
def work_folder(folder: Path, key: StageKey) -> Iterator[Path]:
    """A scratch folder for one key; kept when the block fails, removed with all older ones when it succeeds."""
    work = folder / f"{WORK_PREFIX}{key.digest()[:16]}"
    for other in folder.glob(f"{WORK_PREFIX}*"):
        if other != work:
            remove(other)
    work.mkdir(parents=True, exist_ok=True)
    with naming_full_disks(work):
        yield work
    remove(work)


def run_tasks(
    function: Callable[..., Any],
    tasks: Sequence[Task],
    *,
    work: Path,
    workers: Workers,
    label: str,
    unit: str,
) -> list[Any]:
    """Results of `function(folder, *arguments)` in the order of `tasks`, those finished before not run again.

    The function writes any files into its folder and returns what JSON can hold; both appear at once in `work/<name>`.
    `label` and `unit` are for the progress, which counts the tasks' sizes.
    """
    with workers.reporter.progress(label, total=sum(task.size for task in tasks), unit=unit) as advance:
        return _run_tasks(function, tasks, work.resolve(), workers, advance)


def _run_tasks(
    function: Callable[..., Any], tasks: Sequence[Task], work: Path, workers: Workers, advance: Callable[[int], None]
) -> list[Any]:
    results: dict[int, Any] = {}
    waiting = []
    for number, task in enumerate(tasks):
        finished = work / task.name / RESULT
        if finished.exists():
            results[number] = msgspec.json.decode(finished.read_bytes())
            advance(task.size)
        else:
            waiting.append(number)
    arguments = [(function, str(work / tasks[number].name), tasks[number].arguments) for number in waiting]
    # Closed, so that an error while reporting ends the workers at once and not when the interpreter gets to it.
    with contextlib.closing(run_all(_run_task, arguments, jobs=workers.jobs, scheduler=workers.scheduler)) as finishing:
        for position, result in finishing:
            number = waiting[position]
            results[number] = result
            advance(tasks[number].size)
    return [results[number] for number in range(len(tasks))]


def _run_task(function: Callable[..., Any], folder: str, arguments: tuple) -> Any:
    target = Path(folder)
    partial = target.with_name(target.name + ".partial")
    remove(partial)
    partial.mkdir(parents=True)
    try:
        with naming_full_disks(partial):
            # Through JSON and back, so that a resumed run sees exactly what an undisturbed one sees.
            encoded = msgspec.json.encode(function(partial, *arguments))
            write_bytes(partial / RESULT, encoded)
            fsync_file(partial)
            remove(target)
            partial.rename(target)
            fsync_folder(target.parent)
    except Exception as error:
        raise naming_input(error, target.name) from error.__cause__
    return msgspec.json.decode(encoded)
