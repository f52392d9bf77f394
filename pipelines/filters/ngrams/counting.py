"""Words in, shares of repeated n-grams out: the arrays that the kernels work in, made once and grown with need."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from pipelines.filters.ngrams.loading import load_kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FEWEST_WORDS = 1 << 12
# What is kept from one document to the next; longer ones get arrays of their own.
_MOST_KEPT_WORDS = 1 << 20


class _Room:
    """Arrays for so many words: 40 to 56 bytes a word."""

    def __init__(self, words: int) -> None:
        self.words = words
        self.sums, self.powers = np.empty(words + 1, np.uint64), np.empty(words + 1, np.uint64)
        self.slots, self.counts = np.empty(_places(words), np.int64), np.empty(words, np.int64)


def _places(words: int) -> int:
    return 1 << max(3, (2 * words).bit_length())


_room = _Room(_FEWEST_WORDS)


def _room_for(words: int) -> _Room:
    global _room
    if words <= _room.words:
        return _room
    room = _Room(1 << (words - 1).bit_length())
    if room.words <= _MOST_KEPT_WORDS:
        _room = room
    return room


class Ngrams:
    """The n-grams of one document's words."""

    def __init__(self, words: Sequence[str]) -> None:
        self._kernels = load_kernels()
        self._text = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), np.uint32)
        self._ends: NDArray[np.int64] = np.fromiter(itertools.accumulate(map(len, words)), np.int64, len(words))
        self._room = _room_for(len(words))
        # As large as these words ask for, so that emptying it does not take longer than filling it.
        self._slots = self._room.slots[: _places(len(words))]
        self._kernels.sum_characters(self._text, self._ends, self._room.sums, self._room.powers)

    def duplicate_characters(self, n: int) -> int:
        """Characters in n-grams that stood before, words put together without spaces."""
        room = self._room
        return int(self._kernels.duplicate_characters(self._text, self._ends, n, room.sums, room.powers, self._slots))

    def top_characters(self, n: int) -> int:
        """Characters in the most frequent n-gram, with its spaces, all its occurrences together."""
        room = self._room
        return int(
            self._kernels.top_characters(self._text, self._ends, n, room.sums, room.powers, self._slots, room.counts)
        )
