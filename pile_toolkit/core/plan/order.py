"""Seed, text hashes and copies in, the place of every copy of every document out: one key per copy, no list shuffled.

Keys are uniform 64-bit numbers from (seed, text hash, ordinal among equal texts, copy): sorted by them, documents stand
in a random permutation that does not depend on where they came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pile_toolkit.core.seeds import keyed_columns

if TYPE_CHECKING:
    import numpy as np

PURPOSE = "order"


class Entries(NamedTuple):
    """Copies of pieces: the row of the plan, the number of the copy from 0, the key of its place; equal lengths.

    18 bytes a copy: of the Pile's 222 million 4 GB, and while they are sorted twice that and 8 bytes a copy.
    """

    row: np.ndarray
    copy: np.ndarray
    key: np.ndarray

    @classmethod
    def none(cls) -> Entries:
        """No copy."""
        import numpy as np

        return cls(np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint64))

    def sorted(self) -> Entries:
        """In the order of the corpus: by key, and for equal keys by row and copy."""
        import numpy as np

        order = np.argsort(self.key)
        key = self.key[order]
        if (key[1:] == key[:-1]).any():
            # Hardly ever, and three times as slow.
            order = np.lexsort((self.copy, self.row, self.key))
            key = self.key[order]
        return Entries(self.row[order], self.copy[order], key)


def text_identities(seed: int, hashes: np.ndarray) -> np.ndarray:
    """What stands for the text of each hash, uint64[n, 2], while neighbours are compared: uint64[n], never 0.

    It is where the text's keys begin, which the build has anyway, with the lowest bit set: 63 bits tell texts apart.
    """
    import numpy as np

    return keyed_columns(seed, PURPOSE, hashes[:, 0], hashes[:, 1]) | np.uint64(1)


def copy_keys_of(seed: int, hashes: np.ndarray, ordinal: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """The key of each copy, uint64[n]: that of its place where it was not moved."""
    return keyed_columns(seed, PURPOSE, hashes[:, 0], hashes[:, 1], ordinal, copy)
