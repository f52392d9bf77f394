"""The first document of a process loads the kernels; the first on a machine compiles them, and says so."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

_loading = threading.Lock()
_loaded: list[ModuleType] = []


def load_kernels() -> ModuleType:
    """The module of kernels, loaded or compiled."""
    with _loading:
        if not _loaded:
            from pile_toolkit.core.kernels import load_once

            _loaded.append(load_once("filters", _use, seconds=5))
    return _loaded[0]


def _use() -> ModuleType:
    import numpy as np

    from pipelines.filters.ngrams import kernels

    # Read only, as the characters of a text are: to the compiler that is another type.
    text, ends = np.frombuffer(b"a\0\0\0b\0\0\0", np.uint32), np.array([1, 2])
    sums, powers = np.empty(3, np.uint64), np.empty(3, np.uint64)
    slots, counts = np.empty(8, np.int64), np.empty(2, np.int64)
    kernels.sum_characters(text, ends, sums, powers)
    kernels.duplicate_characters(text, ends, 1, sums, powers, slots)
    kernels.top_characters(text, ends, 1, sums, powers, slots, counts)
    return kernels
