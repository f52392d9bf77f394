"""Small things that several kinds of document share: titles, runs of sentences, the note where a text comes from."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, TypeVar

from pipelines.sample.passages import sentences
from pipelines.sample.slices import portions, prose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pipelines.sample.draw import Draw
    from pipelines.sample.passages import Listing, Passage

_T = TypeVar("_T")
_NAMED_SOURCES = 3
_ROMAN = ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))


def sources(items: Iterable[Passage | Listing]) -> str:
    """ "email/header.py, email/iterators.py and 2 more"."""
    names = list(dict.fromkeys(item.source for item in items))
    more = len(names) - _NAMED_SOURCES
    return ", ".join(names[:_NAMED_SOURCES]) + (f" and {more} more" if more > 0 else "")


def prose_portions(slug: str, draw: Draw, *, low_chars: int, high_chars: int) -> Iterator[list[Passage]]:
    """The component's passages that hold sentences, in portions as long as its documents."""
    spoken = [passage for passage in prose(slug) if sentences(passage.text)]
    return portions(spoken, draw, low_chars=low_chars, high_chars=high_chars, length=lambda passage: len(passage.text))


def all_sentences(passages: Iterable[Passage]) -> list[str]:
    return [sentence for passage in passages for sentence in sentences(passage.text)]


def runs(items: Sequence[_T], draw: Draw, low: int, high: int) -> Iterator[list[_T]]:
    """Consecutive items in runs of `low` to `high`, such as the sentences of paragraphs."""
    start = 0
    while start < len(items):
        stop = start + draw.between(low, high)
        yield list(items[start:stop])
        start = stop


def subject(owner: str) -> str:
    """What a text about a dotted name is about: "email.parser.BytesParser" -> "Bytes Parser"."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", owner.split(".")[-1]).replace("_", " ").split()
    return " ".join(word if word.isupper() else word.capitalize() for word in words) or "Notes"


def headline(sentence: str, limit_words: int = 12) -> str:
    """The opening words of a sentence, as a title."""
    words = sentence.rstrip(".!?:;").split()
    title = " ".join(words[:limit_words]).rstrip(",;:(-")
    return title[:1].upper() + title[1:]


def wrapped(text: str, width: int, indent: str = "") -> str:
    return "\n".join(
        textwrap.wrap(
            text, width, initial_indent=indent, subsequent_indent=indent,
            break_long_words=False, break_on_hyphens=False,
        )
    )  # fmt: skip


def roman(number: int) -> str:
    written = ""
    for value, letters in _ROMAN:
        written += letters * (number // value)
        number %= value
    return written
