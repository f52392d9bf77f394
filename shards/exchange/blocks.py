"""A data set in, blocks of whole sequences in the order of its index out: what every export walks over.

A block is a view of the mapped file where its sequences lie one after the other there, else gathered; only a sequence
that is longer than a block makes one that is larger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from shards.dataset import TokenDataset

BLOCK_IDS = 4 << 20
BLOCK_ROWS = 1 << 16


class Block(NamedTuple):
    """The ids of sequences `first`, `first` + 1, ... one after the other; `offsets[i]` is where number i begins."""

    first: int
    ids: NDArray
    offsets: NDArray[np.int64]

    @property
    def rows(self) -> range:
        """The sequences, by number."""
        return range(self.first, self.first + len(self.offsets) - 1)

    def sequences(self) -> Iterator[NDArray]:
        """The ids of each."""
        for start, stop in zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True):
            yield self.ids[start:stop]


def blocks(dataset: TokenDataset, *, block_ids: int = BLOCK_IDS) -> Iterator[Block]:
    """All sequences, copies written out, some at a time."""
    first = 0
    while first < len(dataset):
        sizes = dataset.sizes[first : first + BLOCK_ROWS].astype(np.int64)
        ends = np.cumsum(sizes)
        count = max(int(np.searchsorted(ends, block_ids, side="right")), 1)
        offsets = np.concatenate([[0], ends[:count]])
        yield Block(first, _ids(dataset, first, offsets), offsets)
        # A view of it stays right, and costs reading it again.
        dataset.forget()
        first += count


def _ids(dataset: TokenDataset, first: int, offsets: NDArray[np.int64]) -> NDArray:
    starts = dataset.pointers[first : first + len(offsets) - 1] // dataset.dtype.itemsize
    shifts = starts - offsets[:-1]
    if (shifts == shifts[0]).all():
        return dataset.ids[starts[0] : starts[0] + offsets[-1]]
    # Where id k of the block lies: its place in the block, moved as its sequence is.
    places = np.arange(offsets[-1])
    places += np.repeat(shifts, np.diff(offsets))
    return dataset.ids[places]
