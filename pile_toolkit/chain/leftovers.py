"""A root folder in, what killed writers left behind out: files and folders that no manifest names and nobody writes."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import msgspec
import psutil

from pile_toolkit.chain.remedy import TWIN_SUFFIX
from pile_toolkit.core.files import TEMPORARY_SUFFIX
from pile_toolkit.core.lease import living_owner
from pile_toolkit.core.tasks import PARTIAL, WORK_PREFIX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

# Folders of the stages, relative to the root: nothing else in it is ever looked into.
TOPS = ("components", "dedup", "plan", "corpus", "tokenizer", "shards", "mixes", "runs", "stats", "reports")

_PARTIAL = re.compile(rf".+{re.escape(PARTIAL)}\d+-[0-9a-f]{{8}}")


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """A work folder or temporary file, and its size."""

    path: str
    bytes: int


def find_leftovers(root: Path, *, damaged: Collection[str] = ()) -> list[Leftover]:
    """Everything that killed writers left under `root`; nothing where somebody may be writing at this moment.

    A work folder is what its stage would continue from, so running the stage again uses it up too.
    """
    if living_owner(root) is not None:
        return []
    found = [path for top in TOPS for path in _leftovers(root / top)]
    for twin in sorted(root.glob(f"runs/*{TWIN_SUFFIX}")):
        run = str(twin).removesuffix(TWIN_SUFFIX) + os.sep
        if not any(path.startswith(run) for path in damaged):
            found.append(twin)
    return [Leftover(path=str(path), bytes=_bytes(path)) for path in found]


def _leftovers(folder: Path) -> Iterator[Path]:
    """Below one stage's folder; a leftover is not looked into, and no link is followed."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    here = folder.joinpath
    if living_owner(folder) is not None:
        return
    for entry in entries:
        if _is_left_over(entry.name):
            yield here(entry.name)
        elif entry.is_dir(follow_symlinks=False) and not entry.name.endswith(TWIN_SUFFIX):
            yield from _leftovers(here(entry.name))


def _is_left_over(name: str) -> bool:
    # Tasks are begun in work folders, and in that of the fingerprints, which stays.
    if name.startswith(WORK_PREFIX) or _PARTIAL.fullmatch(name):
        return True
    if not (name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)):
        return False
    writer = name.removesuffix(TEMPORARY_SUFFIX).rpartition(".")[2]
    return not (writer.isdigit() and psutil.pid_exists(int(writer)))


def _bytes(path: Path) -> int:
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())
