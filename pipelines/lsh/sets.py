"""Shingle sets of documents in, one file per document file out, mapped and not read: what verification compares.

Behind a header of 64 bytes: the numbers of all sets, then of each set the document (numbered within its file), then
where each set ends. Documents without a set, because nothing resembles them, are not listed.
"""

from __future__ import annotations

import contextlib
import mmap
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path
from pipelines.lsh.headers import HEADER_BYTES, Header, check_digest, check_same, check_size, damaged, pack, read_header
from pipelines.lsh.similarity import kernels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_STATM = Path("/proc/self/statm")
_MAGIC = b"PILESETS"
_NAME = "shingle sets"
# Looked at together when a file is opened.
_BLOCK = 1 << 20
# Products of sizes and millionths stay below 2^63.
_LARGEST = 1 << 40


class SetWriter:
    """Takes sets; made by `write_sets`."""

    def __init__(self, stream: BinaryIO) -> None:
        # 16 bytes per set are kept until the end.
        self.documents, self.ends = array("Q"), array("Q")
        self._stream = stream

    def add(self, documents: NDArray, offsets: NDArray, values: NDArray[np.uint64]) -> None:
        """Adds the sets of documents (rising numbers): that of number i is values[offsets[i]:offsets[i + 1]].

        Each is sorted and without repeats, and may be empty. Raises UsageError where one is not.
        """
        if len(offsets) != len(documents) + 1 or offsets[0] != 0 or offsets[-1] != len(values):
            raise UsageError(f"{len(documents)} sets need {len(documents) + 1} offsets from 0 to {len(values)}")
        if values.dtype != np.uint64 or np.any(np.diff(offsets) < 0):
            raise UsageError(f"sets are rising offsets into uint64 numbers, not into {values.dtype}")
        wrong = kernels.first_unsorted(values, np.asarray(offsets[1:], np.int64), 0)
        if wrong >= 0:
            raise UsageError(f"the set of document {documents[wrong]} is not sorted, or not without repeats")
        last = self.documents[-1] if self.documents else -1
        if np.any(np.diff(documents) <= 0) or (len(documents) and documents[0] <= last):
            raise UsageError(f"documents' sets come in the order of their numbers, each once, the last was {last}")
        written = self.ends[-1] if self.ends else 0
        self.documents.frombytes(np.asarray(documents, np.uint64).tobytes())
        self.ends.frombytes((np.asarray(offsets[1:], np.uint64) + np.uint64(written)).tobytes())
        self._stream.write(np.ascontiguousarray(values).data)


@contextlib.contextmanager
def write_sets(path: Path, *, digest: str) -> Iterator[SetWriter]:
    """Yields a writer of the file, which is there, whole, when the block ends without an error.

    `digest` is that of the settings the sets depend on: files of different ones refuse to be read together.
    """
    from pipelines.lsh.loading import load_verification

    check_digest(digest)
    load_verification()
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(bytes(HEADER_BYTES))
        writer = SetWriter(stream)
        yield writer
        stream.write(memoryview(writer.documents))
        stream.write(memoryview(writer.ends))
        stream.seek(0)
        values = writer.ends[-1] if writer.ends else 0
        stream.write(pack(_MAGIC, Header(0, len(writer.documents), values, digest)))


