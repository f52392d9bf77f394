"""A data set and where samples begin in, their ids out, in any order and from any number of threads."""

from __future__ import annotations

import functools
import resource
from typing import TYPE_CHECKING, Any

import numpy as np

from pile_toolkit.core.errors import CorruptData, UsageError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from shards.dataset import TokenDataset

# What stands for all sequences in the order they have.
IN_ORDER = np.empty(0, np.int32)
NO_SAMPLES = (np.empty((0, 2), np.int64), np.empty(0, np.int64))
# After a batch that waited for the disk, so many are announced to the system before they are read.
ANNOUNCED_BATCHES = 256
# Further pieces of a batch of very short documents are read unannounced.
_PIECES_A_SAMPLE = 16


class SampleReader:
    """Samples of `sequence_length` + 1 ids of one data set.

    A sample begins at (position in `doc_idx`, offset in that sequence); an empty `doc_idx` stands for all sequences in
    the order of the `.idx`, over and over. Threads may share a reader. Nothing is written anywhere.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        *,
        sequence_length: int,
        doc_idx: NDArray = IN_ORDER,
        arrays: tuple[NDArray, NDArray] = NO_SAMPLES,
    ) -> None:
        """`doc_idx` is int32 or int64 [positions], a mapped file too; `arrays` are (sample_idx, shuffle_idx)."""
        self.dataset = dataset
        self.length = sequence_length + 1
        # Only the type is said again: an index that is a subclass, as np.memmap, takes numba ten times as long to see.
        self._doc_idx = doc_idx.view(np.ndarray)
        self._sample_idx, self._shuffle_idx = (array.reshape(-1).view(np.ndarray) for array in arrays)
        self._to_announce = 0

    def sample(self, position: int, offset: int) -> NDArray:
        """The ids of one sample, in the data set's type: a read-only view of the file where one sequence holds it all.

        Raises CorruptData where they lead outside of the shards, or the `.bin` was cut short since it was opened.
        """
        dataset, length, doc_idx = self.dataset, self.length, self._doc_idx
        dataset.check_whole()
        ids, sizes, pointers = dataset.ids, dataset.sizes, dataset.pointers
        start = self._kernels.locate(ids, sizes, pointers, doc_idx, position, offset, length)
        if start >= 0:
            return ids[start : start + length]
        out = np.empty(length, ids.dtype)
        if not self._kernels.gather(ids, sizes, pointers, doc_idx, position, offset, length, out, 0):
            raise self._outside(position, offset)
        return out

    @functools.cached_property
    def _kernels(self) -> Any:
        # numba takes 0.6 s to import, which only those who read need to pay, and once.
        from pile_toolkit.core.kernels import load_once
        from shards.reading import kernels

        dataset, length = self.dataset, self.length
        arrays = dataset.ids, dataset.sizes, dataset.pointers, self._doc_idx
        none, no_starts = np.empty(0, np.int64), np.empty((0, 2), np.int64)

        def use() -> None:
            kernels.locate(*arrays, -1, 0, length)
            kernels.gather(*arrays, -1, 0, length, np.empty(0, dataset.dtype), 0)
            kernels.find_pieces(*arrays, no_starts, length, no_starts)
            for out in (np.empty(0, dataset.dtype), none):
                kernels.gather_batch(*arrays, no_starts, length, out)
                if self._shuffle_idx.size:
                    order = self._sample_idx, self._shuffle_idx
                    kernels.gather_shuffled(*arrays, *order, none, no_starts, length, out)

        used = [dataset.ids, self._doc_idx, *([self._sample_idx, self._shuffle_idx] if self._shuffle_idx.size else [])]
        load_once("-".join(["reading", *(str(array.dtype) for array in used)]), use, seconds=10)
        return kernels

    def batch(self, starts: NDArray, *, out: NDArray | None = None, dtype: DTypeLike | None = None) -> NDArray:
        """The ids of the samples from `starts` [samples, 2] on: [samples, sequence_length + 1], without Python's lock.

        Their type is the data set's unless `dtype` is given (int64 is what torch looks up); `out` is filled and
        returned where given. Raises UsageError for an `out` or type that does not fit, CorruptData as `sample`.
        """
        dataset = self.dataset
        out = self._target((len(starts), self.length), out, dtype)
        dataset.check_whole()
        waits = _disk_waits()
        if self._to_announce > 0:
            self._to_announce -= 1
            self.announce(starts)
        read = self._kernels.gather_batch(
            dataset.ids, dataset.sizes, dataset.pointers, self._doc_idx, starts, self.length, out.reshape(-1)
        )
        if read < len(starts):
            raise self._outside(*starts[read].tolist())
        # The system takes a mapped file to be read in a row, and fetches 128 KiB for each 4 that are missing, one after
        # the other: announced, a batch of 32 samples comes in 1 ms instead of 25 and costs 0.5 MB instead of 40. In
        # memory already, announcing would take as long as reading.
        if _disk_waits() > waits:
            self._to_announce = ANNOUNCED_BATCHES
        return out

    def shuffled(self, numbers: NDArray[np.int64], *, out: NDArray | None, dtype: DTypeLike | None) -> NDArray:
        """As `batch`, of the samples with these numbers in the order of `arrays`, looked up without the lock as well.

        Raises IndexError where there is no such sample.
        """
        dataset = self.dataset
        out = self._target((len(numbers), self.length), out, dtype)
        dataset.check_whole()
        waits, starts = _disk_waits(), np.empty((len(numbers), 2), np.int64)
        if self._to_announce > 0:
            self._to_announce -= 1
            found = self._kernels.find_starts(self._sample_idx, self._shuffle_idx, numbers, starts)
            self.announce(starts[: max(found, 0)])
        read = self._kernels.gather_shuffled(
            dataset.ids,
            dataset.sizes,
            dataset.pointers,
            self._doc_idx,
            self._sample_idx,
            self._shuffle_idx,
            numbers,
            starts,
            self.length,
            out.reshape(-1),
        )
        if read < 0:
            raise IndexError(f"samples {numbers.min()} to {numbers.max()} of an index of {len(self._shuffle_idx):,}")
        if read < len(numbers):
            raise self._outside(*starts[read].tolist())
        if _disk_waits() > waits:
            self._to_announce = ANNOUNCED_BATCHES
        return out

    def announce(self, starts: NDArray) -> int:
        """Has the system fetch the samples from `starts` on, side by side and without waiting; returns the pieces."""
        dataset = self.dataset
        places = np.empty((_PIECES_A_SAMPLE * len(starts), 2), np.int64)
        found = self._kernels.find_pieces(
            dataset.ids, dataset.sizes, dataset.pointers, self._doc_idx, starts, self.length, places
        )
        dataset.announce(places[:found])
        return found

    def _target(self, shape: tuple[int, int], out: NDArray | None, dtype: DTypeLike | None) -> NDArray:
        stored = self.dataset.dtype
        kind = out.dtype if out is not None else np.dtype(stored if dtype is None else dtype)
        if kind != stored and (kind.kind not in "iu" or not np.can_cast(stored, kind)):
            raise UsageError(f"ids of {stored} do not fit into {kind}", hint='dtype="int64" holds all')
        if out is None:
            return np.empty(shape, kind)
        if out.shape != shape or not out.flags.c_contiguous or not out.flags.writeable:
            raise UsageError(
                f"`out` has shape {out.shape}; these samples need {shape}, contiguous and writable",
                hint=f"out = numpy.empty({shape}, {kind.name!r})",
            )
        return out

    def _outside(self, position: int, offset: int) -> CorruptData:
        return CorruptData(
            f"a sample begins at id {offset:,} of document {position:,} of the order, which leads outside of "
            f"{self.dataset.prefix} with its {len(self.dataset):,} sequences",
            hint="the sample index was made for other shards, or is damaged: build it again",
        )


def _disk_waits() -> int:
    """How often this thread waited for the disk because a page of a file was not in memory."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
