"""The first document of a process loads the kernels; the first on a machine compiles them, and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pile_toolkit.core.loading import loads_once

if TYPE_CHECKING:
    from types import ModuleType


@loads_once("filters", seconds=5)
def load_kernels() -> ModuleType:
    """The module of kernels, loaded or compiled."""
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
