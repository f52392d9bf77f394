"""Parts in, one `.bin` out: joined as they are and freed one by one, or read in another order, copies written out.

While parts are joined the disk holds the result and one part. A join that was killed goes on with the first part that
is still there: one is removed only when its bytes stand in the target, on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xxhash

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import HASH_BLOCK_BYTES, atomic_path, fsync_folder, naming_full_disks, remove
from pile_toolkit.core.held import refuse_if_displaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from io import FileIO
    from pathlib import Path

    from numpy.typing import NDArray

WRITE_BUFFER_BYTES = 1 << 20
# Hashed and then copied at once: little enough that it is read from the disk once.
COPY_BLOCK_BYTES = 16 << 20
PLACES_AT_ONCE = 1 << 16
# Of parts that are read in another order; the system maps so much around every document.
MAPPED_BYTES = 64 << 20
AROUND_BYTES = 64 << 10
# The kernel or the file system cannot copy between these two files: then we do.
_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


class Part(NamedTuple):
    """A finished part of a `.bin` and its bytes, which are known when the file itself is gone."""

    path: Path
    bytes: int


class Joiner:
    """Appends parts to `target` in their order as they come, each removed when its bytes stand there.

    The system copies, sharing blocks where the file system can; where it refuses, bytes pass through here. After a kill
    another one is given the same parts from the first on, those that are gone too, and completes what there is.
    """

    def __init__(self, target: Path) -> None:
        self.bytes = 0
        self._target, self._hasher = target, xxhash.xxh3_128()
        self._file: FileIO | None = None

    def append(self, part: Part) -> None:
        """The next part. Raises CorruptData where it has other bytes, or is missing, and DiskFull."""
        begun = self._file is not None
        if not begun and not part.path.exists():
            # Those at the front that are gone stand in the target already.
            self.bytes += part.bytes
            return
        with naming_full_disks(self._target, needs_bytes=part.bytes):
            if begun or self.bytes or not _adopt(part, self._target):
                self._copy(part)
            self.bytes += part.bytes
            self._opened()

    def finish(self) -> str:
        """The XXH3-128 of all parts, which are in the target; closed, it takes no more."""
        self._opened()
        self.close()
        return self._hasher.hexdigest()

    def close(self) -> None:
        """Closes the target as it is."""
        if self._file is not None:
            self._file.close()

    def _copy(self, part: Part) -> None:
        file = self._opened()
        with _open_part(part) as source:
            _append(source, file, part.bytes, self._hasher)
        os.fsync(file.fileno())
        refuse_if_displaced()
        part.path.unlink()

    def _opened(self) -> FileIO:
        if self._file is None:
            if self.bytes and (not self._target.exists() or self._target.stat().st_size < self.bytes):
                raise _damaged(self._target, f"gone or shorter than the {self.bytes:,} bytes that were joined")
            self._file = self._target.open("r+b" if self.bytes else "wb", buffering=0)
            # What was appended of a part that is still there is appended again.
            self._file.truncate(self.bytes)
            _hash(self._file, self.bytes, self._hasher)
        return self._file


def _adopt(part: Part, target: Path) -> bool:
    """Makes the first part the beginning of the target, without a copy; False where the file system has no links."""
    _open_part(part).close()
    remove(target)
    try:
        os.link(part.path, target)
    except OSError:
        return False
    fsync_folder(target.parent)
    part.path.unlink()
    return True


def _open_part(part: Part) -> FileIO:
    try:
        file = part.path.open("rb", buffering=0)
    except FileNotFoundError as error:
        # A successor that took the root over has joined it.
        refuse_if_displaced()
        raise _damaged(part.path, "gone") from error
    found_bytes = os.fstat(file.fileno()).st_size
    if found_bytes != part.bytes:
        file.close()
        raise _damaged(part.path, f"{found_bytes:,} bytes long, it was written with {part.bytes:,}")
    return file


def _damaged(path: Path, what: str) -> CorruptData:
    work = next((folder for folder in path.parents if folder.name.startswith(".work-")), path.parent)
    return CorruptData(f"{path}, a part of shards that are being written, is {what}", hint=f"rm -r {work}, then again")


def _append(source: FileIO, joined: FileIO, source_bytes: int, hasher: xxhash.xxh3_128) -> None:
    for start in range(0, source_bytes, COPY_BLOCK_BYTES):
        block_bytes = min(COPY_BLOCK_BYTES, source_bytes - start)
        source.seek(start)
        if _hash(source, block_bytes, hasher) < block_bytes:
            raise OSError(errno.EIO, "a part became shorter while it was read", source.name)
        source.seek(start)
        _copy(source, joined, block_bytes)
        end = joined.tell()
        begin_write_back(joined.fileno(), end - block_bytes, end)


def begin_write_back(descriptor: int, start: int, stop: int) -> None:
    """Has the system begin to write these bytes of a file to the disk, so that nobody waits for all of them at its end.

    Linux does that with what it is told that nobody needs; what is not on the disk yet stays in memory.
    """
    with contextlib.suppress(OSError):
        os.posix_fadvise(descriptor, start, stop - start, os.POSIX_FADV_DONTNEED)


def _hash(file: FileIO, wanted_bytes: int, hasher: xxhash.xxh3_128) -> int:
    """Hashes bytes from where the file stands, and returns how many there were of those wanted."""
    buffer = memoryview(bytearray(min(HASH_BLOCK_BYTES, wanted_bytes)))
    left_bytes = wanted_bytes
    while left_bytes and (got := file.readinto(buffer[:left_bytes])):
        hasher.update(buffer[:got])
        left_bytes -= got
    return wanted_bytes - left_bytes


def _copy(source: FileIO, joined: FileIO, wanted_bytes: int) -> None:
    try:
        while wanted_bytes and (copied := os.copy_file_range(source.fileno(), joined.fileno(), wanted_bytes)):
            wanted_bytes -= copied
    except OSError as error:
        if error.errno not in _NO_KERNEL_COPY:
            raise
    # Both files stand where the system stopped: at the end, or where it refused.
    while wanted_bytes and (block := source.read(wanted_bytes)):
        wanted_bytes -= len(block)
        rest = memoryview(block)
        while rest:
            rest = rest[joined.write(rest) :]


def write_copies(
    parts: Sequence[Part],
    target: Path,
    *,
    places: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]],
    needs_bytes: int = 0,
) -> str:
    """Writes what lies at `places` of the joined parts, one after the other, atomically; returns its XXH3-128.

    Places are (where, length) in bytes, some at a time; `needs_bytes` is the length of all. The parts stay, so that a
    call after a kill can begin again. Raises CorruptData and DiskFull as `Joiner` does.
    """
    hasher = xxhash.xxh3_128()
    with (
        _mapped(parts) as (maps, data),
        atomic_path(target, needs_bytes=needs_bytes) as temporary,
        temporary.open("wb", buffering=WRITE_BUFFER_BYTES) as file,
    ):
        read_bytes = 0
        for number, start, stop in _places(parts, places):
            read_bytes += max(stop - start, AROUND_BYTES)
            if read_bytes > MAPPED_BYTES:
                # Else as much of the parts as fits would stay in memory.
                for mapped in maps:
                    mapped.madvise(mmap.MADV_DONTNEED)
                read_bytes = 0
            document = data[number][start:stop]
            hasher.update(document)
            file.write(document)
            # The map cannot be closed while a piece of it is held.
            document.release()
    return hasher.hexdigest()


def _places(
    parts: Sequence[Part], places: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> Iterator[tuple[int, int, int]]:
    """(part, start in it, end in it) of each document."""
    bounds = np.cumsum([0, *(part.bytes for part in parts)], dtype=np.int64)
    for pointers, sizes_bytes in places:
        # Some at a time: lists of Python's numbers take ten times as much.
        for first in range(0, len(pointers), PLACES_AT_ONCE):
            some = pointers[first : first + PLACES_AT_ONCE]
            numbers = np.searchsorted(bounds, some, "right") - 1
            starts = some - bounds[numbers]
            stops = starts + sizes_bytes[first : first + PLACES_AT_ONCE]
            yield from zip(numbers.tolist(), starts.tolist(), stops.tolist(), strict=True)


@contextlib.contextmanager
def _mapped(parts: Sequence[Part]) -> Iterator[tuple[list[mmap.mmap], list[memoryview]]]:
    with contextlib.ExitStack() as stack:
        maps, views = [], []
        for part in parts:
            with _open_part(part) as file:
                mapped = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            # At random places, so that reading ahead would read all of it for every document.
            mapped.madvise(mmap.MADV_RANDOM)
            maps.append(mapped)
            views.append(stack.enter_context(memoryview(mapped)))
        yield maps, views
