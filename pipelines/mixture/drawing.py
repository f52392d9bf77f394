"""Epochs and documents in, copies out as the original builder of the Pile draws them: bit for bit its numbers.

EleutherAI/the-pile, the_pile/pile.py (`PileReplication`, commit df97f86): which component comes next is drawn by
`random.Random(42).choices` with probability proportional to epochs x number of documents, its documents come in an
endless cycle in order, and after the document with which the bytes exceed the sum of size x epochs it ends. So the
copies of two documents of one component differ by at most one, and its epochs are only about those asked for.

Two details as they are there: a document without text takes its turn (its filter looks at pairs of text and meta,
which are never empty), and the sum of bytes is exceeded by the last document, not met.
"""

from __future__ import annotations

import math
import random
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

SEED = 42
# The list in the_pile/pile.py; Pile-CC is appended to it. It says which part of a drawn number means which component.
ORIGINAL_ORDER = (
    "pubmed-central",
    "arxiv",
    "freelaw",
    "uspto-backgrounds",
    "pubmed-abstracts",
    "philpapers",
    "nih-exporter",
    "openwebtext2",
    "stackexchange",
    "wikipedia-en",
    "books3",
    "gutenberg-pg-19",
    "bookcorpus2",
    "github",
    "ubuntu-irc",
    "hackernews",
    "europarl",
    "youtubesubtitles",
    "opensubtitles",
    "dm-mathematics",
    "enron-emails",
    "pile-cc",
)
# Draws at once, the first time and at most: their counts per component are all that is kept of them.
_FIRST_DRAWS, _MOST_DRAWS = 1 << 12, 1 << 20
_MOST_COPIES = 65_535


class _Cycle(NamedTuple):
    """The documents of one component, again and again."""

    sizes: np.ndarray
    total: int

    def bytes_of(self, first: int, count: int) -> int:
        """Bytes of `count` documents from turn `first` on."""
        cycles, rest = divmod(count, len(self.sizes))
        start = first % len(self.sizes)
        wrapped = max(0, start + rest - len(self.sizes))
        parts = self.sizes[start : start + rest], self.sizes[:wrapped]
        return cycles * self.total + sum(int(part.sum(dtype="int64")) for part in parts)


def drawn_turns(epochs: Mapping[str, float], document_bytes: Mapping[str, np.ndarray]) -> dict[str, int]:
    """How many documents of each component are drawn, from the UTF-8 bytes of its documents in order.

    Its documents come in a cycle, so that each has turns // documents copies and the first turns % documents one more.
    Components that the original does not know come after its own, as they are given. Raises UsageError where no text
    would ever be drawn, and for more copies than a document can have.
    """
    places = {slug: place for place, slug in enumerate(ORIGINAL_ORDER)}
    order = sorted(document_bytes, key=lambda slug: places.get(slug, len(places)))
    turns = _drawn([epochs[slug] for slug in order], [document_bytes[slug] for slug in order])
    return dict(zip(order, turns, strict=True))


def drawn_copies(epochs: Sequence[float], document_bytes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Copies of each document of each component, uint16, components in the order of the original's list.

    Raises as `drawn_turns` does.
    """
    turns = _drawn(epochs, document_bytes)
    return [_copies(count, len(sizes)) for count, sizes in zip(turns, document_bytes, strict=True)]


def _drawn(epochs: Sequence[float], document_bytes: Sequence[np.ndarray]) -> list[int]:
    cycles = [_Cycle(sizes, int(sizes.sum(dtype="int64"))) for sizes in document_bytes]
    # `sum` is another one from Python 3.12 on; the original added one float after the other.
    weight = _added([float(weight) * len(cycle.sizes) for weight, cycle in zip(epochs, cycles, strict=True)])
    limit = _added([cycle.total * float(weight) for weight, cycle in zip(epochs, cycles, strict=True)])
    if not limit > 0:
        raise UsageError("the drawing has no text to draw", hint="weights above 0 for components with documents")
    probability = [float(part) * len(cycle.sizes) / weight for part, cycle in zip(epochs, cycles, strict=True)]
    turns = _turns(list(accumulate(probability)), cycles, math.floor(limit))
    for count, cycle in zip(turns, cycles, strict=True):
        if count >= _MOST_COPIES * max(len(cycle.sizes), 1):
            raise UsageError(
                f"{count:,} turns of {len(cycle.sizes):,} documents were drawn, a document has at most "
                f"{_MOST_COPIES:,} copies",
                hint="smaller weights",
            )
    return turns


def _added(numbers: Sequence[float]) -> float:
    result = 0.0
    for number in numbers:
        result += number
    return result


def _turns(cumulated: list[float], cycles: Sequence[_Cycle], limit_bytes: int) -> list[int]:
    """How often each component is drawn until the bytes exceed the limit."""
    numbers = _random_numbers()
    turns, drawn_bytes, draws = [0] * len(cycles), 0, _FIRST_DRAWS
    while True:
        drawn = numbers.random_sample(draws) * cumulated[-1]
        # `choices` bisects to the right in all but the last: a number chooses as many as are not above it.
        above = [len(drawn), *(int((drawn >= bound).sum()) for bound in cumulated[:-1]), 0]
        counts = [above[place] - above[place + 1] for place in range(len(cycles))]
        block = sum(
            cycle.bytes_of(first, count) for cycle, first, count in zip(cycles, turns, counts, strict=True) if count
        )
        if drawn_bytes + block > limit_bytes:
            counts = _until(drawn, cumulated, cycles, turns, limit_bytes - drawn_bytes)
        turns = [first + count for first, count in zip(turns, counts, strict=True)]
        drawn_bytes, draws = drawn_bytes + block, min(2 * draws, _MOST_DRAWS)
        if drawn_bytes > limit_bytes:
            return turns


def _random_numbers() -> np.random.RandomState:
    """The numbers of `random.Random(42).random()`: numpy's generator is the same one, set to the same state."""
    import numpy as np

    *state, position = random.Random(SEED).getstate()[1]
    numbers = np.random.RandomState()
    numbers.set_state(("MT19937", np.array(state, np.uint32), position, 0, 0.0))
    return numbers


def _until(
    drawn: np.ndarray, cumulated: list[float], cycles: Sequence[_Cycle], turns: list[int], left_bytes: int
) -> list[int]:
    """Counts of each component up to and with the document that exceeds `left_bytes`."""
    import numpy as np

    component = np.searchsorted(cumulated[:-1], drawn, side="right")
    sizes = np.zeros(len(drawn), np.int64)
    for number, cycle in enumerate(cycles):
        mine = np.flatnonzero(component == number)
        if len(mine):
            sizes[mine] = cycle.sizes[(turns[number] + np.arange(len(mine))) % len(cycle.sizes)]
    end = int(np.argmax(np.cumsum(sizes) > left_bytes)) + 1
    return np.bincount(component[:end], minlength=len(cycles)).tolist()


def _copies(turns: int, documents: int) -> np.ndarray:
    import numpy as np

    cycles, rest = divmod(turns, documents) if documents else (0, 0)
    copies = np.full(documents, cycles, np.uint16)
    copies[:rest] += 1
    return copies
