"""Pass 2: the blocks of one output in, its file out, sorted by (key, row, copy), one range of keys after the other.

The file is one zstd frame over all ranges, and its bytes are those of its lines: not of the ranges, nor of the blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, cast

import xxhash
import zstandard

from pile_toolkit.core.documents import COMPRESSION_LEVEL
from pipelines.corpus.blocks import Room, find_blocks, give, read_block, take, together
from pipelines.corpus.loading import load_kernels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from pipelines.corpus.blocks import Block, Join

SORTED_FILE = "sorted.jsonl.zst"
# Python's objects for a line, its record, its place in the order, and what sorting takes meanwhile.
LINE_BYTES = 120
# Joined lines are still in a processor's own memory when they are compressed.
CHUNK_BYTES = 256 << 10


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


def sort_output(
    folder: Path, sources: list[str], first: int, end: int, room_bytes: int, compiled: bool = False
) -> dict[str, Any]:
    """A task of pass 2: the buckets from `first` to `end` of these files of blocks as `sorted.jsonl.zst`.

    Returns its documents, its bytes and their hash, and in how many turns it was sorted.
    """
    from pipelines.corpus.lines import join_plainly

    join = load_kernels().join_lines if compiled else join_plainly
    found = find_blocks(sources, range(first, end))
    compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True)
    documents = turns = 0
    # Entered by itself: on a full disk the compressor fails to close, and would leave the file open.
    with (folder / SORTED_FILE).open("wb") as opened:
        file = _HashedFile(opened)
        with compressor.stream_writer(cast("BinaryIO", file), closefd=False) as stream:
            for bucket in range(first, end):
                for records, lines in _turns(found.pop(bucket, []), room_bytes, join):
                    documents += len(records)
                    turns += 1
                    for chunk in _in_order(records, lines, join):
                        stream.write(chunk)
    return {"documents": documents, "bytes": file.bytes, "hash": file.hasher.hexdigest(), "turns": turns}


def _turns(blocks: list[Block], room_bytes: int, join: Join) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Records and lines of a range at once; of one that got more than there is room for, in turns of ascending keys.

    Then its blocks are read once more, and once for each turn.
    """
    import numpy as np

    line_bytes = sum(block.line_bytes for block in blocks)
    if line_bytes + LINE_BYTES * sum(block.records for block in blocks) > room_bytes:
        for least, most, turn_bytes in _cuts(blocks, room_bytes):
            yield _load(blocks, least, most, np.empty(turn_bytes, np.uint8), join)
    elif blocks:
        lines, at, tables = take(line_bytes), 0, []
        for block in blocks:
            tables.append(read_block(block, lines[at : at + block.line_bytes]))
            at += block.line_bytes
        yield together(tables), lines
        give(lines)


def _load(blocks: list[Block], least: int, most: int, lines: np.ndarray, join: Join) -> tuple[np.ndarray, np.ndarray]:
    """The records of blocks with keys from `least` to `most`, and `lines`, filled with their lines."""
    import numpy as np

    tables, at, room = [], 0, Room()
    for block in blocks:
        read = room.of(block.line_bytes)[: block.line_bytes]
        records = read_block(block, read)
        inside = np.flatnonzero((records["key"] >= np.uint64(least)) & (records["key"] <= np.uint64(most)))
        at += join(read, read, _spans(records), inside, lines[at:])
        tables.append(records[inside])
    return together(tables), lines


def _cuts(blocks: list[Block], room_bytes: int) -> Iterator[tuple[int, int, int]]:
    """The least and the largest key of each turn, and its bytes of lines.

    Lines of one key stay together, and a line longer than all room.
    """
    import numpy as np

    room = Room()
    tables = [read_block(block, room.of(block.line_bytes)[: block.line_bytes]) for block in blocks]
    records = together(tables)
    order = np.argsort(records["key"], kind="stable")
    key, taken = records["key"][order], np.cumsum(records["bytes"][order] + np.int64(LINE_BYTES))
    first, before = 0, 0
    while first < len(key):
        end = max(first + 1, int(np.searchsorted(taken, before + room_bytes, "right")))
        end = int(np.searchsorted(key, key[end - 1], "right"))
        yield int(key[first]), int(key[end - 1]), int(taken[end - 1]) - before - LINE_BYTES * (end - first)
        first, before = end, int(taken[end - 1])


def _spans(records: np.ndarray) -> np.ndarray:
    """Where the lines of these records stand one after the other, as `join_lines` takes it."""
    import numpy as np

    spans = np.full((len(records), 4), -1, np.int64)
    spans[:, 3] = np.cumsum(records["bytes"], dtype=np.int64)
    spans[:, 2] = spans[:, 3] - records["bytes"]
    return spans


def _in_order(records: np.ndarray, lines: np.ndarray, join: Join) -> Iterator[memoryview]:
    """The lines in the order of their records, in chunks; a chunk is gone with the next."""
    import numpy as np

    key = np.ascontiguousarray(records["key"])
    order = np.argsort(key)
    in_order = key[order]
    if (in_order[1:] == in_order[:-1]).any():
        order = np.lexsort((records["copy"], records["row"], key))
    ends = np.cumsum(records["bytes"][order], dtype=np.int64)
    spans, room, first, before = _spans(records), Room(), 0, 0
    while first < len(order):
        end = int(np.searchsorted(ends, before + CHUNK_BYTES)) + 1
        out = room.of(int(ends[min(end, len(ends)) - 1]) - before)
        size = join(lines, lines, spans, order[first:end], out)
        yield out[:size].data
        first, before = end, before + size
