"""Python's own idea of characters in, tables for the kernels out: what each code point becomes.

An entry is 0 for a character that stays; else its low byte is how many bytes of UTF-8 it becomes, and the bytes above
are these, the first one lowest. SPACE is what every white space becomes. Made of `unicodedata`, so that the Unicode
version is that of the interpreter (`unicode_version()`), which is why it belongs to what defines a signature.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np

from pile_toolkit.core.characters.tables import CHANGED_BY_NFC, CODE_POINTS, Paged, paged

LENGTH_MASK = 0xFF
SPACE = 0x20 << 8 | 1
# Surrogates are in no text; the rest is not assigned, or for private use, in every version of Unicode so far.
_LOOKED_AT = (range(0xD800), range(0xE000, 0x40000), range(0xE0000, 0xE1000))


@cache
def nfc_table() -> Paged:
    """uint8 per code point: CHANGED_BY_NFC where a text may not be cut before it, or it is not its own NFC.

    May be cut: before starters that are the second part of no composition.
    """
    decomposed = {c: parts for c in _characters() if (parts := unicodedata.normalize("NFD", c)) != c}
    second = {part for parts in decomposed.values() for part in parts[1:]}
    moved = {c for c in _characters() if unicodedata.combining(c)}
    changed = {
        c
        for c, parts in decomposed.items()
        if parts[0] in second or unicodedata.combining(parts[0]) or unicodedata.normalize("NFC", c) != c
    }
    of_code = np.zeros(CODE_POINTS, np.uint8)
    of_code[list(map(ord, second | moved | changed))] = CHANGED_BY_NFC
    return paged(of_code)


@cache
def change_table(*, fold_case: bool, fold_spaces: bool, remove_punctuation: bool, zero_digits: bool) -> Paged:
    """uint64 per code point: what it becomes."""
    of_code = np.zeros(CODE_POINTS, np.uint64)
    for character in _characters():
        becomes = character.casefold() if fold_case else character
        if remove_punctuation or zero_digits:
            becomes = "".join(map(_without, becomes)) if remove_punctuation else becomes
            becomes = "".join(map(_zeroed, becomes)) if zero_digits else becomes
        if fold_spaces and becomes.isspace():
            becomes = " "
        if becomes != character or (fold_spaces and becomes == " "):
            data = becomes.encode()
            of_code[ord(character)] = int.from_bytes(data, "little") << 8 | len(data)
    return paged(of_code)


def _without(character: str) -> str:
    # Punctuation and symbols: `$`, `+` and `|` are symbols to Unicode and punctuation to everybody else.
    return " " if unicodedata.category(character)[0] in "PS" else character


def _zeroed(character: str) -> str:
    return "0" if unicodedata.category(character) == "Nd" else character


def _characters() -> map[str]:
    return map(chr, (code for codes in _LOOKED_AT for code in codes))
