"""Finished lines and their keys in, blocks of them in scratch files out, and back.

A block holds lines of one range of keys: the records' keys, and the lines, as they are or compressed by LZ4. That takes
60% of the time of zstd's fastest level, both ways, for 1.4 times its bytes. A file ends with what its blocks are and
where they begin, so that who needs some of them reads no others.
"""

from __future__ import annotations

import functools
import itertools
import os
import struct
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import xxhash

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import begin_writeback

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from pipelines.corpus.lines import Batch

    # data, rest, spans, chosen, out; returns the bytes it wrote.
    Join = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], int]

CODEC = "lz4_raw"
# Larger ones compress no better.
LARGEST_BLOCK_BYTES = 256 << 10
# Smaller ones would be mostly heads, and read one by one.
LEAST_BLOCK_BYTES = 4 << 10
# A block: a hash of what is said of it at the end of the file and of what follows here, the keys, the lines.
_HASH = struct.Struct("<Q")
# What is said of it: bucket, where it begins, records, bytes of the lines, bytes of them in the file (as many where
# they are not compressed). Behind that of all blocks: their number, a hash of all this.
_SAID, _TAIL = struct.Struct("<5Q"), struct.Struct("<QQ")
# What is said in files of up to so many bytes, and of so many of them, is kept for the next output.
_KEPT_BYTES, _KEPT_FILES = 8 << 20, 64
# Of a file, the disk is given so much at a time.
_WRITEBACK_BYTES = 8 << 20
# The key of a copy, the row of the plan, which of its copies, bytes of its line with the newline.
RECORD_TYPE = [("key", "<u8"), ("row", "<u8"), ("copy", "<u2"), ("bytes", "<u4")]
_RECORD_BYTES = 22


class Block(NamedTuple):
    """Where a block lies and what it takes in memory."""

    path: str
    bucket: int
    at: int
    records: int
    line_bytes: int
    stored_bytes: int


def records_of(key: np.ndarray, row: np.ndarray, copy: np.ndarray, line_bytes: np.ndarray) -> np.ndarray:
    """Copies as the records that `BlockWriter.add` takes."""
    import numpy as np

    table = np.empty(len(key), RECORD_TYPE)
    table["key"], table["row"], table["copy"], table["bytes"] = key, row, copy, line_bytes
    return table


