"""Bytes of an unfinished download in, a whole file out; `<name>.part` survives kills, a record says what it is part of.

The running sha256 covers exactly the bytes in the file, those of earlier processes included. The final name appears
only when the content is complete and on the disk; content that failed its check is kept as `<name>.bad`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from pile_toolkit.core.errors import CorruptData, OutOfSpace, TryAgain
from pile_toolkit.core.files import HASH_BLOCK_BYTES, fsync_folder, naming_full_disks, write_bytes
from pile_toolkit.core.jsonfile import RECORD_LIMIT_BYTES, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PART_SUFFIX = ".part"
RECORD_SUFFIX = ".part.json"
BAD_SUFFIX = ".bad"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a part is a part of: a masked URL, the server's ETag or Last-Modified, the whole size, the wanted hash."""

    url: str
    validator: str | None = None
    total_bytes: int | None = None
    sha256: str | None = None


class PartFile:
    """The unfinished file of one target, locked against other processes while it is open."""

    def __init__(self, target: Path, file: BinaryIO) -> None:
        self.target = target
        self.origin: Origin | None = None
        # True once bytes of two answers were joined: only then may a wrong hash be our joint, not the server's file.
        self.joined = False
        self._file = file
        self._hasher = hashlib.sha256()
        self.length = 0

    @property
    def digest(self) -> str:
        """sha256 of the bytes so far, 64 hexadecimal digits."""
        return self._hasher.hexdigest()

    def begin(self, origin: Origin) -> None:
        """Empties the part; from here on it is a part of `origin`."""
        self.clear()
        self._record(origin)

    def continue_from(self, origin: Origin) -> None:
        """Keeps the bytes; those that follow come from `origin`, which may be another mirror."""
        self.joined = True
        if origin != self.origin:
            self._record(origin)

    def _record(self, origin: Origin) -> None:
        write_bytes(_beside(self.target, RECORD_SUFFIX), msgspec.json.encode(origin))
        self.origin = origin

    def clear(self) -> None:
        """Forgets all bytes: they are not, or no longer, a part of what is wanted."""
        # The record goes first: bytes without one are never continued.
        _beside(self.target, RECORD_SUFFIX).unlink(missing_ok=True)
        self._file.seek(0)
        self._file.truncate(0)
        self._hasher, self.length, self.origin, self.joined = hashlib.sha256(), 0, None, False

    def append(self, block: bytes) -> None:
        """Adds bytes. Raises OutOfSpace where the disk is full."""
        with naming_full_disks(self.target):
            rest = memoryview(block)
            # An unbuffered write may take only a part, on a disk that is filling up for one.
            while rest:
                rest = rest[self._file.write(rest) :]
        self._hasher.update(block)
        self.length += len(block)

    def require_space(self, total_bytes: int | None) -> None:
        """Raises OutOfSpace where a file of `total_bytes` will not fit, before the first of them is fetched."""
        missing_bytes = (total_bytes or 0) - self.length
        free_bytes = shutil.disk_usage(self.target.parent).free
        if missing_bytes > free_bytes:
            raise OutOfSpace(
                f"{self.target.name} needs {missing_bytes:,} more bytes, {self.target.parent} has {free_bytes:,} free",
                hint="make room there or choose another --root, then run the same command again",
            )

    def publish(self) -> None:
        """The part becomes the target, on the disk."""
        self._move(self.target)
        _beside(self.target, RECORD_SUFFIX).unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """The part becomes `<name>.bad`, and an empty one takes its place."""
        bad = _beside(self.target, BAD_SUFFIX)
        self._move(bad)
        self._file.close()
        self._file = _open_locked(self.target)
        self.clear()
        return bad

    def _move(self, path: Path) -> None:
        with naming_full_disks(self.target):
            os.fsync(self._file.fileno())
        _beside(self.target, PART_SUFFIX).replace(path)
        fsync_folder(path.parent)

    def restore(self) -> None:
        """Takes up what an earlier process left, hashing it again; without a readable record it starts empty."""
        origin = _read_origin(_beside(self.target, RECORD_SUFFIX))
        if origin is None:
            self.clear()
            return
        while block := self._file.read(HASH_BLOCK_BYTES):
            self._hasher.update(block)
            self.length += len(block)
        self.origin, self.joined = origin, self.length > 0

    def close(self) -> None:
        """Releases the lock; an empty part leaves nothing behind."""
        path = _beside(self.target, PART_SUFFIX)
        with contextlib.suppress(OSError):
            if self.length == 0 and _is_same_file(self._file, path):
                path.unlink()
                _beside(self.target, RECORD_SUFFIX).unlink(missing_ok=True)
        self._file.close()


@contextlib.contextmanager
def open_part(target: Path) -> Iterator[PartFile]:
    """The part of `target`, with what an earlier process left in it.

    Raises TryAgain where another process is fetching the same file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = PartFile(target, _open_locked(target))
    try:
        part.restore()
        yield part
    finally:
        part.close()


def _open_locked(target: Path) -> Any:
    path = _beside(target, PART_SUFFIX)
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise TryAgain(
                f"another process is fetching {target}", hint="run the same command again when it has finished"
            ) from error
        except OSError as error:
            # Some network file systems know no locks; there the lease on the root has to do.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
        # Between opening and locking another process may have renamed this very file to its final name.
        if _is_same_file(file, path):
            return file
        file.close()


def _is_same_file(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _read_origin(path: Path) -> Origin | None:
    try:
        return read_json(path, Origin, limit_bytes=RECORD_LIMIT_BYTES)
    except (OSError, CorruptData):
        return None


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)
