"""Band hashes of documents in, one file per document file out, from which one band is read without the others.

Behind a header of 64 bytes stand blocks of 65,536 documents, the last one shorter: all hashes of the first band, then
all of the second. So a file is written once, front to back, with one block in memory, whatever the number of documents
turns out to be; and a band is read in pieces of 512 KiB, which a disk does about as fast as one after the other.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import atomic_path
from pipelines.lsh.headers import (
    HEADER_BYTES,
    MOST_BANDS,
    Header,
    check_digest,
    check_same,
    check_size,
    damaged,
    pack,
    read_header,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

BLOCK_DOCUMENTS = 1 << 16
_MAGIC = b"PILEBAND"
_NAME = "band hashes"
_HASH_BYTES = 8


class BandWriter:
    """Takes rows; made by `write_bands`."""

    def __init__(self, stream: BinaryIO, bands: int) -> None:
        self.documents = 0
        self._stream = stream
        self._block = np.empty((bands, BLOCK_DOCUMENTS), np.uint64)
        self._used = 0

    def add(self, rows: NDArray[np.uint64]) -> None:
        """Adds the band hashes of further documents: uint64[documents, bands], any number of them at a time."""
        bands = len(self._block)
        if rows.ndim != 2 or rows.shape[1] != bands or rows.dtype != np.uint64:
            raise UsageError(f"band hashes are {rows.dtype}{list(rows.shape)}, not uint64[documents, {bands}]")
        first = 0
        while first < len(rows):
            end = min(len(rows), first + BLOCK_DOCUMENTS - self._used)
            self._block[:, self._used : self._used + end - first] = rows[first:end].T
            self._used += end - first
            first = end
            if self._used == BLOCK_DOCUMENTS:
                self.flush()

    def flush(self) -> None:
        """Writes the block as it stands: when it is full, and at the end."""
        for column in self._block:
            self._stream.write(column[: self._used].data)
        self.documents += self._used
        self._used = 0


@contextlib.contextmanager
def write_bands(path: Path, *, bands: int, digest: str) -> Iterator[BandWriter]:
    """Yields a writer of the file, which is there, whole, when the block ends without an error.

    `digest` is that of all settings on which the hashes depend (16 or 32 hexadecimal digits): files of different ones
    refuse to be read together. Memory: 512 KiB per band. Raises UsageError.
    """
    check_digest(digest)
    if not 1 <= bands <= MOST_BANDS:
        raise UsageError(f"{bands} bands cannot be stored, only 1 to {MOST_BANDS:,}", hint="bands=9")
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(bytes(HEADER_BYTES))
        writer = BandWriter(stream, bands)
        yield writer
        writer.flush()
        stream.seek(0)
        stream.write(pack(_MAGIC, Header(bands, writer.documents, bands * writer.documents, digest)))


class BandFiles:
    """The band hashes of all document files; documents are numbered from 0 in the order of the files.

    Nothing of them is in memory but what is read. Can be sent to another process, which finds the same files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises UsageError for no file, one that is not there, or files of different settings, CorruptData."""
        if not paths:
            raise UsageError("there is no file of band hashes to cluster", hint="give at least one")
        self.paths = tuple(paths)
        headers = [_checked_header(path) for path in self.paths]
        check_same(self.paths, headers, name=_NAME)
        self.bands, self.digest = headers[0].bands, headers[0].digest
        # Where the documents of each file begin, and their number in all.
        self.firsts = np.cumsum([0, *(header.rows for header in headers)], dtype=np.int64)

    @property
    def documents(self) -> int:
        """Of all files together."""
        return int(self.firsts[-1])

    def blocks(self, band: int) -> Iterator[tuple[int, NDArray[np.uint64]]]:
        """(number of the first document, hashes) of one band, in order; the array is filled anew for each block.

        Raises CorruptData where a file has become shorter.
        """
        buffer = np.empty(BLOCK_DOCUMENTS, np.uint64)
        for path, first, end in zip(self.paths, self.firsts[:-1], self.firsts[1:], strict=True):
            with path.open("rb", buffering=0) as stream:
                for start in range(int(first), int(end), BLOCK_DOCUMENTS):
                    count = min(BLOCK_DOCUMENTS, int(end) - start)
                    place = (start - int(first)) * self.bands + band * count
                    hashes = buffer[:count]
                    if os.preadv(stream.fileno(), [hashes.data], HEADER_BYTES + place * _HASH_BYTES) != hashes.nbytes:
                        raise damaged(path, _NAME, "it became shorter while it was read")
                    yield start, hashes


def _checked_header(path: Path) -> Header:
    header = read_header(path, _MAGIC, name=_NAME)
    if not 1 <= header.bands <= MOST_BANDS or header.values != header.bands * header.rows:
        raise damaged(path, _NAME, f"{header.values:,} hashes are not {header.rows:,} x {header.bands:,} bands")
    check_size(path, HEADER_BYTES + _HASH_BYTES * header.values, name=_NAME)
    return header
