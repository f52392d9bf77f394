"""Integers of any type in, a `.bin` of uint16 or int32 out: two bytes an id as long as the highest id allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from pile_toolkit.core.errors import CorruptData
from shards.format import token_dtype

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WIDE = np.dtype("<i4")
_COPY_IDS = 4 << 20


class IdFile:
    """Ids are appended with `write`; `dtype` is their type on the disk, final once `close` has been called.

    With a `vocab_size` its type is known from the start. Without, the file begins with two bytes an id and is written
    anew, once, at the first id that is too high for them.
    """

    def __init__(self, path: Path, *, name: str, vocab_size: int | None = None) -> None:
        """`name` is what errors call the source."""
        self.dtype = token_dtype(vocab_size or 1)
        self.written = 0
        self._path, self._name, self._vocab_size = path, name, vocab_size
        self._file: BinaryIO = path.open("wb")

    def write(self, ids: NDArray) -> None:
        """Appends ids. Raises CorruptData for one that is negative, past the vocabulary or wider than 31 bits."""
        if not len(ids):
            return
        low, high = int(ids.min()), int(ids.max())
        limit = self._vocab_size or np.iinfo(WIDE).max
        if low < 0 or high >= limit:
            place = int(np.argmax((ids < 0) | (ids >= limit)))
            raise CorruptData(
                f"{self._name} has id {ids[place]} as token {self.written + place:,}, outside "
                + (f"a vocabulary of {limit:,}" if self._vocab_size else "any vocabulary"),
                hint="--vocab-size with that of its tokenizer, --id-type with the type of its ids",
            )
        if self.dtype != WIDE and token_dtype(high + 1) == WIDE:
            self._widen()
        self._file.write(np.ascontiguousarray(ids, self.dtype).data)
        self.written += len(ids)

    def _widen(self) -> None:
        self._file.close()
        narrow = self._path.with_name(f"{self._path.name}.narrow")
        self._path.replace(narrow)
        try:
            self._file = self._path.open("wb")
            with narrow.open("rb") as source:
                while len(ids := np.fromfile(source, self.dtype, _COPY_IDS)):
                    self._file.write(ids.astype(WIDE).data)
        finally:
            narrow.unlink()
        self.dtype = WIDE

    def close(self) -> None:
        """All ids are in the file."""
        self._file.close()
