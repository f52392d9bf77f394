"""A command alone on a finished root, at the hands of several workers of which one dies: the bytes of a serial one.

The worker dies in the middle of a task of a chosen phase: all of them would die on opening a file of that phase, and
the first that does takes away the file without which the others live on.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pile_toolkit.core.files import hash_file
from pile_toolkit.core.manifest import TIMINGS
from pile_toolkit.core.runners.slurm import LOGS
from tests.faults.ground import DEADLY, RunningPile, demand_sound
from tests.faults.outcome import demand

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.faults.ground import Ground

_alone = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line, the stage before which its root stands, and its phases by a part of the paths they open."""

    words: str
    before: str
    phases: dict[str, str]


COMMANDS = {
    "minhash": Command(
        words="dedup --method minhash --threshold 0.6 --num-perm 64 --verify --root {root}",
        before="dedup",
        phases={
            "fingerprints": "/fingerprints/",
            "counts": "/cells-",
            "edges": "/edges-",
            "sets": "/sets-",
            "similarities": "/rows-",
        },
    ),
    "build": Command(
        words="build --config {data} --train-shards 30 --root {root}",
        before="plan",
        phases={"first pass": "/deal-", "second pass": "/sort-"},
    ),
}


def begin(ground: Ground, name: str, root: Path) -> None:
    """Makes `root` what it is before the command."""
    ground.start(ground.data, COMMANDS[name].before, root)


def started(
    ground: Ground, name: str, root: Path, *options: str, environment: Mapping[str, str] | None = None
) -> RunningPile:
    """The command as a process."""
    words = [word.format(root=root, data=ground.data.config) for word in COMMANDS[name].words.split()]
    return RunningPile([*words, *options], environment or {})


def death_in(phase: str, folder: Path) -> dict[str, str]:
    """Variables of workers of which one, and no more, dies on opening a file of this phase."""
    once = folder / "once"
    once.touch()
    path = f"{DEADLY}:{os.environ.get('PYTHONPATH', '')}"
    return {"FAULT_OPENED": phase, "FAULT_DOES": "kill", "FAULT_ONCE": str(once), "PYTHONPATH": path}


def died(folder: Path) -> bool:
    """Whether one of the workers has."""
    return not (folder / "once").exists()


def finish(ground: Ground, name: str, root: Path, run: RunningPile) -> None:
    """Waits for the end of a command and compares what it leaves with what a serial one does."""
    ended = run.ends()
    if not ended:
        run.process.kill()
    demand(ended, f"it does not end: {run.said()}")
    demand(run.process.returncode == 0, f"{name} ended with {run.process.returncode}: {run.said()}")
    demand(not run.left_alive(), f"alive after the run: {run.left_alive()}")
    expected, found = _undisturbed(ground, name), _hashes(root)
    different = sorted({path for path, _ in found.items() ^ expected.items()})
    demand(not different, f"other bytes or files than a serial {name} leaves: {', '.join(different)}")
    demand_sound(root)


def _undisturbed(ground: Ground, name: str) -> dict[str, str]:
    root = ground.folder / f"serial-{name}"
    with _alone:
        if not root.exists():
            begin(ground, name, root)
            run = started(ground, name, root, "--scheduler", "serial")
            if not (run.ends() and run.process.returncode == 0):
                shutil.rmtree(root)
                demand(False, f"a serial {name} ended with {run.process.returncode}: {run.said()}")
    return _hashes(root)


def _hashes(root: Path) -> dict[str, str]:
    """Of every file but times, leases and logs, by its name under the root."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name not in (TIMINGS, ".lease.json")]
    named = {str(path.relative_to(root)): path for path in files}
    return {name: hash_file(path) for name, path in named.items() if not re.match(f"{LOGS}/", name)}
