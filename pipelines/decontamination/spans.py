"""Texts in, where their folded words stand in them out: characters of the text as it is, not as it is folded.

A word begins and ends with what became its first and last character. Where NFC changed a text, that is as much of it
as NFC looks at together, so that no part of a composed character is cut off.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.characters.tables import CHANGED_BY_NFC, PAGE_BITS, PAGE_MASK
from pipelines.minhash.folding.tables import SPACE, change_table, nfc_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pile_toolkit.core.characters.tables import Paged
    from pipelines.minhash.settings import Folding

_BLOCK = 1 << 20


class Spans(NamedTuple):
    """First character and end of each word, int64 and ascending, in a text of so many `characters`.

    `wide`: int64, for each character and the end the bytes before it; None where each character is one byte.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    characters: int
    wide: NDArray[np.int64] | None

    def bytes_before(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many bytes of UTF-8 stand before these characters."""
        return places if self.wide is None else self.wide[places]


def word_spans(text: str, folding: Folding) -> Spans:
    """Where the words of a text stand that folding makes of it, which folds white space.

    Memory: some 5 bytes a character and 40 a word, of a text that is not ASCII 25 a character.
    """
    changes = change_table(
        fold_case=folding.fold_case,
        fold_spaces=True,
        remove_punctuation=folding.remove_punctuation,
        zero_digits=folding.zero_digits,
    )
    if text.isascii():
        starts, ends = _words(np.frombuffer(text.encode(), np.uint8), changes)
        return Spans(starts, ends, len(text), None)
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    wide = np.zeros(codes.size + 1, np.int64)
    for first in range(0, codes.size, _BLOCK):
        some = codes[first : first + _BLOCK]
        sizes = np.cumsum(1 + (some >= 0x80) + (some >= 0x800) + (some >= 0x10000))
        wide[first + 1 : first + 1 + some.size] = wide[first] + sizes
    if not folding.nfc or unicodedata.is_normalized("NFC", text):
        starts, ends = _words(codes, changes)
    else:
        composed, first_of, end_of = _composed(text, codes)
        starts, ends = _words(composed, changes)
        starts, ends = first_of[starts], end_of[ends - 1]
    return Spans(starts, ends, codes.size, wide)


def _words(codes: NDArray, changes: Paged) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First code point and end of each word."""
    word = np.zeros(codes.size + 2, np.int8)
    # Some at a time: what is looked up takes sixteen times the room of a byte.
    for first in range(0, codes.size, _BLOCK):
        some = codes[first : first + _BLOCK]
        word[first + 1 : first + 1 + some.size] = _look_up(changes, some) != SPACE
    steps = np.diff(word)
    return np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)


def _look_up(table: Paged, codes: NDArray[np.uint32]) -> NDArray:
    return table.values[table.page_of[codes >> PAGE_BITS].astype(np.int64) << PAGE_BITS | codes & PAGE_MASK]


def _composed(text: str, codes: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
    """Code points in NFC, and of each the characters it came from."""
    marked = np.zeros(codes.size + 2, np.int8)
    for first in range(0, codes.size, _BLOCK):
        some = codes[first : first + _BLOCK]
        marked[first + 1 : first + 1 + some.size] = _look_up(nfc_table(), some) & CHANGED_BY_NFC != 0
    steps = np.diff(marked)
    parts: list[tuple[NDArray, NDArray, NDArray]] = []
    done = 0
    for begin, stop in zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True):
        # What stands before may be composed with the first marked one.
        window = max(begin - 1, done)
        before = text[window:stop]
        if unicodedata.is_normalized("NFC", before):
            continue
        parts.append(_unchanged(codes, done, window))
        for start, piece in _segments(before):
            after = np.frombuffer(unicodedata.normalize("NFC", piece).encode("utf-32-le"), np.uint32)
            place = window + start
            if after.size == len(piece) and unicodedata.is_normalized("NFC", piece):
                parts.append((after, *_unchanged(codes, place, place + len(piece))[1:]))
            else:
                parts.append((after, np.full(after.size, place), np.full(after.size, place + len(piece))))
        done = stop
    parts.append(_unchanged(codes, done, codes.size))
    joined = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    return joined[0], joined[1], joined[2]


def _unchanged(
    codes: NDArray[np.uint32], start: int, end: int
) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
    return codes[start:end], np.arange(start, end), np.arange(start + 1, end + 1)


def _segments(window: str) -> Iterator[tuple[int, str]]:
    """A window in parts that NFC changes each by itself, each with its place."""
    start, parts = 0, []
    for at in range(1, len(window)):
        if unicodedata.combining(window[at]):
            continue
        alone = unicodedata.normalize("NFC", window[at])
        piece = window[start:at]
        together = unicodedata.normalize("NFC", piece + window[at])
        if not unicodedata.combining(alone[0]) and together == unicodedata.normalize("NFC", piece) + alone:
            parts.append((start, piece))
            start = at
    parts.append((start, window[start:]))
    whole = "".join(unicodedata.normalize("NFC", piece) for _, piece in parts)
    # Seen in no version of Unicode; then the window is one part.
    yield from parts if whole == unicodedata.normalize("NFC", window) else [(0, window)]
