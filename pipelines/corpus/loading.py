"""The first large file of a process loads the compiled loop; the first on a machine compiles it, and says so."""

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

            _loaded.append(load_once("corpus", _use, seconds=5))
    return _loaded[0]


def is_loaded() -> bool:
    """Whether it is there already, and costs nothing."""
    return bool(_loaded)


def _use() -> ModuleType:
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