class BlockWriter:
    """Appends a block for each bucket of a batch to the file of the bucket, which is open only meanwhile.

    `file_of` numbers the file of each bucket, ascending. Ten thousand buckets need no ten thousand open files. `join`
    is the kernel `join_lines`, or what does the same.
    """

    def __init__(self, folder: Path, file_of: list[int], *, compress: bool, join: Join) -> None:
        self._folder, self._file_of = folder, file_of
        self._compress, self._join = compress, join
        # Of each file what is said of each of its blocks, and its bytes.
        self._said: dict[int, array[int]] = {}
        self._ends: dict[int, int] = {}
        # Up to where the system was told to write.
        self._begun: dict[int, int] = {}
        self._room = Room()

    def __enter__(self) -> BlockWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is None:
            for number, said in self._said.items():
                told = said.tobytes()
                with self._opened(number) as file:
                    write_all(file, told + _TAIL.pack(len(said) // 5, xxhash.xxh3_64_intdigest(told)))

    def add(self, batch: Batch, buckets: np.ndarray, records: np.ndarray, lines: np.ndarray) -> None:
        """Copies of lines of a batch: the bucket of each, its record, and the number of its line in the batch."""
        import numpy as np

        # Of so few bits numbers are sorted by counting.
        order = np.argsort(buckets.astype(np.uint16) if len(self._file_of) <= 1 << 16 else buckets, kind="stable")
        in_order, records, lines = buckets[order], records[order], lines[order]
        starts = np.flatnonzero(np.diff(in_order, prepend=~in_order[:1]))
        sizes = np.add.reduceat(records["bytes"], starts, dtype=np.int64).tolist() if len(starts) else []
        edges = [*starts.tolist(), len(order)]
        runs = zip(in_order[starts].tolist(), itertools.pairwise(edges), sizes, strict=True)
        # Of one file at a time.
        for number, some in itertools.groupby(runs, key=lambda run: self._file_of[run[0]]):
            with self._opened(number) as file:
                for bucket, (first, end), line_bytes in some:
                    self._write(file, number, bucket, batch, records[first:end], lines[first:end], line_bytes)
                if self._ends[number] - self._begun.get(number, 0) >= _WRITEBACK_BYTES:
                    begin_writeback(file.fileno())
                    self._begun[number] = self._ends[number]

    def _opened(self, number: int) -> Any:
        return open(f"{self._folder}/{file_name(number)}", "ab", buffering=0)

    def _write(
        self, file: Any, number: int, bucket: int, batch: Batch, records: np.ndarray, lines: np.ndarray, line_bytes: int
    ) -> None:
        out = self._room.of(line_bytes)
        self._join(batch.data, batch.rest, batch.spans, lines, out)
        joined = out[:line_bytes].data
        stored = _compressed(joined) if self._compress else joined
        at, keys = self._ends.get(number, 0), records.tobytes()
        said = bucket, at, len(lines), line_bytes, len(stored)
        self._said.setdefault(number, array("Q")).extend(said)
        start = _hash(said, keys, stored) + keys
        write_both(file, start, stored)
        self._ends[number] = at + len(start) + len(stored)


class Room:
    """An array of bytes that is used again and again, and grows."""

    def __init__(self) -> None:
        self._array: np.ndarray | None = None

    def of(self, size: int) -> np.ndarray:
        """An array of so many bytes or more; what was in it may be lost."""
        import numpy as np

        if self._array is None or len(self._array) < size:
            self._array = np.empty(size, np.uint8)
        return self._array


# Of the last task, for the next one: memory that the system gives anew has to be cleared by it first.
_spare: list[np.ndarray] = []
_SPARE_BYTES = 16 << 20


def take(size: int) -> np.ndarray:
    """An array of so many bytes or more, which was used before where there is one; `give` gives it back."""
    import numpy as np

    try:
        array = _spare.pop()
    except IndexError:
        return np.empty(size, np.uint8)
    if len(array) >= size:
        return array
    del array
    return np.empty(size, np.uint8)


def give(array: np.ndarray) -> None:
    """Keeps an array, which nobody looks at any more, for the next task; one of them, and no large one."""
    if len(array) <= _SPARE_BYTES:
        _spare[:] = [array]


def write_all(file: Any, data: bytes | memoryview) -> None:
    """Writes all of it into an unbuffered file, which may take it in parts."""
    written = file.write(data)
    while written < len(data):
        written += file.write(memoryview(data)[written:])


def write_both(file: Any, one: bytes, other: bytes | memoryview) -> None:
    """The same of two, one after the other."""
    written = os.writev(file.fileno(), (one, other))
    if written < len(one):
        write_all(file, one[written:])
        written = len(one)
    if written < len(one) + len(other):
        write_all(file, memoryview(other)[written - len(one) :])


def _compressed(joined: memoryview) -> bytes | memoryview:
    import pyarrow as pa

    stored = pa.compress(pa.py_buffer(joined), codec=CODEC, asbytes=True)
    # Of equal lengths are only those that are not compressed.
    return stored if len(stored) < len(joined) else joined


def _hash(said: tuple[int, ...], keys: bytes | memoryview, stored: bytes | memoryview) -> bytes:
    hasher = xxhash.xxh3_64(_SAID.pack(*said))
    hasher.update(keys)
    hasher.update(stored)
    return _HASH.pack(hasher.intdigest())


def file_name(number: int) -> str:
    """The name of a file of blocks."""
    return f"{number}.blocks"


def find_blocks(paths: list[str], buckets: range) -> dict[int, list[Block]]:
    """The blocks of some buckets in files that may hold others too; a file without one may be missing."""
    import numpy as np

    found: dict[int, list[Block]] = {}
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 - for each output and file; a Path takes longer than the call
        except FileNotFoundError:
            continue
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        said = _kept(path, identity) if status.st_size <= _KEPT_BYTES else _said(path, status.st_size)
        # What lies below the first is, without a sign, far above the last.
        inside = said[:, 0] - np.uint64(buckets.start) < np.uint64(len(buckets))
        for bucket, *what in said[inside].tolist():
            found.setdefault(bucket, []).append(Block(path, bucket, *what))
    return found


@functools.lru_cache(maxsize=_KEPT_FILES)
def _kept(path: str, identity: tuple[int, ...]) -> np.ndarray:
    """`_said` of a file, while it is the same."""
    return _said(path, identity[2])


def _said(path: str, size: int) -> np.ndarray:
    """What is said of each block of a file of this size: uint64[blocks, 5]."""
    import numpy as np

    with open(path, "rb", buffering=0) as file:
        tail = os.pread(file.fileno(), _TAIL.size, max(0, size - _TAIL.size))
        count, hashed = _TAIL.unpack(tail) if len(tail) == _TAIL.size else (size, 0)
        at = size - _TAIL.size - _SAID.size * count
        if at < 0:
            raise _damaged(path)
        told = os.pread(file.fileno(), _SAID.size * count, at)
    if len(told) < _SAID.size * count or xxhash.xxh3_64_intdigest(told) != hashed:
        raise _damaged(path)
    return np.frombuffer(told, np.uint64).reshape(-1, 5)


def read_block(block: Block, out: np.ndarray) -> np.ndarray:
    """The records of a block; its lines, each with its newline, are written into `out`, which has their length.

    Raises CorruptData where it is not what was written.
    """
    import numpy as np
    import pyarrow as pa

    compressed = block.stored_bytes != block.line_bytes
    start = bytearray(_HASH.size + block.records * _RECORD_BYTES)
    stored = memoryview(bytearray(block.stored_bytes)) if compressed else out.data
    with open(block.path, "rb", buffering=0) as file:
        if not _read_both(file, start, stored, block.at):
            raise _damaged(block.path)
    keys = memoryview(start)[_HASH.size :]
    if _hash(block[1:], keys, stored) != start[: _HASH.size]:
        raise _damaged(block.path)
    if compressed:
        lines = pa.decompress(pa.py_buffer(stored), decompressed_size=block.line_bytes, codec=CODEC)
        out[:] = np.frombuffer(lines, np.uint8)
    return np.frombuffer(keys, RECORD_TYPE)


def _read_both(file: Any, one: bytearray, other: memoryview, at: int) -> bool:
    """Whether both could be filled from byte `at` on."""
    filled = os.preadv(file.fileno(), (one, other), at)
    if filled < len(one):
        # No system reads so little of what is there.
        return False
    filled -= len(one)
    while filled < len(other) and (more := os.preadv(file.fileno(), (other[filled:],), at + len(one) + filled)):
        filled += more
    return filled == len(other)


def together(tables: list[np.ndarray]) -> np.ndarray:
    """Records of several blocks, one after the other."""
    import numpy as np

    return np.frombuffer(b"".join(table.data for table in tables), RECORD_TYPE)


def _damaged(path: str) -> CorruptData:
    return damaged(path, Path(path).parents[1])


def damaged(what: str, work: Path) -> CorruptData:
    """The error of scratch files that are not what was written there."""
    return CorruptData(f"{what} is not as it was written before", hint=f"rm -r {work}, then the same command again")
