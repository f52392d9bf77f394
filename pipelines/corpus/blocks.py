"""Finished lines and their keys in, blocks of them in scratch files out, and back.

A block holds lines of one range of keys: a head, the records' keys, and the lines, as they are or compressed by LZ4.
That takes 60% of the time of zstd's fastest level, both ways, for 1.4 times its bytes. A file ends with where its
blocks begin, so that who needs some of them reads no others.
"""

from __future__ import annotations

import itertools
import os
import struct
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import xxhash

from pile_toolkit.core.errors import CorruptData

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
# The bucket, records, bytes of the lines, bytes of them in the file (as many where they are not compressed), a hash of
# all this, keys and lines as they lie there.
_HEAD, _HASH = struct.Struct("<IIQQ"), struct.Struct("<Q")
# At the end of a file: how many numbers say where its blocks begin.
_PLACES = struct.Struct("<Q")
# The key of a copy, the row of the plan, which of its copies, bytes of its line with the newline.
RECORD_TYPE = [("key", "<u8"), ("row", "<u8"), ("copy", "<u2"), ("bytes", "<u4")]
_RECORD_BYTES = 22


class Block(NamedTuple):
    """Where a block lies and what it takes in memory."""

    path: str
    at: int
    bucket: int
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
        # Of each file, of each of its blocks: the bucket, and where it begins.
        self._places: dict[int, array[int]] = {}
        self._room = Room()

    def __enter__(self) -> BlockWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is None:
            for number, places in self._places.items():
                with (self._folder / file_name(number)).open("ab") as file:
                    file.writelines((places.tobytes(), _PLACES.pack(len(places))))

    def add(self, batch: Batch, buckets: np.ndarray, records: np.ndarray, lines: np.ndarray) -> None:
        """Copies of lines of a batch: the bucket of each, its record, and the number of its line in the batch."""
        import numpy as np

        order = np.argsort(buckets, kind="stable")
        present, starts = np.unique(buckets[order], return_index=True)
        runs = zip(present.tolist(), np.split(order, starts[1:]), strict=True)
        # Of one file at a time.
        for number, some in itertools.groupby(runs, key=lambda run: self._file_of[run[0]]):
            places = self._places.setdefault(number, array("Q"))
            with open(self._folder / file_name(number), "ab", buffering=0) as file:
                at = file.tell()
                for bucket, chosen in some:
                    places.extend((bucket, at))
                    at += self._write(file, bucket, batch, records[chosen], lines[chosen])

    def _write(self, file: Any, bucket: int, batch: Batch, records: np.ndarray, lines: np.ndarray) -> int:
        line_bytes, keys = int(records["bytes"].sum()), records.tobytes()
        out = self._room.of(line_bytes)
        self._join(batch.data, batch.rest, batch.spans, lines, out)
        joined = out[:line_bytes].data
        stored = _compressed(joined) if self._compress else joined
        head = _HEAD.pack(bucket, len(lines), line_bytes, len(stored))
        start = b"".join((head, _hash(head, keys, stored), keys))
        write_all(file, start)
        write_all(file, stored)
        return len(start) + len(stored)


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


def _compressed(joined: memoryview) -> bytes | memoryview:
    import pyarrow as pa

    stored = pa.compress(pa.py_buffer(joined), codec=CODEC, asbytes=True)
    # Of equal lengths are only those that are not compressed.
    return stored if len(stored) < len(joined) else joined


def _hash(*parts: bytes | memoryview) -> bytes:
    hasher = xxhash.xxh3_64()
    for part in parts:
        hasher.update(part)
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
            opened = open(path, "rb", buffering=0)  # noqa: SIM115 - closed below
        except FileNotFoundError:
            continue
        with opened as file:
            places = _places(path, file.fileno())
            inside = (places[:, 0] >= np.uint64(buckets.start)) & (places[:, 0] < np.uint64(buckets.stop))
            for bucket, at in places[inside].tolist():
                head = os.pread(file.fileno(), _HEAD.size, at)
                block = Block(path, at, *_HEAD.unpack(head)) if len(head) == _HEAD.size else None
                if block is None or block.bucket != bucket or block.stored_bytes > os.fstat(file.fileno()).st_size:
                    raise _damaged(path)
                found.setdefault(bucket, []).append(block)
    return found


def _places(path: str, descriptor: int) -> np.ndarray:
    """Bucket and beginning of each block of a file: uint64[blocks, 2]."""
    import numpy as np

    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, _PLACES.size, max(0, size - _PLACES.size))
    places_bytes = 8 * _PLACES.unpack(tail)[0] if len(tail) == _PLACES.size else size
    at = size - _PLACES.size - places_bytes
    if at < 0 or places_bytes % 16:
        raise _damaged(path)
    return np.frombuffer(os.pread(descriptor, places_bytes, at), np.uint64).reshape(-1, 2)


def read_block(block: Block, out: np.ndarray) -> np.ndarray:
    """The records of a block; its lines, each with its newline, are written into `out`, which has their length.

    Raises CorruptData where it is not what was written.
    """
    import numpy as np
    import pyarrow as pa

    compressed = block.stored_bytes != block.line_bytes
    with open(block.path, "rb", buffering=0) as file:
        file.seek(block.at)
        start = file.read(_HEAD.size + _HASH.size + block.records * _RECORD_BYTES)
        stored = memoryview(bytearray(block.stored_bytes)) if compressed else out.data
        filled = 0
        while filled < len(stored) and (more := file.readinto(stored[filled:])):
            filled += more
    head, hashed, keys = (
        start[: _HEAD.size],
        start[_HEAD.size : _HEAD.size + _HASH.size],
        start[_HEAD.size + _HASH.size :],
    )
    if filled < len(stored) or _hash(head, keys, stored) != hashed:
        raise _damaged(block.path)
    records = np.frombuffer(keys, RECORD_TYPE)
    if compressed:
        lines = pa.decompress(pa.py_buffer(stored), decompressed_size=block.line_bytes, codec=CODEC)
        out[:] = np.frombuffer(lines, np.uint8)
    return records


def _damaged(path: str) -> CorruptData:
    return damaged(path, Path(path).parents[1])


def damaged(what: str, work: Path) -> CorruptData:
    """The error of scratch files that are not what was written there."""
    return CorruptData(f"{what} is not as it was written before", hint=f"rm -r {work}, then the same command again")
