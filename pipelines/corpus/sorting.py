"""Pass 2: the blocks of one output in, its file out, sorted by (key, row, copy), one range of keys after the other.

The file is one zstd frame over all ranges, and its bytes are those of its lines: not of the ranges, nor of the blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, cast

import xxhash
import zstandard

from pile_toolkit.core.documents import COMPRESSION_LEVEL
from pipelines.corpus.blocks import Block, find_blocks, read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

SORTED_FILE = "sorted.jsonl.zst"
# Python's objects for a line, its record, its place in the order, and what sorting takes meanwhile.
LINE_BYTES = 120
CHUNK_BYTES = 1 << 20


class _HashedFile:
    """What is written into a file, counted and hashed on its way: nobody needs to read it again for that."""

    def __init__(self, file: BinaryIO) -> None:
        self.bytes = 0
        self.hasher = xxhash.xxh3_128()
        self._file = file

    def write(self, data: bytes) -> int:
        """Writes all of it."""
        self.bytes += len(data)
        self.hasher.update(data)
        return self._file.write(data)


def sort_output(folder: Path, sources: list[str], first: int, end: int, room_bytes: int) -> dict[str, Any]:
    """A task of pass 2: the buckets from `first` to `end` of these files of blocks as `sorted.jsonl.zst`.

    Returns its documents, its bytes and their hash, and in how many turns it was sorted.
    """
    found = find_blocks(sources, range(first, end))
    compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True)
    documents = turns = 0
    # Entered by itself: on a full disk the compressor fails to close, and would leave the file open.
    with (folder / SORTED_FILE).open("wb") as opened:
        file = _HashedFile(opened)
        with compressor.stream_writer(cast("BinaryIO", file), closefd=False) as stream:
            for bucket in range(first, end):
                for records, lines in _turns(found.pop(bucket, []), room_bytes):
                    documents += len(lines)
                    turns += 1
                    for chunk in _in_order(records, lines):
                        stream.write(chunk)
    return {"documents": documents, "bytes": file.bytes, "hash": file.hasher.hexdigest(), "turns": turns}


def _turns(blocks: list[Block], room_bytes: int) -> Iterator[tuple[np.ndarray, list[bytes]]]:
    """Records and lines of a range at once; of one that got more than there is room for, in turns of ascending keys.

    Then its blocks are read once more, and once for each turn.
    """
    if sum(block.line_bytes + LINE_BYTES * block.records for block in blocks) <= room_bytes:
        if blocks:
            yield _load(blocks)
        return
    for least, most in _cuts(blocks, room_bytes):
        yield _load(blocks, least, most)


def _load(blocks: list[Block], least: int = 0, most: int = (1 << 64) - 1) -> tuple[np.ndarray, list[bytes]]:
    """All records and lines of blocks with keys from `least` to `most`."""
    import numpy as np

    tables, lines = [], []
    for records, some in read_blocks(blocks):
        inside = (records["key"] >= np.uint64(least)) & (records["key"] <= np.uint64(most))
        if inside.all():
            tables.append(records)
            lines += some
        else:
            tables.append(records[inside])
            lines += [some[place] for place in np.flatnonzero(inside).tolist()]
    return np.concatenate(tables), lines


def _cuts(blocks: list[Block], room_bytes: int) -> Iterator[tuple[int, int]]:
    """The least and the largest key of each turn. Lines of one key stay together, and a line longer than all room."""
    import numpy as np

    keys, sizes = [], []
    for records, lines in read_blocks(blocks):
        keys.append(records["key"].copy())
        sizes.append(np.fromiter(map(len, lines), np.int64, len(lines)))
    key, size = np.concatenate(keys), np.concatenate(sizes)
    order = np.argsort(key, kind="stable")
    key, taken = key[order], np.cumsum(size[order] + LINE_BYTES)
    first, before = 0, 0
    while first < len(key):
        end = max(first + 1, int(np.searchsorted(taken, before + room_bytes, "right")))
        end = int(np.searchsorted(key, key[end - 1], "right"))
        yield int(key[first]), int(key[end - 1])
        first, before = end, int(taken[end - 1])


def _in_order(records: np.ndarray, lines: list[bytes]) -> Iterator[bytes]:
    """The lines with their newlines in the order of their records, in chunks."""
    import numpy as np

    order = np.lexsort((records["copy"], records["row"], records["key"]))
    chunk, chunk_bytes = [], 0
    for place in order.tolist():
        chunk.append(lines[place])
        chunk_bytes += len(lines[place])
        if chunk_bytes >= CHUNK_BYTES:
            chunk.append(b"")
            yield b"\n".join(chunk)
            chunk, chunk_bytes = [], 0
    if chunk:
        chunk.append(b"")
        yield b"\n".join(chunk)
