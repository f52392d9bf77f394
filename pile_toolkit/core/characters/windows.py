"""The places where NFC could change texts in, the texts that it does change out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.characters.kernels import most_windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def room_for_windows(stops: NDArray[np.int64]) -> NDArray[np.int64]:
    """An array that `find_windows` cannot fill for texts that end at `stops`."""
    return np.empty((most_windows(int(stops[-1]) if stops.size else 0, stops.size), 3), np.int64)


def changed_in_windows(
    text: NDArray[np.uint8], stops: NDArray[np.int64], windows: NDArray[np.int64], normalize: Callable[[str], str]
) -> dict[int, bytes]:
    """Of UTF-8 texts that end at `stops`, by number: those that `normalize` (some NFC) changes, in NFC.

    `windows` is what `find_windows` found, with the table of the same NFC.
    """
    parts: dict[int, list[bytes]] = {}
    done: dict[int, int] = {}
    for number, begin, end in windows.tolist():
        before = text[begin:end].tobytes()
        after = normalize(before.decode()).encode()
        if after == before:
            continue
        start = done.get(number, int(stops[number - 1]) if number else 0)
        parts.setdefault(number, []).extend((text[start:begin].tobytes(), after))
        done[number] = end
    return {number: b"".join([*some, text[done[number] : stops[number]].tobytes()]) for number, some in parts.items()}
