"""NFC by the `tokenizers` library, a text at a time: its tables are older than Python's."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@cache
def library_nfc() -> Callable[[str], str]:
    """The function, imported when it is needed first."""
    from tokenizers import normalizers

    return normalizers.NFC().normalize_str
