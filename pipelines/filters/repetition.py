"""Gopher's repetition rules, decided as datatrove's GopherRepetitionFilter decides them, given the same words.

Source: Rae et al. 2021 (arXiv:2112.11446), table A1; datatrove 0.10, gopher_repetition_filter.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from pipelines.filters.registry import Dropped, Ratio, Share, document_filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.filters.document import Text

Words = Annotated[int, msgspec.Meta(ge=1, le=100)]


class GopherRepetition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of table A1. N-grams are pairs of their number of words and the largest share of a text's characters."""

    max_duplicate_lines_ratio: Share | None = 0.3
    max_duplicate_paragraphs_ratio: Share | None = 0.3
    max_duplicate_line_characters_ratio: Share | None = 0.2
    max_duplicate_paragraph_characters_ratio: Share | None = 0.2
    top_ngrams: tuple[tuple[Words, Ratio], ...] = ((2, 0.2), (3, 0.18), (4, 0.16))
    duplicate_ngrams: tuple[tuple[Words, Ratio], ...] = (
        (5, 0.15),
        (6, 0.14),
        (7, 0.13),
        (8, 0.12),
        (9, 0.11),
        (10, 0.1),
    )


@document_filter(GopherRepetition, version=1, source="Gopher (arXiv:2112.11446) table A1; datatrove GopherRepetition")
def gopher_repetition(document: Text, options: GopherRepetition) -> Dropped | None:
    """Documents that repeat themselves: lines, paragraphs, n-grams."""
    text = document.text
    if not text:
        return Dropped("blank")
    if (found := _repeated(_paragraphs(text), text, "paragraph", options)) is not None:
        return found
    if (found := _repeated(_lines(text), text, "line", options)) is not None:
        return found
    return _ngrams(document, options)


def _paragraphs(text: str) -> list[str]:
    """`re.split(r"\\n{2,}", text.strip())`, several times faster: of an odd number of line feeds one is left over."""
    parts = [part.lstrip("\n") for part in text.strip().split("\n\n")]
    return list(filter(None, parts)) or [""]


def _lines(text: str) -> list[str]:
    """`re.split(r"\\n+", text)`: nothing before the first line feed and behind the last are lines."""
    parts = list(filter(None, text.split("\n")))
    return [*([""] if text.startswith("\n") else []), *parts, *([""] if text.endswith("\n") else [])]


def _repeated(parts: list[str], text: str, kind: str, options: GopherRepetition) -> Dropped | None:
    """Lines or paragraphs of which an equal one stood before."""
    different = set(parts)
    if len(different) == len(parts):
        return None
    ratio = (len(parts) - len(different)) / len(parts)
    most = getattr(options, f"max_duplicate_{kind}s_ratio")
    if most is not None and ratio > most:
        return Dropped(f"too_many_duplicate_{kind}s", ratio, most)
    ratio = (sum(map(len, parts)) - sum(map(len, different))) / len(text)
    most = getattr(options, f"max_duplicate_{kind}_characters_ratio")
    if most is not None and ratio > most:
        return Dropped(f"too_many_characters_in_duplicate_{kind}s", ratio, most)
    return None


def _ngrams(document: Text, options: GopherRepetition) -> Dropped | None:
    words, characters = document.words, len(document.text)
    if not words or not _any_fits(words, options):
        return None
    # numba takes half a second to import: only where it is needed.
    from pipelines.filters.ngrams.counting import Ngrams

    ngrams = Ngrams(words)
    for n, most in options.top_ngrams:
        if (ratio := ngrams.top_characters(n) / characters) > most:
            return Dropped(f"too_frequent_{n}_gram", ratio, most)
    for n, most in options.duplicate_ngrams:
        if (ratio := ngrams.duplicate_characters(n) / characters) > most:
            return Dropped(f"too_many_duplicate_{n}_grams", ratio, most)
    return None


def _any_fits(words: Sequence[str], options: GopherRepetition) -> bool:
    return any(n <= len(words) for n, _ in (*options.top_ngrams, *options.duplicate_ngrams))
