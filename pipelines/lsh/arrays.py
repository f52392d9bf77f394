"""Arrays in, files for `np.load` out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class _Writer:
    """Not a file in numpy's eyes: into those it writes by itself, and of a full disk it says no reason."""

    def __init__(self, stream: Any) -> None:
        self.write = stream.write


def save_array(path: Path, array: NDArray) -> None:
    """Writes an array to a file that nobody reads yet, a piece at a time. Raises OSError with its number."""
    with path.open("wb") as stream:
        np.lib.format.write_array(_Writer(stream), array, allow_pickle=False)
