"""A component in, its slice of the library out: which passages and listings it is written from, and in what portions.

The sections of the library (a top-level class or function with all that is said in it) stand on a circle of 1,000
places, each at its own place by its name. The components lie end to end around it, each as wide as its share. The
shares of prose add up to 2,000, twice around, so that every passage is quoted by two components, and never by all; the
shares of code add up to 1,000.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeVar

from pile_toolkit.core.seeds import keyed
from pipelines.sample.passages import held_back_listings, library_passages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pipelines.sample.draw import Draw
    from pipelines.sample.passages import Listing, Passage

_SEED = 22
_PLACES = 1000
_T = TypeVar("_T")

_PROSE_SHARES = {
    "pubmed-central": 250,
    "openwebtext2": 200,
    "arxiv": 170,
    "freelaw": 200,
    "uspto-backgrounds": 150,
    "pubmed-abstracts": 140,
    "opensubtitles": 90,
    "wikipedia-en": 110,
    "ubuntu-irc": 90,
    "bookcorpus2": 110,
    "europarl": 90,
    "hackernews": 80,
    "youtubesubtitles": 100,
    "philpapers": 110,
    "nih-exporter": 50,
    "enron-emails": 60,
}
_CODE_SHARES = {
    "pile-cc": 360,
    "books3": 280,
    "stackexchange": 190,
    "pubmed-central": 100,
    "arxiv": 70,
}


def prose(slug: str) -> list[Passage]:
    """The passages a component is written from, in the order of the library."""
    return [
        passage
        for passage in library_passages()
        if _is_in_slice(_PROSE_SHARES, slug, _place("prose", f"{passage.source}:{passage.section}"))
    ]


def code(slug: str) -> list[Listing]:
    """The classes and functions a component quotes, in the order of the library; no two components share one."""
    return [
        listing for listing in held_back_listings() if _is_in_slice(_CODE_SHARES, slug, _place("code", listing.owner))
    ]


def portions(
    items: Sequence[_T], draw: Draw, *, low_chars: int, high_chars: int, length: Callable[[_T], int]
) -> Iterator[list[_T]]:
    """Consecutive items, gathered until they are as long as a document should be.

    A remainder below half of `low_chars` joins the last document.
    """
    gathered: list[list[_T]] = [[]]
    chars, wanted = 0, draw.between(low_chars, high_chars)
    for item in items:
        if chars >= wanted:
            gathered.append([])
            chars, wanted = 0, draw.between(low_chars, high_chars)
        gathered[-1].append(item)
        chars += length(item)
    if len(gathered) > 1 and chars < low_chars // 2:
        gathered[-2].extend(gathered.pop())
    yield from filter(None, gathered)


def _is_in_slice(shares: Mapping[str, int], slug: str, place: int) -> bool:
    start = 0
    for name, width in shares.items():
        if name == slug:
            return (place - start) % _PLACES < width
        start += width
    return False


@functools.lru_cache(maxsize=8192)
def _place(purpose: str, name: str) -> int:
    return keyed(_SEED, purpose, name.encode()) * _PLACES >> 64
