"""A seed and what a decision is about in, 64 random-looking bits out: order and workers cannot matter."""

from __future__ import annotations

import struct
import unicodedata
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    import numpy as np

KEY_RANGE = 1 << 64


def keyed(seed: int, purpose: str, *parts: bytes | int) -> int:
    """A uniform 64-bit key for one decision, the same on every machine.

    `purpose` separates decisions about the same thing (its split, its extra copy, its place in the order).
    XXH3-64 over length-prefixed parts, so that ("ab", "c") and ("a", "bc") differ.
    """
    hasher = xxhash.xxh3_64(seed=seed & (KEY_RANGE - 1))
    for part in (purpose.encode(), *parts):
        data = part.to_bytes(8, "little", signed=part < 0) if isinstance(part, int) else part
        hasher.update(struct.pack("<Q", len(data)))
        hasher.update(data)
    return hasher.intdigest()


def text_hash(text: str) -> bytes:
    """The 128-bit content hash of a text (XXH3-128 of its UTF-8 bytes, big-endian)."""
    return xxhash.xxh3_128_digest(text.encode())


def normalized(text: str) -> str:
    """The text as splits see it: NFC, case-folded, each run of white space one space, none at the ends.

    Two texts that differ only there are the same text to a reader, and must not stand on both sides of a split.
    """
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def keyed_columns(seed: int, purpose: str, *columns: np.ndarray) -> np.ndarray:
    """A uniform 64-bit key per row of integer `columns` (equal lengths): uint64[rows].

    Starting from `keyed(seed, purpose)`, each column is added and mixed by the finalizer of SplitMix64 (Steele, Lea and
    Flood, 2014): a bijection of 64 bits, so that rows which differ in one column only never collide.
    """
    import numpy as np

    key = np.full(len(columns[0]) if columns else 0, keyed(seed, purpose), dtype=np.uint64)
    for column in columns:
        key += column.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(30)
        key *= np.uint64(0xBF58476D1CE4E5B9)
        key ^= key >> np.uint64(27)
        key *= np.uint64(0x94D049BB133111EB)
        key ^= key >> np.uint64(31)
    return key
