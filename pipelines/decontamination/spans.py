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


class Spans(NamedTuple):
    """First character and end of each word, int64 and ascending; `byte_at[i]`: bytes before character i, int64."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    byte_at: NDArray[np.int64]


def word_spans(text: str, folding: Folding) -> Spans:
    """Where the words of a text stand that folding makes of it, which folds white space."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    byte_at = np.zeros(codes.size + 1, np.int64)
    # A character is one byte, and one more from each of these on.
    np.cumsum(1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000), out=byte_at[1:])
    changes = change_table(
        fold_case=folding.fold_case,
        fold_spaces=True,
        remove_punctuation=folding.remove_punctuation,
        zero_digits=folding.zero_digits,
    )
    first = np.arange(codes.size)
    end = first + 1
    if folding.nfc and not text.isascii():
        codes, first, end = _composed(text, codes, first, end)
    word = np.zeros(codes.size + 2, np.int8)
    word[1:-1] = _look_up(changes, codes) != SPACE
    steps = np.diff(word)
    return Spans(first[np.flatnonzero(steps == 1)], end[np.flatnonzero(steps == -1) - 1], byte_at)


def _look_up(table: Paged, codes: NDArray[np.uint32]) -> NDArray:
    return table.values[table.page_of[codes >> PAGE_BITS].astype(np.int64) << PAGE_BITS | codes & PAGE_MASK]


def _composed(
    text: str, codes: NDArray[np.uint32], first: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
    """Code points in NFC, and of each the characters it came from."""
    marked = np.zeros(codes.size + 2, np.int8)
    marked[1:-1] = _look_up(nfc_table(), codes) & CHANGED_BY_NFC != 0
    steps = np.diff(marked)
    parts: list[tuple[NDArray, NDArray, NDArray]] = []
    done = 0
    for begin, stop in zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True):
        # What stands before may be composed with the first marked one.
        window = max(begin - 1, done)
        before = text[window:stop]
        if unicodedata.is_normalized("NFC", before):
            continue
        parts.append((codes[done:window], first[done:window], end[done:window]))
        for start, piece in _segments(before):
            after = np.frombuffer(unicodedata.normalize("NFC", piece).encode("utf-32-le"), np.uint32)
            place = window + start
            if after.size == len(piece) and unicodedata.is_normalized("NFC", piece):
                parts.append((after, first[place : place + len(piece)], end[place : place + len(piece)]))
            else:
                parts.append((after, np.full(after.size, place), np.full(after.size, place + len(piece))))
        done = stop
    if not done:
        return codes, first, end
    parts.append((codes[done:], first[done:], end[done:]))
    joined = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    return joined[0], joined[1], joined[2]


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