class SetFiles:
    """The sets of the documents of all files, mapped; close it, or use it in a `with`.

    What was read stays in memory, as far as the system likes, until `release`: much more than was asked for, because
    pages come and are counted in the pieces that the system keeps together. So who reads on calls `trim` in between.
    """

    def __init__(self, paths: Sequence[Path], documents: Sequence[int]) -> None:
        """documents: how many each document file has, with or without a set: they are numbered through.

        Raises UsageError for a file that is not there or one of other settings, CorruptData.
        """
        if len(paths) != len(documents):
            raise UsageError(f"{len(paths)} files of {_NAME} are not those of {len(documents)} document files")
        self.paths = tuple(paths)
        self.firsts = np.cumsum([0, *documents], dtype=np.int64)
        # Places count items of 8 bytes from here.
        self.base = np.zeros(1, np.uint64)
        self._maps: list[mmap.mmap] = []
        headers = [read_header(path, _MAGIC, name=_NAME) for path in self.paths]
        if headers:
            check_same(self.paths, headers, name=_NAME)
        self.rows = np.array([header.rows for header in headers], np.int64)
        self.index_bytes = int(self.rows.sum()) * 16
        places = [self._map(*found) for found in zip(self.paths, headers, documents, strict=True)]
        self._numbers, self._ends, self._values = np.array(places, np.int64).reshape(-1, 3).T.copy()
        self._mapped_before = _mapped_bytes()

    def _map(self, path: Path, header: Header, documents: int) -> tuple[int, int, int]:
        """Where the numbers of documents, the ends and the values of a file begin."""
        if max(header.rows, header.values) > _LARGEST or header.bands:
            raise damaged(path, _NAME, f"it claims {header.rows:,} sets of {header.values:,} numbers")
        check_size(path, HEADER_BYTES + 8 * (header.values + 2 * header.rows), name=_NAME)
        with path.open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
        self._maps.append(mapped)
        items = np.frombuffer(mapped, np.uint64)
        first = HEADER_BYTES // 8
        numbers, ends = items[first + header.values :][: header.rows], items[first + header.values + header.rows :]
        for start in range(0, header.rows, _BLOCK):
            block, part = numbers[start : start + _BLOCK + 1], ends[start : start + _BLOCK + 1]
            if kernels.first_falling(block, np.uint64(0), True) >= 0 or int(block[-1]) >= documents:
                raise damaged(path, _NAME, f"its documents are not rising numbers below {documents:,}")
            if kernels.first_falling(part, np.uint64(0), False) >= 0 or int(part[-1]) > header.values:
                raise damaged(path, _NAME, f"the ends of its sets do not rise to {header.values:,}")
            mapped.madvise(mmap.MADV_DONTNEED)
        if header.values != (int(ends[-1]) if header.rows else 0):
            raise damaged(path, _NAME, f"its last set does not end at {header.values:,}")
        place = (items.ctypes.data - self.base.ctypes.data) // 8
        return place + first + header.values, place + first + header.values + header.rows, place + first

    def locate(self, documents: NDArray, *, limit_bytes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(places, sizes) of the sets of documents. Raises CorruptData where one has none."""
        places, sizes = np.empty(len(documents), np.int64), np.empty(len(documents), np.int64)
        step = len(documents) if self.index_bytes <= limit_bytes // 2 else limit_bytes // (8 * kernels.TOUCHED_BYTES)
        for first in range(0, len(documents), max(step, 1)):
            part = slice(first, first + max(step, 1))
            found = self.firsts, self.rows, self.base, self._numbers, self._ends, self._values
            missing = kernels.locate(documents[part], *found, places[part], sizes[part])
            if missing >= 0:
                raise self._without(int(documents[first + missing]))
            self.trim(limit_bytes)
        self.release()
        return places, sizes

    def trim(self, limit_bytes: int) -> None:
        """Forgets what was read where it may be more than half of the limit: who reads the other half next is safe."""
        if _mapped_bytes() - self._mapped_before > limit_bytes // 2:
            self.release()

    def release(self) -> None:
        """Forgets what was read: it is on the disk."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Unmaps the files; arrays of this object must not be used any more."""
        self._maps.clear()

    def __enter__(self) -> SetFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _without(self, document: int) -> CorruptData:
        file = int(np.searchsorted(self.firsts, document, side="right")) - 1
        if not 0 <= file < len(self.paths):
            return CorruptData(f"document {document:,} is in none of {len(self.paths)} files", hint="name all files")
        path = self.paths[file]
        fact = f"it has no set of document {document - int(self.firsts[file]):,}, which stands in a bucket"
        return damaged(path, _NAME, fact)


def _mapped_bytes() -> float:
    """Of files, resident in this process; where that is not known, more than any limit."""
    try:
        return int(_STATM.read_text().split()[2]) * mmap.PAGESIZE
    except OSError:
        return float("inf")
