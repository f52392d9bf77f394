"""Ids in as they are found, one array of them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Fewer than in ordinary text, so that the array seldom has to grow.
CHARACTERS_PER_ID = 2


class GrowingIds:
    """An array that grows where it lies: large ones get new pages at their end, and nothing is copied."""

    def __init__(self, dtype: np.dtype, characters: int) -> None:
        """Room for the ids of a text of so many characters."""
        # What is not used in the end was never touched, so it took no memory.
        self._array = np.empty(max(1, characters // CHARACTERS_PER_ID), dtype)
        self._size = 0

    def append(self, found: NDArray) -> None:
        """Copies ids behind those that are there."""
        needed = self._size + found.size
        if needed > self._array.size:
            self._array.resize(max(needed, self._array.size * 3 // 2), refcheck=False)
        self._array[self._size : needed] = found
        self._size = needed

    def all(self) -> NDArray:
        """The ids; nothing can be appended from now on."""
        self._array.resize(self._size, refcheck=False)
        return self._array
