"""The first large file of a process loads the compiled loop; the first on a machine compiles it, and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pile_toolkit.core.loading import loads_once

if TYPE_CHECKING:
    from types import ModuleType


@loads_once("corpus", seconds=5)
def load_kernels() -> ModuleType:
    """The module of kernels, loaded or compiled."""
    import numpy as np

    from pipelines.corpus import kernels

    line = b'{"text":"","meta":{}}\n' + bytes(16)
    data, plain, found = np.frombuffer(line, np.uint8), np.empty(len(line), np.uint8), np.empty((1, 7), np.int64)
    kernels.find_lines(plain, 0, 0, 1, np.ones(1, np.int64), 0, plain, found)
    spans, chosen = np.zeros((1, 4), np.int64), np.zeros(1, np.int64)
    # Read-only arrays are a type of their own: texts of batches can be written, what is joined cannot.
    for rest in (data, plain):
        kernels.join_lines(plain, rest, spans, chosen, plain)
    return kernels


is_loaded = load_kernels.is_loaded
