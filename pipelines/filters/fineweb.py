"""FineWeb's own rules, decided as datatrove's FineWebQualityFilter decides them when it is given the same words.

Source: Penedo et al. 2024 (arXiv:2406.17557), 3.4; datatrove 0.10, fineweb_quality_filter.py.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

import msgspec

from pipelines.filters.characters import TERMINAL
from pipelines.filters.registry import Count, Dropped, Ratio, Share, document_filter

if TYPE_CHECKING:
    from pipelines.filters.document import Text

_LAST = operator.itemgetter(-1)


class FinewebQuality(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of lines that are not blank. A short line has `short_line_characters` or fewer."""

    min_punctuated_lines_ratio: Share | None = 0.12
    max_short_lines_ratio: Share | None = 0.67
    short_line_characters: Count = 30
    max_duplicate_line_characters_ratio: Ratio | None = 0.01
    max_newlines_per_word: Ratio | None = 0.3


@document_filter(FinewebQuality, version=1, source="FineWeb (arXiv:2406.17557) 3.4; datatrove FineWebQualityFilter")
def fineweb_quality(document: Text, options: FinewebQuality) -> Dropped | None:
    """Pages that are lists: lines without an end of sentence, short or repeated lines, line breaks per word."""
    text = document.text
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    if not lines:
        return Dropped("blank")
    if (least := options.min_punctuated_lines_ratio) is not None:
        ratio = sum(map(TERMINAL.__contains__, map(_LAST, lines))) / len(lines)
        if ratio < least:
            return Dropped("too_few_lines_end_in_punctuation", ratio, least)
    if (most := options.max_short_lines_ratio) is not None:
        # A whole number compares itself faster than an expression compares it.
        ratio = sum(map(options.short_line_characters.__ge__, map(len, lines))) / len(lines)
        if ratio > most:
            return Dropped("too_many_short_lines", ratio, most)
    newlines = text.count("\n")
    if (most := options.max_duplicate_line_characters_ratio) is not None:
        repeated = sum(map(len, lines)) - sum(map(len, set(lines)))
        if (ratio := repeated / (len(text) - newlines)) > most:
            return Dropped("too_many_characters_in_duplicate_lines", ratio, most)
    if (most := options.max_newlines_per_word) is not None and (ratio := newlines / len(document.words)) > most:
        return Dropped("too_many_newlines", ratio, most)
    return None
