"""One document in, what several filters look at out: words, lines, meta, each worked out once and only if asked for."""

from __future__ import annotations

import functools
from typing import Any

from pile_toolkit.core.documents import EMPTY_META, decode_meta


class Text:
    """A document as filters see it. Words are what white space separates (`str.split`), as in dolma's taggers."""

    def __init__(self, text: str, meta: bytes = EMPTY_META) -> None:
        self.text = text
        self._meta = meta

    @functools.cached_property
    def words(self) -> list[str]:
        """All words in order."""
        return self.text.split()

    @functools.cached_property
    def words_characters(self) -> int:
        """Characters of all words together."""
        return sum(map(len, self.words))

    @functools.cached_property
    def lines(self) -> list[str]:
        """Lines as `str.splitlines` has them, which knows more ends of lines than `\\n`."""
        return self.text.splitlines()

    @functools.cached_property
    def meta(self) -> dict[str, Any]:
        """The document's meta as Python values."""
        return decode_meta(self._meta)
