"""The first search of a process loads the kernels; the first on a machine compiles them, and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pile_toolkit.core.loading import loads_once
from pipelines.minhash.loading import load_kernels as load_minhash

if TYPE_CHECKING:
    from types import ModuleType


def load_kernels() -> ModuleType:
    """The module of kernels, loaded or compiled; those of MinHash too, which fold the texts."""
    load_minhash()
    return _load_searching()


@loads_once("decontamination", seconds=10)
def _load_searching() -> ModuleType:
    import numpy as np

    from pipelines.decontamination.ngrams import Ngrams
    from pipelines.decontamination.scanning import kernels
    from pipelines.decontamination.search import scan
    from pipelines.minhash.kernels import make_room

    room, text = make_room(2), np.frombuffer(b"a b" + bytes(125), np.uint8)
    places, sizes, slots = np.zeros(1, np.int64), np.full(1, 3, np.int64), np.zeros(4, np.uint32)
    keys, starts, lengths = np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64)
    kernels.insert_ngrams(text, places, sizes, slots, keys, starts, lengths, places.copy())
    marks, kinds, prefixes = np.zeros(2, np.uint64), np.zeros(2, np.uint64), np.zeros(room.starts.size, np.uint64)
    kernels.mark_ngrams(text, starts, lengths, places.copy(), 2, room, prefixes, marks, kinds, 63)
    table = Ngrams._make([text, starts, lengths, lengths.copy(), slots, keys, marks, kinds, np.full(1, 2), np.empty(0)])
    for array in table:
        # As it is mapped: what cannot be written to is another type to the compiler.
        array.flags.writeable = False
    scan(kernels, table, text.copy(), np.full(1, 3, np.int64), 2, room)
    return kernels
