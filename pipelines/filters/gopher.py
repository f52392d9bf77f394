"""Gopher's quality rules, decided as datatrove's GopherQualityFilter decides them when it is given the same words.

Source: Rae et al. 2021 (arXiv:2112.11446), appendix A.1.1; datatrove 0.10, gopher_quality_filter.py.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec

from pipelines.filters.characters import WITH_LETTER, WordKinds
from pipelines.filters.registry import Count, Dropped, Ratio, Share, document_filter

if TYPE_CHECKING:
    from pipelines.filters.document import Text

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_KINDS = WordKinds()


class GopherQuality(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Symbols are the hash sign and the ellipsis; words of punctuation only count for none of the first four limits."""

    min_words: Count | None = 50
    max_words: Count | None = 100_000
    min_mean_word_length: Ratio | None = 3.0
    max_mean_word_length: Ratio | None = 10.0
    max_symbol_word_ratio: Ratio | None = 0.1
    max_bullet_lines_ratio: Share | None = 0.9
    max_ellipsis_lines_ratio: Share | None = 0.3
    min_alpha_words_ratio: Share | None = 0.8
    min_stop_words: Count | None = 2
    stop_words: tuple[str, ...] = STOP_WORDS


@document_filter(GopherQuality, version=1, source="Gopher (arXiv:2112.11446) A.1.1; datatrove GopherQualityFilter")
def gopher_quality(document: Text, options: GopherQuality) -> Dropped | None:
    """Documents that do not read like prose: words, symbols, bullets, ellipses, letters, stop words."""
    # Nearly all words are letters only, and no letter is punctuation: the others are looked up.
    others = list(itertools.filterfalse(str.isalpha, document.words))
    kinds = list(map(_KINDS.__getitem__, others))
    return (
        _of_words(document, options, [word for word, kind in zip(others, kinds, strict=True) if not kind])
        or _of_lines(document, options)
        or _of_letters(document, options, len(document.words) - sum(kind < WITH_LETTER for kind in kinds))
    )


def _of_words(document: Text, options: GopherQuality, symbols: list[str]) -> Dropped | None:
    words = document.words
    counted, characters = len(words) - len(symbols), document.words_characters - sum(map(len, symbols))
    if options.min_words is not None and counted < options.min_words:
        return Dropped("too_few_words", counted, options.min_words)
    if options.max_words is not None and counted > options.max_words:
        return Dropped("too_many_words", counted, options.max_words)
    if counted:
        mean = characters / counted
        if options.min_mean_word_length is not None and mean < options.min_mean_word_length:
            return Dropped("words_too_short", mean, options.min_mean_word_length)
        if options.max_mean_word_length is not None and mean > options.max_mean_word_length:
            return Dropped("words_too_long", mean, options.max_mean_word_length)
    if (most := options.max_symbol_word_ratio) is not None and words:
        text = document.text
        if (ratio := text.count("#") / len(words)) > most:
            return Dropped("too_many_hashes", ratio, most)
        if (ratio := (text.count("...") + text.count("…")) / len(words)) > most:
            return Dropped("too_many_ellipses", ratio, most)
    return None


def _of_lines(document: Text, options: GopherQuality) -> Dropped | None:
    if not (lines := document.lines):
        return None
    text = document.text
    if (most := options.max_bullet_lines_ratio) is not None and ("-" in text or "•" in text):
        ratio = sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines)
        if ratio > most:
            return Dropped("too_many_bullets", ratio, most)
    if (most := options.max_ellipsis_lines_ratio) is not None and ("..." in text or "…" in text):
        ratio = sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines)
        if ratio > most:
            return Dropped("too_many_lines_end_in_ellipsis", ratio, most)
    return None


def _of_letters(document: Text, options: GopherQuality, with_letters: int) -> Dropped | None:
    words = document.words
    if (least := options.min_alpha_words_ratio) is not None and words:
        ratio = with_letters / len(words)
        if ratio < least:
            return Dropped("too_few_words_with_letters", ratio, least)
    if options.min_stop_words:
        found = len(set(options.stop_words).intersection(words))
        if found < options.min_stop_words:
            return Dropped("too_few_stop_words", found, options.min_stop_words)
    return None
