"""What a comparison finds, as data: `pile tokenizer compare --json` prints it, the page and the tables are made of it.

All text in it is printable: what would move a terminal's cursor or turn its writing stands as its escape.
"""

from __future__ import annotations

import re

import msgspec

from tokenizer.comparing.published import IN_THE_PAPER, PublishedRow

TOTAL = "total"
_LONG_RUN = re.compile(r"(.)\1{15,}")


class TokenCounts(msgspec.Struct, frozen=True, kw_only=True):
    """By tokenizer; None where nothing can be divided. `ratio` is tokens over those of the first tokenizer."""

    tokens: dict[str, int]
    bytes_per_token: dict[str, float | None]
    ratio: dict[str, float | None]


class ComparisonRow(TokenCounts, frozen=True, kw_only=True):
    """One component, or all of them: UTF-8 bytes of its texts and tokens.

    `without_white_space` counts again without tokens that are white space: a token whose bytes are UTF-8 of at least
    one character and of none that `str.isspace` denies. Its `bytes_per_token` are of the bytes of the tokens counted.
    """

    component: str
    documents: int
    bytes: int
    without_white_space: TokenCounts


class LongToken(msgspec.Struct, frozen=True, kw_only=True):
    """One of the longest tokens of a vocabulary, and how often it occurred."""

    id: int
    token: str
    bytes: int
    occurrences: int


class UnusedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that never occurred."""

    id: int
    token: str


class VocabularyUse(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of a tokenizer and those of them that never occurred; special tokens in a text are text, so never do.

    `longest` are the longest by bytes, then by id; `examples` the unused of the lowest ids (that training met most),
    special tokens and single bytes not among them.
    """

    ids: int
    unused: int
    unused_special: int
    unused_bytes: int
    examples: tuple[UnusedToken, ...]
    longest: tuple[LongToken, ...]


class WorstDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document that takes many tokens: where it is and how it begins."""

    component: str
    place: str
    bytes: int
    tokens: int
    bytes_per_token: float
    begins: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Tokenizers over the same texts. Rows in the order in which components first came, `total` their sum.

    `without_text` counts lines that had no `text` and came with all their strings, `rejected` those passed over.
    """

    data: str
    encoders: tuple[str, ...]
    rows: tuple[ComparisonRow, ...]
    total: ComparisonRow
    vocabularies: dict[str, VocabularyUse]
    # By tokenizer, those with the fewest bytes per token first; of equal ones the first that came.
    worst: dict[str, tuple[WorstDocument, ...]]
    without_text: int = 0
    rejected: int = 0
    first_rejected: str | None = None
    in_the_paper: tuple[PublishedRow, ...] = IN_THE_PAPER


def printable(text: str) -> str:
    """Text on one line that does nothing to a terminal or to the direction of writing."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def quoted(token: str) -> str:
    """A token in quotes; a character that is repeated often stands once, with how often: `' ' × 512`."""
    parts, at = [], 0
    for run in _LONG_RUN.finditer(token):
        parts += [f"'{token[at : run.start()]}'"] if run.start() > at else []
        parts.append(f"'{run[1]}' × {len(run[0])}")
        at = run.end()
    return " + ".join([*parts, f"'{token[at:]}'"] if at < len(token) or not parts else parts)
