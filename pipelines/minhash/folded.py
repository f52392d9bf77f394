"""Texts in, folded UTF-8 out, one text after the other, in memory that is used again."""

from __future__ import annotations

import functools
import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.characters.kernels import find_windows
from pile_toolkit.core.characters.windows import changed_in_windows, room_for_windows
from pipelines.minhash.folding.kernels import PADDING, fold_texts
from pipelines.minhash.folding.tables import change_table, nfc_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pipelines.minhash.settings import Folding

# No character becomes more than three times its bytes: U+0390, in case folding.
_LARGEST_GROWTH = 3
_NFC = functools.partial(unicodedata.normalize, "NFC")


class TextFolder:
    """Holds the bytes of the texts of the last call, as they came and folded: twice the largest call so far."""

    def __init__(self, folding: Folding) -> None:
        self._nfc = folding.nfc
        self._collapse = folding.fold_spaces
        self._changes = change_table(
            fold_case=folding.fold_case,
            fold_spaces=folding.fold_spaces,
            remove_punctuation=folding.remove_punctuation,
            zero_digits=folding.zero_digits,
        )
        self._asked = tuple(map(np.uint8, (folding.fold_case, folding.remove_punctuation, folding.zero_digits)))
        self._source = np.empty(0, np.uint8)
        self.text = np.empty(0, np.uint8)
        self.ends = np.empty(0, np.int64)

    def fold(self, texts: Sequence[str], data: Sequence[bytes]) -> None:
        """Sets `text` and `ends` to what `texts` become, whose UTF-8 is `data`: uint8 with PADDING, int64[texts]."""
        stops = self._put(data)
        if self._nfc and not all(map(str.isascii, texts)):
            windows = room_for_windows(stops)
            found = find_windows(self._source, stops, *nfc_table(), windows)
            if changed := changed_in_windows(self._source, stops, windows[:found], _NFC):
                stops = self._put([changed.get(number, one) for number, one in enumerate(data)])
        self.text = _at_least(self.text, int(stops[-1]) if stops.size else 0)
        self.ends = np.zeros(stops.size, np.int64)
        done = 0
        while True:
            done = fold_texts(
                self._source, stops, done, self.text, self.ends, self._collapse, self._asked, *self._changes
            )
            if done == stops.size:
                break
            self._enlarge(
                int(stops[-1]) - (int(stops[done - 1]) if done else 0), int(self.ends[done - 1]) if done else 0
            )

    def _put(self, data: Sequence[bytes]) -> NDArray[np.int64]:
        """Lays the texts one after the other into memory that the processor has at hand; where they end."""
        stops = np.cumsum([0, *map(len, data)], dtype=np.int64)
        self._source = _at_least(self._source, int(stops[-1]))
        memory, places = self._source.data, stops.tolist()
        for number, one in enumerate(data):
            memory[places[number] : places[number + 1]] = one
        return stops[1:]

    def _enlarge(self, remaining_bytes: int, done_bytes: int) -> None:
        before, self.text = self.text, np.empty(done_bytes + _LARGEST_GROWTH * remaining_bytes + PADDING, np.uint8)
        self.text[:done_bytes] = before[:done_bytes]

    def views(self) -> list[memoryview]:
        """The folded texts, until the next call."""
        memory, start, found = self.text.data, 0, []
        for end in self.ends.tolist():
            found.append(memory[start:end])
            start = end
        return found


def _at_least(array: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return array if array.size >= size + PADDING else np.empty(size + PADDING, np.uint8)
