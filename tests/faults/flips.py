"""A finished root in, one bit of it turned over out: does `verify` name that file and no other, and is it made again?

`flip` leaves the root as it was, `flip_and_repair` leaves what the repair made of it. Both are for copies of a root.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pile_toolkit.chain.verify import find_manifests, is_inside, verify
from pile_toolkit.core.files import hash_file
from tests.chain.small_chain import pile_command, process_environment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class FlipOutcome:
    """Which bits were turned over, and what went wrong, nothing if None."""

    flipped: tuple[str, ...]
    problem: str | None


def outputs_inside(root: Path) -> list[Path]:
    """Every file that a manifest names and that is the root's own, in the order of the chain."""
    return [
        folder / output.path
        for folder, manifest in find_manifests(root)
        for output in manifest.outputs
        if is_inside(root, folder, output.path) and output.bytes
    ]


def hashes(root: Path) -> dict[str, str]:
    """Path in the root -> hash, of every output and manifest but the report's, which tells how long things took."""
    manifests = [folder / "manifest.json" for folder, _ in find_manifests(root)]
    names = {path.relative_to(root).as_posix(): path for path in (*outputs_inside(root), *manifests)}
    return {name: hash_file(path) for name, path in names.items() if not name.startswith("reports/")}


def turn_over(path: Path, bit: int) -> None:
    """Turns one bit over as a failing disk does it: size and times stay as they were."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def outputs_among(root: Path, folders: Sequence[str]) -> list[Path]:
    """The outputs of the root below some of its folders; of all where none is named."""
    paths = outputs_inside(root)
    return [path for path in paths if not folders or path.relative_to(root).parts[0] in folders]


def flip(root: Path, seed: int, *, folders: Sequence[str] = ()) -> FlipOutcome:
    """One random bit of one random output; `verify` must name that file, and with it only its hard links."""
    chance = random.Random(seed)
    path = chance.choice(outputs_among(root, folders))
    bit = chance.randrange(8 * path.stat().st_size)
    turn_over(path, bit)
    try:
        found = {fault.path for fault in verify(root).faults}
    finally:
        turn_over(path, bit)
    wanted = {str(other) for other in outputs_inside(root) if os.path.samefile(other, path)}
    problem = None if found == wanted else f"verify named {sorted(found)}, turned over was {sorted(wanted)}"
    return FlipOutcome(flipped=(f"{path.relative_to(root)} bit {bit}",), problem=problem)


def flip_and_repair(root: Path, seed: int, *, flips: int = 3, folders: Sequence[str] = ()) -> FlipOutcome:
    """Some random bits of as many outputs; `pile verify --repair` must give back every byte of the root."""
    chance = random.Random(seed)
    before = hashes(root)
    paths = chance.sample(outputs_among(root, folders), flips)
    bits = [chance.randrange(8 * path.stat().st_size) for path in paths]
    for path, bit in zip(paths, bits, strict=True):
        turn_over(path, bit)
    flipped = tuple(f"{path.relative_to(root)} bit {bit}" for path, bit in zip(paths, bits, strict=True))
    return FlipOutcome(flipped=flipped, problem=repair_problem(root, before))


def repair_problem(root: Path, before: dict[str, str]) -> str | None:
    """What `pile verify --repair` does not bring back, None where every byte is as it was."""
    done = subprocess.run(
        pile_command(["verify", "--repair", "--json", "--jobs", "1", "--root", root]),
        capture_output=True,
        text=True,
        env=process_environment(),
    )
    if done.returncode != 0:
        return f"exit code {done.returncode}: {done.stderr}"
    after = hashes(root)
    if changed := sorted(name for name in {*before, *after} if before.get(name) != after.get(name)):
        return f"other bytes than before in {changed}"
    rest = json.loads(done.stdout)
    return f"left: {rest}" if rest["faults"] or rest["stale"] or rest["leftovers"] else None
