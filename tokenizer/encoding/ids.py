"""Ids in as they are found, one array of them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Fewer than in ordinary text, so that the array seldom has to grow.
CHARACTERS_PER_ID = 2


class GrowingIds:
    """An array that is written to where it ends, and grows where it lies: nothing is copied."""

    def __init__(self, dtype: np.dtype, characters: int) -> None:
        """Ids of a text of so many characters."""
        self._expected = characters // CHARACTERS_PER_ID
        self._array = np.empty(0, dtype)
        self._size = 0

    def room(self, most: int) -> NDArray:
        """Behind the ids that are there, a place for so many more: unsigned integers, written to by the caller.

        It is good until `room` is called again.
        """
        needed = self._size + most
        if self._array.size == 0:
            # What is not used in the end is never touched, and takes no memory.
            self._array = np.empty(self._expected + most, self._array.dtype)
        elif needed > self._array.size:
            self._array.resize(needed + self._array.size // 2, refcheck=False)
        return self._array.view(f"u{self._array.itemsize}")[self._size :]

    def added(self, count: int) -> None:
        """So many ids were written."""
        self._size += count

    def append(self, found: NDArray) -> None:
        """Copies ids behind those that are there."""
        self.room(found.size)[: found.size] = found
        self.added(found.size)

    def all(self) -> NDArray:
        """The ids; nothing can be added from now on."""
        self._array.resize(self._size, refcheck=False)
        return self._array
