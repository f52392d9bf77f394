"""How long a document is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipelines.filters.registry import Count, Dropped, document_filter

if TYPE_CHECKING:
    from pipelines.filters.document import Text


class Length(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits, all inclusive; what is absent does not count."""

    min_characters: Count | None = None
    max_characters: Count | None = None
    min_words: Count | None = None
    max_words: Count | None = None

    def __post_init__(self) -> None:
        if all(getattr(self, name) is None for name in self.__struct_fields__):
            raise ValueError(f"no limit is given: {', '.join(self.__struct_fields__)}")


@document_filter(Length, version=1, source="characters and words as in dolma's length taggers")
def length(document: Text, options: Length) -> Dropped | None:
    """Documents that are too short or too long."""
    characters = len(document.text)
    if options.min_characters is not None and characters < options.min_characters:
        return Dropped("too_few_characters", characters, options.min_characters)
    if options.max_characters is not None and characters > options.max_characters:
        return Dropped("too_many_characters", characters, options.max_characters)
    if options.min_words is None and options.max_words is None:
        return None
    words = len(document.words)
    if options.min_words is not None and words < options.min_words:
        return Dropped("too_few_words", words, options.min_words)
    if options.max_words is not None and words > options.max_words:
        return Dropped("too_many_words", words, options.max_words)
    return None


class Blank(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing to choose."""


@document_filter(Blank, version=1, source="the Pile's ablation_dedupe/make_deduped.py: x[0].strip()")
def blank(document: Text, options: Blank) -> Dropped | None:
    """Documents without text, or of white space only."""
    return None if document.text and not document.text.isspace() else Dropped("blank")


class ShorterThan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`characters` are already too many."""

    characters: Count = 100_000


@document_filter(ShorterThan, version=1, source="the Pile's the_pile/datasets.py: of GitHub, len(x[0]) < 100000")
def shorter_than(document: Text, options: ShorterThan) -> Dropped | None:
    """Documents as long as the original left out of GitHub."""
    characters = len(document.text)
    return None if characters < options.characters else Dropped("too_many_characters", characters, options.characters)
