"""A value per code point in, two small arrays out, in which a kernel finds it with two loads.

The value of a code point is `values[(page_of[code >> PAGE_BITS] << PAGE_BITS) | (code & PAGE_MASK)]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODE_POINTS = 0x110000
PAGE_BITS = 7
PAGE_MASK = (1 << PAGE_BITS) - 1
# In a table of uint8: NFC may change a text that holds the character.
CHANGED_BY_NFC = 128


class Paged(NamedTuple):
    """Read-only, shared by all threads: `page_of` uint8[8704], `values` of any type, a page after the other."""

    page_of: NDArray[np.uint8]
    values: NDArray


def paged(of_code: NDArray) -> Paged:
    """The table of an array of CODE_POINTS values. At most 256 different pages."""
    page_number: dict[bytes, int] = {}
    pages = of_code.reshape(-1, 1 << PAGE_BITS)
    page_of = np.array([page_number.setdefault(page.tobytes(), len(page_number)) for page in pages], np.uint8)
    values = np.frombuffer(b"".join(page_number), of_code.dtype).copy()
    for table in (page_of, values):
        table.flags.writeable = False
    return Paged(page_of, values)
