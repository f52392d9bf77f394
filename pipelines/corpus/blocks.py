"""Finished lines and their keys in, blocks of them in scratch files out, and back.

A block holds lines of one range of keys: a head, the records' keys, and the lines, as they are or compressed by LZ4.
That takes 60% of the time of zstd's fastest level, both ways, for 1.4 times its bytes. A file ends with where its
blocks begin, so that who needs some of them reads no others.
"""

from __future__ import annotations

import os
import struct
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import xxhash

from pile_toolkit.core.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

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
# The key of a copy, the row of the plan, which of its copies.
_RECORD = struct.Struct("<QQH")
RECORD_TYPE = [("key", "<u8"), ("row", "<u8"), ("copy", "<u2")]


class Block(NamedTuple):
    """Where a block lies and what it takes in memory."""

    path: str
    at: int
    bucket: int
    records: int
    line_bytes: int
    stored_bytes: int


def records_of(key: np.ndarray, row: np.ndarray, copy: np.ndarray) -> list[bytes]:
    """Copies as the records that `BlockWriter.add` takes."""
    import numpy as np

    table = np.empty(len(key), RECORD_TYPE)
    table["key"], table["row"], table["copy"] = key, row, copy
    data, size = table.tobytes(), _RECORD.size
    return [data[at : at + size] for at in range(0, len(data), size)]


class BlockWriter:
    """Collects lines by bucket and appends full blocks to the file of the bucket, which is open only meanwhile.

    `file_of` numbers the file of each bucket. Ten thousand buckets need no ten thousand open files.
    """

    def __init__(self, folder: Path, file_of: list[int], *, block_bytes: int, compress: bool) -> None:
        self._folder, self._file_of = folder, file_of
        self._block_bytes, self._compress = block_bytes, compress
        # Of each file, of each of its blocks: the bucket, and where it begins.
        self._places: dict[int, array[int]] = {}
        self._pending: dict[int, tuple[list[bytes], list[bytes]]] = {}
        self._bytes: dict[int, int] = {}

    def __enter__(self) -> BlockWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is None:
            for bucket in list(self._pending):
                self._flush(bucket)
            for number, places in self._places.items():
                with (self._folder / file_name(number)).open("ab") as file:
                    file.writelines((places.tobytes(), _PLACES.pack(len(places))))

    def add(self, bucket: int, record: bytes, line: bytes) -> None:
        """A copy of a document: `line` has no newline at its end."""
        if bucket in self._pending:
            records, lines = self._pending[bucket]
            records.append(record)
            lines.append(line)
            self._bytes[bucket] += len(line)
        else:
            self._pending[bucket] = [record], [line]
            self._bytes[bucket] = len(line)
        if self._bytes[bucket] >= self._block_bytes:
            self._flush(bucket)

    def _flush(self, bucket: int) -> None:
        records, lines = self._pending.pop(bucket)
        count, keys = len(records), b"".join(records)
        joined = b"\n".join(lines)
        # A long line needs not be there twice while it is compressed.
        lines.clear()
        stored = _compressed(joined) if self._compress else joined
        head = _HEAD.pack(bucket, count, len(joined), len(stored))
        number = self._file_of[bucket]
        with (self._folder / file_name(number)).open("ab") as file:
            self._places.setdefault(number, array("Q")).extend((bucket, file.tell()))
            file.writelines((head, _hash(head, keys, stored), keys, stored))


def _compressed(joined: bytes) -> bytes:
    import pyarrow as pa

    stored = pa.compress(joined, codec=CODEC, asbytes=True)
    # Of equal lengths are only those that are not compressed.
    return stored if len(stored) < len(joined) else joined


def _hash(*parts: bytes) -> bytes:
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
        if not Path(path).exists():
            continue
        with open(path, "rb", buffering=0) as file:
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


def read_blocks(blocks: list[Block]) -> Iterator[tuple[np.ndarray, list[bytes]]]:
    """The records and the lines of each block. Raises CorruptData where one is not what was written."""
    import numpy as np
    import pyarrow as pa

    for block in blocks:
        with open(block.path, "rb", buffering=0) as file:
            file.seek(block.at)
            head, hashed = file.read(_HEAD.size), file.read(_HASH.size)
            keys, lines = file.read(block.records * _RECORD.size), file.read(block.stored_bytes)
        if _hash(head, keys, lines) != hashed:
            raise _damaged(block.path)
        if block.stored_bytes != block.line_bytes:
            lines = pa.decompress(lines, decompressed_size=block.line_bytes, codec=CODEC, asbytes=True)
        yield np.frombuffer(keys, RECORD_TYPE), lines.split(b"\n")


def _damaged(path: str) -> CorruptData:
    return damaged(path, Path(path).parents[1])


def damaged(what: str, work: Path) -> CorruptData:
    """The error of scratch files that are not what was written there."""
    return CorruptData(f"{what} is not as it was written before", hint=f"rm -r {work}, then the same command again")
