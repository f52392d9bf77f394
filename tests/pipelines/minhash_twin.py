"""Shingles and signatures as `docs/formats.md` defines them, in plain Python and by datasketch: slow and obvious."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import TYPE_CHECKING

import xxhash
from datasketch import MinHash
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pipelines.minhash import SignatureSettings

MASK = (1 << 64) - 1
# What folding meets: white space of Unicode and the separators of ASCII, case that changes length, marks that compose,
# move or stand alone, the final sigma, both Turkish letters, what looks like white space and is none, emoji.
SPACES = " \t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u200a\u2028\u2029\u202f\u205f\u3000"
OTHERS = (
    "abzABZ09!~[`@ßẞſŉİıΣσςΐΰﬃﬅＡÀéÉЖж\u0301\u0300\u0323\u0345\u0387\u200b\ufeff\u1e9e\u212b\u1100\u1161\u11a8\uac00中文٣"
    "𝟘𐐀😀\U0001f469\U0001f3fd\u200d\U000e0041"
)
PIECES = st.sampled_from(
    [
        "plain words of ASCII ",
        "x" * 63,
        "y" * 64,
        " " * 65,
        "CAPITALS AND Small ",
        "a\u0301" * 40,
        "ΐ" * 30,
        "中" * 25,
        ". ",
    ]
)
TEXTS = st.lists(
    st.text(st.sampled_from(SPACES), max_size=3)
    | st.text(st.sampled_from(OTHERS), max_size=8)
    | st.text(max_size=8)
    | PIECES,
    max_size=14,
).map("".join)


def folded(text: str, settings: SignatureSettings) -> str:
    text = unicodedata.normalize("NFC", text) if settings.nfc else text
    text = text.casefold() if settings.fold_case else text
    if settings.remove_punctuation:
        text = "".join(" " if unicodedata.category(character)[0] in "PS" else character for character in text)
    if settings.zero_digits:
        text = "".join("0" if unicodedata.category(character) == "Nd" else character for character in text)
    return " ".join(text.split()) if settings.fold_spaces else text


def shingles(text: str, settings: SignatureSettings) -> list[str]:
    text = folded(text, settings)
    units = text.split() if settings.unit == "words" else list(text)
    if not units:
        return []
    starts = range(max(1, len(units) - settings.size + 1))
    return [(" " if settings.unit == "words" else "").join(units[start : start + settings.size]) for start in starts]


def shingle_hash(shingle: str, settings: SignatureSettings) -> int:
    if settings.hash == "sha1":
        return int.from_bytes(hashlib.sha1(shingle.encode()).digest()[:4], "little")
    key = 0
    for unit in shingle.split(" ") if settings.unit == "words" else shingle:
        key = (key * 0xD6E8FEB86659FD93 + xxhash.xxh64_intdigest(unit.encode())) & MASK
    key ^= key >> 29
    key = key * 0xBF58476D1CE4E5B9 & MASK
    key ^= key >> 32
    return key & 0xFFFFFFFF


def hashes(text: str, settings: SignatureSettings) -> list[int]:
    return [shingle_hash(shingle, settings) for shingle in shingles(text, settings)]


def signature(text: str, settings: SignatureSettings) -> list[int]:
    """Datasketch's, shingle by shingle; with sha1 it hashes the shingle itself."""
    options = {"num_perm": settings.num_perm, "seed": settings.seed, "scheme": settings.scheme}
    if settings.hash == "sha1":
        sketch = MinHash(**options)
        for shingle in shingles(text, settings):
            sketch.update(shingle.encode())
    else:
        sketch = MinHash(hashfunc=lambda value: value, **options)
        sketch.update_batch(hashes(text, settings))
    return sketch.hashvalues.tolist()
