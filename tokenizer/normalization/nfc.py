"""Texts in, the same in NFC out, exactly as the `tokenizers` library normalizes, many times faster.

Its tables are older than Python's, so that `unicodedata` is no substitute; and it looks at every character, where next
to none could change. Only the few bytes around those go through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.characters.kernels import find_windows
from pile_toolkit.core.characters.windows import changed_in_windows, room_for_windows
from tokenizer.normalization.library import library_nfc
from tokenizer.pretokens.kernels import PADDING
from tokenizer.pretokens.tables import unicode_tables

if TYPE_CHECKING:
    from numpy.typing import NDArray


def normalize(text: bytes) -> bytes:
    """A text in UTF-8, in NFC."""
    if text.isascii():
        return text
    padded = np.frombuffer(text + bytes(PADDING), np.uint8)
    return changed_texts(padded, np.array([len(text)], np.int64)).get(0, text)


def changed_texts(text: NDArray[np.uint8], stops: NDArray[np.int64]) -> dict[int, bytes]:
    """Of UTF-8 texts one after the other that end at `stops`, by number: those that are not in NFC, in NFC.

    PADDING bytes of any value stand behind the last one.
    """
    windows = room_for_windows(stops)
    found = find_windows(text, stops, *unicode_tables(), windows)
    return changed_in_windows(text, stops, windows[:found], library_nfc())
