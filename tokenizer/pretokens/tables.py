"""The generated ranges in, two small arrays out: what a code point is, in two loads.

`properties[(page_of[code >> 7] << 7) | (code & 127)]` is one of LETTER, NUMBER, OTHER and WHITE, with CHANGED_BY_NFC
added where NFC may change a text that holds the character. 40 KB in all, so that both stay in a core's first cache.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.characters.tables import CHANGED_BY_NFC, CODE_POINTS, paged
from tokenizer.pretokens import ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Classes of characters; a space is WHITE.
OTHER, LETTER, NUMBER, WHITE = 0, 1, 2, 3


class Tables(NamedTuple):
    """Read-only, shared by all threads: `page_of` uint8[8704], `properties` uint8[pages * 128]."""

    page_of: NDArray[np.uint8]
    properties: NDArray[np.uint8]


@cache
def unicode_tables() -> Tables:
    """The tables of the pinned `tokenizers`: 2 ms, made once a process."""
    of_code = np.full(CODE_POINTS, OTHER, np.uint8)
    for listed, value in ((ranges.LETTERS, LETTER), (ranges.NUMBERS, NUMBER), (ranges.WHITE_SPACE, WHITE)):
        for first, end in spans(listed):
            of_code[first:end] = value
    for first, end in spans(ranges.CHANGED_BY_NFC):
        of_code[first:end] |= CHANGED_BY_NFC
    return Tables(*paged(of_code))


def spans(listed: str) -> list[tuple[int, int]]:
    """`41-5a aa` as [(0x41, 0x5b), (0xaa, 0xab)]."""
    borders = [[int(code, 16) for code in word.split("-")] for word in listed.split()]
    return [(first_and_last[0], first_and_last[-1] + 1) for first_and_last in borders]
