"""A seed in, numpy's legacy shuffles out, bit for bit: `RandomState(seed)` in compiled code, several times as fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# So many elements are looked at before they are exchanged; they stay in the nearest cache.
_BLOCK = 1024


class LegacyRandom:
    """One `numpy.random.RandomState(seed)`: several shuffles go on in the same stream."""

    def __init__(self, seed: int) -> None:
        state = np.random.RandomState(seed).get_state(legacy=False)
        self._words: NDArray[np.uint32] = state["state"]["key"].copy()
        self._place = int(state["state"]["pos"])

    def shuffle(self, array: NDArray) -> None:
        """What `RandomState.shuffle` does to a one-dimensional array of integers."""
        from shards.index.kernels import swap

        # Fisher and Yates from the end: element i changes places with one of 0 to i.
        for first in range(len(array) - 1, 0, -_BLOCK):
            swap(array, first, self.draw(first, min(_BLOCK, first)))

    def draw(self, first: int, count: int) -> NDArray[np.int64]:
        """Integers of 0 to `first`, 0 to `first` - 1, ..., `count` of them, the last limit from 1."""
        from shards.index.kernels import draw_swaps

        partners = np.empty(count, np.int64)
        self._place = draw_swaps(self._words, self._place, first, partners)
        return partners
