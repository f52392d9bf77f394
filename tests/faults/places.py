"""A seed in, a fact out: shards are killed while parts are joined, copies written out or a mix made, and run again.

Half of the cases are killed before a file operation, drawn among those of the place; the other half in mid-file: from
the moment on at which a file is opened the system lets no file grow past a drawn size, and ends the process that tries,
in the middle of a write, with nothing of it tidied up. The same command then has to leave the bytes of an undisturbed
one and no other files.
"""

from __future__ import annotations

import random
import re
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pile_toolkit.core.files import hash_file
from pile_toolkit.core.manifest import MANIFEST, TIMINGS
from tests.faults.ground import DEADLY, FOLDER_FILES, SAMPLED, SERVED, RunningPile, copy_root, demand_sound, scratch
from tests.faults.outcome import demand

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.faults.ground import Ground

SECOND_KILLS = 0.3
_alone = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Place:
    """A command, the folder it writes, the operations that belong to the place, and which of them open a file."""

    command: str
    writes: str
    operations: str
    opens: str


_NAMES = "(?:train|val|test)"
PLACES = {
    # Parts become the .bin in the work folder: the first is linked, the others appended and removed one by one.
    "join": Place(
        command="shards write --root {root}",
        writes="shards",
        operations=rf"os\.(link|remove) .*/{_NAMES}\.bin$|(open|os\.rename) .*/\.work-\w+/{_NAMES}\.bin$",
        opens=rf"open .*/\.work-\w+/(?P<file>{_NAMES}\.bin)$",
    ),
    "materialize": Place(
        command="shards write --materialize --root {root}",
        writes="shards",
        operations=rf"\S+ .*/shards/\.{_NAMES}\.\S+\.tmp$",
        opens=rf"open .*/shards/\.(?P<file>{_NAMES}\.bin)\.\d+\.tmp$",
    ),
    "mix": Place(
        command="shards mix other --weights {weights} --root {root}",
        writes="mixes/other",
        operations=r"\S+ .*/mixes/.*",
        opens=rf"open .*/mixes/other/\.(?P<file>{_NAMES}\.\S+)\.\d+\.tmp$",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """What a place leaves: files with their hashes and bytes, and its operations in order."""

    hashes: dict[str, str]
    sizes: dict[str, int]
    operations: list[str]


def kill_place(ground: Ground, name: str, seed: int, *, in_mid_file: bool) -> str:
    """One case; returns what was done."""
    rng = random.Random(f"place {seed}")
    place, expected = PLACES[name], _undisturbed(ground, name)
    with scratch(ground) as folder:
        root = folder / "root"
        _begin(ground, name, root)
        facts = []
        for _ in range(1 + (rng.random() < SECOND_KILLS)):
            fault, fact = _draw(place, expected, rng, in_mid_file=in_mid_file)
            code, said = _run(ground, place, root, fault)
            if code == 0 and facts:
                # The first kill came late: not so many operations were left.
                break
            wanted = signal.SIGXFSZ if in_mid_file else signal.SIGKILL
            demand(code == -wanted, f"{fact} it ended with {code}, not {-wanted}: {said}")
            demand(not (root / place.writes / MANIFEST).exists(), f"{fact} {place.writes} looks finished")
            demand_sound(root)
            facts.append(fact)
        code, said = _run(ground, place, root)
        demand(code == 0, f"run again it ended with {code}: {said}")
        _compare(expected, root, ", then ".join(facts))
    return ", then ".join(facts)


def _draw(place: Place, expected: Undisturbed, rng: random.Random, *, in_mid_file: bool) -> tuple[dict[str, str], str]:
    """(variables of the fault, the fact)."""
    fault = {"FAULT_FOLDER": "{root}/" + place.writes.partition("/")[0]}
    if not in_mid_file:
        numbers = [number for number, line in enumerate(expected.operations, 1) if re.match(place.operations, line)]
        number = rng.choice(numbers)
        fact = f"killed before file operation {number} of {len(expected.operations)}"
        return {**fault, "FAULT_AT": str(number), "FAULT_KILLS": "process"}, fact
    opened = [
        (number, found["file"])
        for number, line in enumerate(expected.operations, 1)
        if (found := re.match(place.opens, line))
    ]
    number, file = rng.choice(opened)
    limit_bytes = rng.randrange(1, expected.sizes[f"{place.writes}/{file}"])
    fact = f"killed at byte {limit_bytes:,} of {file}"
    return {**fault, "FAULT_AT": str(number), "FAULT_LIMIT_BYTES": str(limit_bytes)}, fact


def _undisturbed(ground: Ground, name: str) -> Undisturbed:
    root, log = ground.folder / f"place-{name}", ground.folder / f"place-{name}.log"
    with _alone:
        if not root.exists():
            weights = "".join(f"{slug} = 1.5\n" for slug in (*FOLDER_FILES, SERVED, SAMPLED))
            (ground.folder / "place-weights.toml").write_text(weights)
            _begin(ground, name, root)
            folder = "{root}/" + PLACES[name].writes.partition("/")[0]
            code, said = _run(ground, PLACES[name], root, {"FAULT_FOLDER": folder, "FAULT_LOG": str(log)})
            demand(code == 0, f"{name}, undisturbed, ended with {code}: {said}")
    operations = log.read_text().splitlines()
    sizes = {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}
    return Undisturbed(hashes=_hashes(root), sizes=sizes, operations=operations)


def _begin(ground: Ground, name: str, root: Path) -> None:
    if name == "mix":
        copy_root(ground.data.root, root)
    else:
        ground.start(ground.data, "shards", root)


def _run(ground: Ground, place: Place, root: Path, fault: Mapping[str, str] | None = None) -> tuple[int, str]:
    places = {"root": root, "weights": ground.folder / "place-weights.toml"}
    arguments = [word.format(**places) for word in place.command.split()]
    variables = {name: value.format(root=root) for name, value in (fault or {}).items()}
    run = RunningPile(arguments, {"PYTHONPATH": str(DEADLY), **variables} if fault else {})
    ended = run.ends()
    if not ended:
        run.process.kill()
    demand(ended, f"it does not end: {run.said()}")
    return run.process.returncode, run.said()


def _hashes(root: Path) -> dict[str, str]:
    """Of every file but the times, by its name under the root."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name not in (TIMINGS, ".lease.json")]
    return {str(path.relative_to(root)): hash_file(path) for path in files}


def _compare(expected: Undisturbed, root: Path, fact: str) -> None:
    found = _hashes(root)
    different = sorted({name for name, _ in found.items() ^ expected.hashes.items()})
    demand(not different, f"{fact}: other bytes or files than undisturbed in {', '.join(different)}")
    demand_sound(root)
