"""C4's rules for lines and pages, decided as datatrove's C4QualityFilter without its count of sentences, and mC4's.

Counting sentences needs a splitter that was trained on one language; `min_lines` is there instead, off by default.
Source: Raffel et al. 2020 (JMLR 21/140) 2.2; Xue et al. 2021 (arXiv:2010.11934) 3.1; datatrove 0.10, c4_filters.py.
"""

from __future__ import annotations

import heapq
import re
from typing import TYPE_CHECKING

import msgspec

from pipelines.filters.registry import Count, Dropped, Edited, document_edit, document_filter

if TYPE_CHECKING:
    from pipelines.filters.document import Text

_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_ENDS = (".", "?", "!", '"', "'")
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


class C4Quality(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line stays that ends in punctuation, has `min_words_per_line` and speaks of neither scripts nor policies."""

    min_words_per_line: Count = 3
    max_word_length: Count | None = 1000
    terminal_punctuation: bool = True
    citations: bool = True
    lorem_ipsum: bool = True
    javascript: bool = True
    curly_bracket: bool = True
    policy: bool = True
    min_lines: Count | None = None


@document_edit(C4Quality, version=1, source="C4 (JMLR 21/140) 2.2; datatrove C4QualityFilter, min_num_sentences=-1")
def c4_quality(document: Text, options: C4Quality) -> Edited | Dropped | None:
    """Lines that are no sentences are cut; pages with a curly bracket or lorem ipsum go."""
    lines = []
    for line in document.lines:
        kept = _line(line.strip(), options)
        if isinstance(kept, Dropped):
            return kept
        if kept is not None:
            lines.append(kept)
    if options.min_lines is not None and len(lines) < options.min_lines:
        return Dropped("too_few_lines", len(lines), options.min_lines)
    text = "\n".join(lines).strip()
    if not text:
        return Dropped("no_line_left")
    return None if text == document.text else Edited(text, {"lines_cut": len(document.lines) - len(lines)})


def _line(line: str, options: C4Quality) -> str | Dropped | None:
    """A line as it stays, None where it goes, or why the whole page does."""
    words = line.split()
    if options.max_word_length is not None and any(len(word) > options.max_word_length for word in words):
        return None
    if options.citations and "[" in line:
        line = _CITATION.sub("", line)
    if options.terminal_punctuation and (not line.endswith(_ENDS) or line.endswith("...")):
        return None
    if len(words) < options.min_words_per_line:
        return None
    folded = line.lower()
    if options.lorem_ipsum and "lorem ipsum" in folded:
        return Dropped("lorem_ipsum")
    if options.javascript and "javascript" in folded:
        return None
    if options.curly_bracket and "{" in line:
        return Dropped("curly_bracket")
    if options.policy and any(policy in folded for policy in _POLICIES):
        return None
    return line


class C4Paragraphs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page needs `min_paragraphs` lines of `min_characters` or more."""

    min_paragraphs: Count = 3
    min_characters: Count = 200


@document_filter(C4Paragraphs, version=1, source="mC4 (arXiv:2010.11934) 3.1; datatrove C4ParagraphFilter")
def c4_paragraphs(document: Text, options: C4Paragraphs) -> Dropped | None:
    """Pages with too few long lines."""
    if options.min_paragraphs == 0:
        return None
    longest = heapq.nlargest(options.min_paragraphs, map(len, document.text.split("\n")))
    if len(longest) < options.min_paragraphs:
        return Dropped("too_few_paragraphs", len(longest), options.min_paragraphs)
    if longest[-1] < options.min_characters:
        return Dropped("paragraphs_too_short", longest[-1], options.min_characters)
    return None
