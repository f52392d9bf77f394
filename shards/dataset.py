"""A `.bin/.idx` pair in, sequences of ids out: views of the mapped file, each found through its own pointer."""

from __future__ import annotations

import functools
import mmap
import operator
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import read_manifest
from shards.format import data_path, index_path, open_existing, read_index
from shards.provenance import provenance_path, read_provenance

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from shards.provenance import Provenance


class TokenDataset:
    """The sequences of `<prefix>.bin`, in the order of `<prefix>.idx`.

    Entries that share a pointer give the same ids: upsampled copies of one stored document. Pickles as its prefix, so
    that worker processes map the files themselves. Views handed out stay valid after `close`.
    """

    def __init__(self, prefix: str | Path) -> None:
        """Maps both files. Raises UsageError where one is absent, CorruptData where they do not fit together.

        Where a manifest of ours stands beside them, the `.bin` must be as long as it says. Its bytes are not hashed
        here: that takes as long as reading it, and `pile shards verify` does it.
        """
        self.prefix = os.fspath(prefix)
        index = read_index(index_path(prefix))
        self.sizes: NDArray[np.int32] = index.sizes
        self.pointers: NDArray[np.int64] = index.pointers
        self.doc_idx: NDArray[np.int64] = index.doc_idx
        self.dtype: np.dtype = index.dtype
        self._mapped: mmap.mmap | None
        self._ids: NDArray | None
        self._mapped, self._ids = _map_ids(data_path(prefix), index.dtype)
        _refuse_other_size(data_path(prefix), self._ids.nbytes)

    @property
    def ids(self) -> NDArray:
        """The whole `.bin` as one array, each stored document once."""
        if self._ids is None:
            raise UsageError(f"the shards {self.prefix} are closed", hint="open them again with TokenDataset(prefix)")
        return self._ids

    @functools.cached_property
    def total_tokens(self) -> int:
        """Ids of one epoch: all sequences, copies counted."""
        return int(self.sizes.sum(dtype=np.int64))

    @functools.cached_property
    def hash(self) -> str:
        """XXH3-128 of type, sizes and pointers: the same sequences in the same order, given the same `.bin`.

        Not of the ids: it names what sample indexes depend on, is there at once for any size, and stays the same when a
        `.bin` is replaced by one of other ids and equal sizes. What is in the `.bin` is named by the manifest of its
        folder, by which runs tell their data apart; without a manifest nothing but this is known of a pair.
        """
        hasher = xxhash.xxh3_128(f"{self.dtype.str} {len(self)}".encode())
        hasher.update(self.sizes.data)
        hasher.update(self.pointers.data)
        return hasher.hexdigest()

    @functools.cached_property
    def provenance(self) -> Provenance:
        """Which document each sequence is. Raises UsageError where there is no such file, CorruptData if it differs."""
        path = provenance_path(self.prefix)
        provenance = read_provenance(path)
        if len(provenance) != len(self):
            raise CorruptData(
                f"{path} describes {len(provenance):,} sequences, {index_path(self.prefix)} has {len(self):,}",
                hint="the files do not belong together: write the shards again",
            )
        return provenance

    @property
    def has_provenance(self) -> bool:
        """Whether `<prefix>.docs.arrow` is there."""
        return provenance_path(self.prefix).exists()

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, number: int) -> NDArray:
        """The ids of one sequence, counted from the end where negative: a read-only view.

        Slices are refused: their ids are not contiguous where copies share one stored document.
        """
        return self.get(number)

    def check_whole(self) -> None:
        """Raises CorruptData where the `.bin` was cut short after it was opened: reading past its end kills a process.

        A system call of less than a microsecond. A file that was removed or replaced is read on as it was.
        """
        if self._mapped is not None and self._mapped.size() < len(self._mapped):
            raise CorruptData(
                f"{data_path(self.prefix)} was cut short while it was read: it had {len(self._mapped):,} bytes and has "
                f"{self._mapped.size():,}",
                hint="restore it, or write the shards again; files in use are replaced by a rename, not in place",
            )

    def announce(self, places: NDArray[np.int64]) -> None:
        """Has the system fetch parts of the `.bin`, each (first id, number of ids), without waiting for them."""
        if self._mapped is None:
            return
        for start, length in (places * self.dtype.itemsize).tolist():
            page = start - start % mmap.PAGESIZE
            self._mapped.madvise(mmap.MADV_WILLNEED, page, start + length - page)

    def forget(self, first: int = 0, length: int | None = None) -> None:
        """Takes `length` ids from `first` on, by default all, out of this process: who reads a whole `.bin` would else
        hold all of it that fits into memory. What is read of them again, through views too, is mapped anew.
        """
        if self._mapped is None:
            return
        stop = len(self.ids) if length is None else min(first + length, len(self.ids))
        start_byte = first * self.dtype.itemsize // mmap.PAGESIZE * mmap.PAGESIZE
        self._mapped.madvise(mmap.MADV_DONTNEED, start_byte, stop * self.dtype.itemsize - start_byte)

    def get(self, number: int, offset: int = 0, length: int | None = None) -> NDArray:
        """`length` ids of a sequence from `offset` on, all the rest by default: a read-only view.

        Raises IndexError past the last sequence, UsageError where the range does not lie inside the sequence,
        CorruptData where the `.bin` was cut short since it was opened.
        """
        self.check_whole()
        row = self._row(number)
        size = self.sizes.item(row)
        stop = size if length is None else offset + length
        if not 0 <= offset <= stop <= size:
            raise UsageError(f"ids {offset} to {stop} of sequence {row} of {self.prefix}: it has {size:,}")
        start = self.pointers.item(row) // self.dtype.itemsize
        return self.ids[start + offset : start + stop]

    def _row(self, number: Any) -> int:
        if isinstance(number, slice):
            raise UsageError(
                f"{self.prefix}[{number.start}:{number.stop}] is refused: sequences are not contiguous in the file "
                "where copies share one stored document",
                hint="[dataset[i] for i in range(start, stop)]",
            )
        row = operator.index(number)
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            raise IndexError(f"sequence {number} of {self.prefix}, which has {len(self):,}")
        return row

    def close(self) -> None:
        """Forgets the mapped ids; the system unmaps them once no view is left."""
        self._mapped, self._ids = None, None

    def __enter__(self) -> TokenDataset:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple:
        return TokenDataset, (self.prefix,)

    def __repr__(self) -> str:
        return f"TokenDataset({self.prefix!r}): {len(self):,} sequences, {self.total_tokens:,} ids of {self.dtype}"


def _refuse_other_size(path: Path, found_bytes: int) -> None:
    """Raises CorruptData where the manifest beside a `.bin` says that it has another length."""
    try:
        manifest = read_manifest(path.parent)
    except CorruptData:
        # Of another program, or damaged, which `verify` says.
        return
    for output in manifest.outputs if manifest is not None else ():
        if output.path == path.name and output.bytes != found_bytes:
            raise CorruptData(
                f"{path} has {found_bytes:,} bytes, its manifest says {output.bytes:,}",
                hint="pile shards verify, then restore it or write the shards again",
            )


def _map_ids(path: Path, dtype: np.dtype) -> tuple[mmap.mmap | None, NDArray]:
    with open_existing(path) as file:
        # Mapping nothing is an error of the system, an empty data set is not.
        if file.seek(0, 2) == 0:
            return None, np.empty(0, dtype)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return mapped, np.frombuffer(mapped, dtype)
