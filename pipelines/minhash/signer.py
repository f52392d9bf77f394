"""Folded texts in, their shingles, signatures and band hashes out, by the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipelines.minhash.permutations import permutations

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

    from pipelines.minhash.banding import Bands
    from pipelines.minhash.folded import TextFolder
    from pipelines.minhash.settings import SignatureSettings


class Signer:
    """The arrays of some settings: 30 KB, and 44 bytes for each unit of a shingle."""

    def __init__(self, settings: SignatureSettings, kernels: ModuleType) -> None:
        self._kernels = kernels
        self._num_perm = settings.num_perm
        self._shingling = (settings.unit == "words", settings.size, settings.hash == "sha1")
        self._mixed = settings.scheme == "affine32"
        self._permutations = permutations(scheme=settings.scheme, num_perm=settings.num_perm, seed=settings.seed)
        self._room = kernels.make_room(settings.size)
        # The minima, and the same memory as bytes.
        size = 4 * self._permutations.offsets.size
        self._data = np.zeros(size + kernels.PADDING, np.uint8)
        self._minima = self._data[:size].view(np.uint32)

    def sign(
        self, folder: TextFolder, *, bands: Bands | None, signatures: bool
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        """Of each folded text the signature and the hashes of its bands; of what is not asked for, none."""
        count = folder.ends.size
        found = np.empty((count if signatures else 0, self._num_perm), np.uint32)
        hashes = np.empty((count if bands else 0, bands.bands if bands else 0), np.uint64)
        rows = bands.rows if bands else 0
        self._kernels.sign_texts(
            folder.text, folder.ends, *self._shingling, self._mixed, *self._permutations, self._room,
            self._minima, self._data, found, rows, hashes,
        )  # fmt: skip
        return found, hashes

    def shingles(self, folder: TextFolder) -> NDArray[np.uint32]:
        """The hashes of the shingles of the first folded text, in order."""
        text_bytes = int(folder.ends[0])
        # Words are separated by a byte.
        result = np.empty(text_bytes // (2 if self._shingling[0] else 1) + 1, np.uint32)
        count = self._kernels.write_shingles(folder.text, text_bytes, *self._shingling, self._room, result)
        return result[:count].copy()

    def key_sets(self, folder: TextFolder) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """(ends, values): the sets of the keys of all folded texts' shingles, each sorted, one after the other.

        In memory are 8 bytes for each shingle, repeats included. Keys are those of `xxh64`, whatever the hash is.
        """
        words, size, _ = self._shingling
        # Words are separated by a byte; of what is not written, there is no memory.
        values = np.empty(int(folder.ends[-1]) // (2 if words else 1) + folder.ends.size, np.uint64)
        ends = np.empty(folder.ends.size, np.int64)
        self._kernels.write_keys(folder.text, folder.ends, words, size, self._room, values, ends)
        start = 0
        for end in ends.tolist():
            values[start:end].sort()
            start = end
        self._kernels.drop_repeats(values, ends)
        return ends, values[: ends[-1]]
