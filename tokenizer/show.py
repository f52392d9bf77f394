"""Encoders and a text in; ids, bytes and readable pieces of its tokens out, to be set side by side.

Figures 8-13 of the GPT-NeoX-20B paper (Black et al., 2022, arXiv:2204.06745) show texts in this way. Whatever a
terminal or a browser would obey, hide or reorder is a code here: text from outside is looked at, never followed.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizer.encoder import Encoder

# What a mark that combines with nothing in its token stands on.
DOTTED_CIRCLE = "\N{DOTTED CIRCLE}"
VARIATION_SELECTORS = frozenset(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))


class ShownTokens(msgspec.Struct, frozen=True, kw_only=True):
    """A text under one tokenizer. `bytes` are hexadecimal; `ratio` is to the count of the first, None where that is 0.

    Together the bytes are the text, where the tokenizer normalizes (NFC) or puts a space before it the text as it sees
    it.
    """

    tokenizer: str
    count: int
    ratio: float | None
    ids: list[int]
    tokens: list[str]
    bytes: list[str]


class SideBySide(ShownTokens, frozen=True, kw_only=True):
    """The tokens of the first tokenizer, and those of the others."""

    others: list[ShownTokens] = msgspec.field(name="with")


class Part(NamedTuple):
    """A part of a token: `text` as it prints, spaces, one line break or tab, a byte (`e2`), a code point (`U+202E`)."""

    kind: Literal["text", "space", "newline", "tab", "byte", "code"]
    text: str


def show_tokens(encoders: Sequence[tuple[str, Encoder]], text: str) -> SideBySide:
    """The tokens of a text under each of the named encoders.

    Raises UsageError without an encoder, CorruptData for a lone surrogate in the text.
    """
    if not encoders:
        raise UsageError("there is no tokenizer to show a text with", hint="show_tokens([(name, encoder)], text)")
    first, *others = [_shown(name, encoder, text) for name, encoder in encoders]
    compared = [msgspec.structs.replace(other, ratio=_ratio(other, first)) for other in others]
    fields = msgspec.structs.asdict(first) | {"ratio": _ratio(first, first)}
    return SideBySide(**fields, others=compared)


def parts(piece: bytes) -> list[Part]:
    """The bytes of a token as what can be shown, in order. Bytes that are no whole character stand alone."""
    found: list[Part] = []
    for char in piece.decode("utf-8", "surrogateescape"):
        part = _part(char)
        previous = found[-1] if found else None
        if part.kind == "text" and unicodedata.combining(char) and (previous is None or previous.kind != "text"):
            part = Part("text", DOTTED_CIRCLE + char)
        if previous is not None and part.kind == previous.kind and part.kind in ("text", "space"):
            found[-1] = Part(part.kind, previous.text + part.text)
        else:
            found.append(part)
    return found


def _part(char: str) -> Part:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return Part("byte", f"{code - 0xDC00:02x}")
    if char in (" ", "\n", "\t"):
        return Part({" ": "space", "\n": "newline", "\t": "tab"}[char], char)  # type: ignore[arg-type]
    # Python's tables know what prints: control and format characters (escape sequences, changes of direction, joiners),
    # other blanks and unassigned code points do not.
    if char.isprintable() and char not in VARIATION_SELECTORS:
        return Part("text", char)
    return Part("code", f"U+{code:04X}")


def _shown(name: str, encoder: Encoder, text: str) -> ShownTokens:
    ids = encoder.encode(text).tolist()
    return ShownTokens(
        tokenizer=name,
        count=len(ids),
        ratio=None,
        ids=ids,
        tokens=[encoder.token(token_id) for token_id in ids],
        bytes=[encoder.token_bytes(token_id).hex() for token_id in ids],
    )


def _ratio(shown: ShownTokens, first: ShownTokens) -> float | None:
    return shown.count / first.count if first.count else None
