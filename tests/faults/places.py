"""A seed in, a fact out: a command is killed at a place inside of its stage, and run again.

Half of the cases are killed before a file operation, drawn among those of the place; the other half in mid-file: from
such an operation on the system lets no file grow past a drawn size, and ends the process that tries, in the middle of
a write, with nothing of it tidied up. The same command then has to leave the bytes of an undisturbed one and no other
files. All work is done by one process, so that the operations have the same numbers in every run.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pile_toolkit.chain.config import RESOLVED
from pile_toolkit.core.files import hash_file
from pile_toolkit.core.manifest import MANIFEST, TIMINGS
from tests.faults.bulk import BUILD, FILTERED, PLAIN, begin_bulk, bulk_folder, bulk_root
from tests.faults.ground import DEADLY, FOLDER_FILES, SAMPLED, SERVED, RunningPile, copy_root, demand_sound, scratch
from tests.faults.outcome import demand

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.faults.ground import Ground

SECOND_KILLS = 0.3
LONGEST_BYTES = 1 << 20
# A limit that no file reached is drawn again, lower.
ATTEMPTS = 6
_alone = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Place:
    """A command, the folder that it writes ("" for all), and the operations that belong to the place.

    `opens` is which of these open a file, where Python does; else after any of them files may no longer grow.
    `begin` is the root of `bulk_root` that the command finds, None for one of the ground's.
    """

    command: str
    writes: str
    operations: str
    opens: str | None = None
    begin: str | None = None


_NAMES = "(?:train|val|test)"
_WORK = r".*/corpus/\.work-\w+"
PLACES = {
    # Parts become the .bin in the work folder: the first is linked, the others appended and removed one by one.
    "join": Place(
        command="shards write --root {root}",
        writes="shards",
        operations=rf"os\.(link|remove) .*/{_NAMES}\.bin$|(open|os\.rename) .*/\.work-\w+/{_NAMES}\.bin$",
        opens=rf"open .*/\.work-\w+/(?P<file>{_NAMES}\.bin)$",
    ),
    # Copies are dealt into files of their ranges of keys, which the index is made of and which go with it.
    "shards index": Place(
        command="shards write --root {root}", writes="shards", operations=rf"\S+ .*/{_NAMES}\.order(/.*)?$"
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
    # What the source brought moves to a folder of its own, then its filtered documents take its place.
    "filters on": Place(command=f"{PLAIN} {FILTERED}", writes="components", operations=r"\S+ .*", begin="plain"),
    "filters off": Place(command=PLAIN, writes="components", operations=r"\S+ .*", begin="filtered"),
    "plan files": Place(
        command=f"{BUILD} --no-write-corpus", writes="plan", operations=r"\S+ .*", begin="deduplicated"
    ),
    "corpus, pass 1": Place(
        command=BUILD, writes="corpus", operations=rf"\S+ {_WORK}/(\.?layout|deal-).*", begin="planned"
    ),
    # Blocks go as the outputs appear that need them, and these move in at the end.
    "corpus, pass 2": Place(
        command=BUILD,
        writes="corpus",
        operations=rf"\S+ {_WORK}/sort-.*|os\.remove .*\.blocks$|\S+ .*/corpus/(?!\.work).*",
        begin="planned",
    ),
    "stats": Place(
        command="stats --root {root} --scheduler serial", writes="stats", operations=r"\S+ .*", begin="planned"
    ),
    "lock": Place(
        command="lock --root {root} -o {root}/locks/few.lock", writes="locks", operations=r"\S+ .*", begin="told"
    ),
    "diff": Place(
        command="diff {bulk}/few {root} --html {root}/reports/diff.html",
        writes="reports",
        operations=r"\S+ .*",
        begin="few",
    ),
    "run --locked": Place(
        command="run --locked {bulk}/few.lock --from {bulk}/source --root {root} --scheduler serial",
        writes="",
        operations=r"\S+ .*",
        begin="nothing",
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
    rng = random.Random(f"place {name} {seed}")
    place, expected = PLACES[name], _undisturbed(ground, name)
    with scratch(ground) as folder:
        root = folder / "root"
        _begin(ground, name, root)
        facts: list[str] = []
        for _ in range(1 + (rng.random() < SECOND_KILLS)):
            for attempt in range(ATTEMPTS):
                fault = _draw(place, expected, rng, in_mid_file=in_mid_file, attempt=attempt)
                code, said = _run(ground, place, root, fault.variables)
                if code != 0 or facts:
                    break
                # No file grew so long.
                shutil.rmtree(root)
                _begin(ground, name, root)
            if code == 0 and facts:
                # The first kill came late: not so many operations were left.
                break
            wanted = signal.SIGXFSZ if in_mid_file else signal.SIGKILL
            demand(code == -wanted, f"{fault.fact} it ended with {code}, not {-wanted}: {said}")
            if fault.before_manifest and not facts:
                demand(not (root / place.writes / MANIFEST).exists(), f"{fault.fact} {place.writes} looks finished")
            demand_sound(root)
            facts.append(fault.fact)
        code, said = _run(ground, place, root)
        demand(code == 0, f"{', then '.join(facts)}, and run again it ended with {code}: {said}")
        _compare(expected, root, ", then ".join(facts))
    return ", then ".join(facts)


class _Fault(NamedTuple):
    """Its variables, what it is, and whether it ends a first run before that could publish."""

    variables: dict[str, str]
    fact: str
    before_manifest: bool


def _draw(place: Place, expected: Undisturbed, rng: random.Random, *, in_mid_file: bool, attempt: int) -> _Fault:
    variables = {"FAULT_FOLDER": "{root}/" + place.writes.partition("/")[0]}
    lines = list(enumerate(expected.operations, 1))
    if in_mid_file and place.opens is not None:
        opened = [(number, found["file"]) for number, line in lines if (found := re.match(place.opens, line))]
        number, file = rng.choice(opened)
        limit_bytes = rng.randrange(1, expected.sizes[f"{place.writes}/{file}"])
        fact = f"killed at byte {limit_bytes:,} of {file}"
        return _Fault({**variables, "FAULT_AT": str(number), "FAULT_LIMIT_BYTES": str(limit_bytes)}, fact, True)
    number = rng.choice([number for number, line in lines if re.match(place.operations, line)])
    if in_mid_file:
        # Most files are small, some are large.
        limit_bytes = int(LONGEST_BYTES ** (rng.random() / (1 + attempt)))
        fact = f"killed at byte {limit_bytes:,} of a file after file operation {number} of {len(lines)}"
        return _Fault({**variables, "FAULT_AT": str(number), "FAULT_LIMIT_BYTES": str(limit_bytes)}, fact, False)
    published = [number for number, line in lines if re.search(rf"/{place.writes}/\.{MANIFEST}\S+$", line)]
    fact = f"killed before file operation {number} of {len(lines)}"
    before_manifest = bool(published) and number <= published[-1]
    return _Fault({**variables, "FAULT_AT": str(number), "FAULT_KILLS": "process"}, fact, before_manifest)


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
    if (begun := PLACES[name].begin) is not None:
        begin_bulk(ground, begun, root)
        if name == "run --locked":
            bulk_root(ground, "locked")
    elif name == "mix":
        copy_root(ground.data.root, root)
    else:
        ground.start(ground.data, "shards", root)


def _run(ground: Ground, place: Place, root: Path, fault: Mapping[str, str] | None = None) -> tuple[int, str]:
    places = {"root": root, "weights": ground.folder / "place-weights.toml", "bulk": bulk_folder(ground)}
    arguments = [word.format(**places) for word in place.command.split()]
    variables = {name: value.format(root=root) for name, value in (fault or {}).items()}
    run = RunningPile(arguments, {"PYTHONPATH": str(DEADLY), **variables} if fault else {})
    ended = run.ends()
    if not ended:
        run.process.kill()
    demand(ended, f"it does not end: {run.said()}")
    return run.process.returncode, run.said()


def _hashes(root: Path) -> dict[str, str]:
    """Of every file but the times, by its name under the root; what tells of times and places is only a name."""
    found = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.name not in (TIMINGS, ".lease.json"):
            tells = name.startswith("reports/") or name == RESOLVED
            found[name] = hash_file(path) if path.is_file() and not tells else ""
    return found


def _compare(expected: Undisturbed, root: Path, fact: str) -> None:
    found = _hashes(root)
    different = sorted({name for name, _ in found.items() ^ expected.hashes.items()})
    demand(not different, f"{fact}: other bytes or files than undisturbed in {', '.join(different)}")
    demand_sound(root)
