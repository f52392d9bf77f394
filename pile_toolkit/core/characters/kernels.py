"""UTF-8 in, the places where NFC could change it out: of real text next to nothing.

NFC never moves anything across the front of a character that CHANGED_BY_NFC does not mark, so that a text may be cut
there and its parts be normalized one by one. A window goes from the last such character before a marked one, with which
that may be composed, to the next one behind it.
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.bits.kernels import load64, trailing_zeros
from pile_toolkit.core.characters.tables import CHANGED_BY_NFC, PAGE_BITS, PAGE_MASK
from pile_toolkit.core.kernels import kernel

# Of a text with more windows than one in so many bytes all is normalized at once: each window takes a call.
BYTES_PER_WINDOW = 64
_HIGH_BITS = np.uint64(0x8080808080808080)


def most_windows(text_bytes: int, texts: int) -> int:
    """Rows that `find_windows` may fill."""
    return text_bytes // BYTES_PER_WINDOW + 2 * texts


@kernel
def code_point(text, at):
    """The code point that starts at `at`, and its length in bytes."""
    first = np.int64(text[at])
    if first < 0x80:
        return first, 1
    second = np.int64(text[at + 1]) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = np.int64(text[at + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | np.int64(text[at + 3]) & 0x3F, 4


@kernel
def property_at(text, at, page_of, properties):
    """What a paged table says of the character that starts at `at`, and its length in bytes."""
    code, length = code_point(text, at)
    page = np.int64(page_of[code >> PAGE_BITS])
    return properties[page << PAGE_BITS | code & PAGE_MASK], length


@kernel
def find_windows(text, stops, page_of, properties, windows):
    """Rows of `windows` become number of a text, first byte and end of what NFC could change in it; how many rows.

    Texts lie one after the other and end at `stops`; no window reaches from one into the next.
    """
    count, start = 0, np.int64(0)
    for number in range(stops.size):
        stop = stops[number]
        first = count
        most = first + 1 + (stop - start) // BYTES_PER_WINDOW
        at = np.int64(start)
        while at < stop:
            high = load64(text, at) & _HIGH_BITS
            if high == 0:
                at += 8
                continue
            at += np.int64(trailing_zeros(high) >> np.uint64(3))
            if at >= stop:
                break
            found, length = property_at(text, at, page_of, properties)
            if not found & CHANGED_BY_NFC:
                at += length
                continue
            begin = at
            if begin > start:
                begin -= 1
                while text[begin] & 0xC0 == 0x80:
                    begin -= 1
            while at < stop and found & CHANGED_BY_NFC:
                at += length
                if at < stop:
                    found, length = property_at(text, at, page_of, properties)
            if count == most:
                count = first
                begin, at = start, stop
            windows[count, 0], windows[count, 1], windows[count, 2] = number, begin, at
            count += 1
        start = stop
    return count
