"""Bytes in, whole files out: a name appears only when its content is complete and on the disk."""

from __future__ import annotations

import contextlib
import errno
import functools
import glob
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from pile_toolkit.core.errors import DiskFull
from pile_toolkit.core.held import refuse_if_displaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HASH_BLOCK_BYTES = 4 << 20
TEMPORARY_SUFFIX = ".tmp"
LEAST_BYTES = 4096
_SYNC_FILE_RANGE_WRITE = 2
# What numpy says, without an error number, where fewer bytes of an array fit than it has.
_SHORT_WRITE = re.compile(r"^\d+ requested and \d+ written$")


@contextlib.contextmanager
def atomic_path(path: Path, *, needs_bytes: int = 0) -> Iterator[Path]:
    """Yields a temporary name beside `path`; on leaving the block without an error it becomes `path`, fsynced.

    `needs_bytes` is its size, where it is known before. On an error the temporary file or folder is removed, and so is
    what killed writers of `path` left behind. Raises DiskFull where there is no room, TryAgain where this run no longer
    holds the root it writes in.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        with naming_full_disks(path, needs_bytes=needs_bytes):
            if not path.parent.is_dir():
                # Not in place of one that a successor of this run has removed.
                refuse_if_displaced()
                path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path)
            yield temporary
            fsync_file(temporary)
            refuse_if_displaced()
            temporary.replace(path)
            fsync_folder(path.parent)
    finally:
        remove(temporary)


def _remove_leftovers(path: Path) -> None:
    # A temporary name holds its writer's process number; left alone, every kill would cost the size of the file.
    import psutil

    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{TEMPORARY_SUFFIX}"):
        writer = leftover.name.removesuffix(TEMPORARY_SUFFIX).rpartition(".")[2]
        if writer.isdigit() and (int(writer) == os.getpid() or not psutil.pid_exists(int(writer))):
            remove(leftover)


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces the content of `path` by `data`, atomically."""
    with atomic_path(path, needs_bytes=len(data)) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def naming_full_disks(path: Path, *, needs_bytes: int = 0) -> Iterator[None]:
    """Turns the operating system's 'no space left' into DiskFull: which path, what is free there, what is missing.

    `needs_bytes` is the size of what is being written, where it is known before.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and not _SHORT_WRITE.search(str(error)):
            raise
        free_bytes = _free_bytes(path)
        fact = f"the disk is full while writing {path}: {free_bytes:,} bytes are free there"
        raise _disk_full(fact, needs_bytes - free_bytes) from error


@contextlib.contextmanager
def needing_bytes(folder: Path, needs_bytes: int) -> Iterator[None]:
    """Says in DiskFull how many bytes are missing of the about `needs_bytes` that are to be written below `folder`."""
    try:
        yield
    except DiskFull as error:
        missing_bytes = needs_bytes - tree_bytes(folder) - _free_bytes(folder)
        raise _disk_full(error.fact, max(missing_bytes, error.missing_bytes)) from error


def _disk_full(fact: str, missing_bytes: int) -> DiskFull:
    # At least a block: whatever was estimated, there is too little.
    missing_bytes = max(missing_bytes, LEAST_BYTES)
    error = DiskFull(
        f"{fact}, about {missing_bytes:,} more are needed",
        hint="make room there, then run the same command again: finished files are kept",
    )
    error.fact, error.missing_bytes = fact, missing_bytes
    return error


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(existing_parent(path)).free


def tree_bytes(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def existing_parent(path: Path) -> Path:
    """The nearest folder at or above `path` that exists."""
    for folder in (path, *path.parents):
        if folder.is_dir():
            return folder
    return Path.cwd()


def fsync_file(path: Path) -> None:
    """Forces a file's content to the disk; for a folder, that of every file below it."""
    if path.is_dir():
        for child in path.iterdir():
            fsync_file(child)
        fsync_folder(path)
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begin_writeback(descriptor: int) -> None:
    """Lets the disk begin with what was written to a file, and does not wait: less is left for the fsync at its end.

    The system would begin once a tenth of the memory is unwritten. Where it cannot be asked, nothing happens.
    """
    call = _sync_file_range()
    if call is not None:
        call(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    import ctypes

    try:
        call = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return call


def fsync_folder(path: Path) -> None:
    """Forces a folder's list of names to the disk; without it a rename may be lost with the power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Removes a file, a link or a whole folder; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """The 128-bit XXH3 hash of a file's bytes, 32 hexadecimal digits."""
    hasher = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        while block := file.read(HASH_BLOCK_BYTES):
            hasher.update(block)
    return hasher.hexdigest()
