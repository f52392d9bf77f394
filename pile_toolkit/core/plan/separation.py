"""Copies in the order of their keys in, new keys for those beside a copy of their own text out: as few as that takes.

What has one text hash is one text here: copies of a document, its pieces, and equal texts that deduplication left. Of
copies beside each other all but the first are taken out; what stays is in order. Each one taken out is given a key
between two copies of other texts, one of a few keyed numbers where one fits, as it does unless a text has a large part
of all copies; else a place in the gaps that are left. Gaps run out only where a text has more than half of all copies,
and then what keeps its key is as little as can be.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, NamedTuple

from pile_toolkit.core.plan.order import Entries
from pile_toolkit.core.seeds import KEY_RANGE, keyed_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np

    # All copies in order, in parts of any size, as often as it is called.
    Scan = Callable[[], Iterable["OrderedCopies"]]

TRIES = 16
# Placed together, so that what is known of their tries stays under 200 MB.
_AT_ONCE = 1 << 18


class OrderedCopies(NamedTuple):
    """Some copies in the order of their keys; `text` is what `text_identities` gives for their text; equal lengths."""

    key: np.ndarray
    text: np.ndarray
    row: np.ndarray
    copy: np.ndarray


class Separation(NamedTuple):
    """Copies with their new keys, ascending by (row, copy), and how many still stand behind one of their own text."""

    moved: Entries
    adjacent: int


def separate(scan: Scan, *, seed: int) -> Separation:
    """New keys for copies that stand behind one of their own text; `scan` gives all copies in order, in parts.

    It is called once where there are none. The result does not depend on the parts. In memory: a part, and of the
    copies that are moved some 600 bytes each; where gaps run short, 24 bytes of every copy.
    """
    repeated = _repeated(scan)
    if not len(repeated.key):
        return Separation(Entries.none(), 0)
    placed = _Placed()
    left = []
    for first in range(0, len(repeated.key), _AT_ONCE):
        left += _try(scan, repeated, first, placed, seed)
    stuck = _fill(scan, repeated, left, placed, seed) if left else 0
    return Separation(placed.entries(repeated), stuck)


def _repeated(scan: Scan) -> OrderedCopies:
    """The copies behind one of their own text."""
    import numpy as np

    none = (np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.uint16))
    found, last = [OrderedCopies(*none)], np.uint64(0)
    for part in scan():
        again = _follows(part.text, last)
        if again.any():
            found.append(OrderedCopies(*(column[again] for column in part)))
        last = part.text[-1] if len(part.text) else last
    return OrderedCopies(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def _follows(text: np.ndarray, last: np.uint64) -> np.ndarray:
    """Where a text is that of the copy before; `last` stands before the first."""
    import numpy as np

    again = np.empty(len(text), bool)
    again[1:] = text[1:] == text[:-1]
    again[:1] = text[:1] == last
    return again


def _staying(scan: Scan) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(keys, texts) of the others, in parts with at least one."""
    import numpy as np

    last = np.uint64(0)
    for part in scan():
        stays = ~_follows(part.text, last)
        if stays.any():
            yield part.key[stays], part.text[stays]
        last = part.text[-1] if len(part.text) else last


class _Neighbours(NamedTuple):
    """Of points: key and text of the copy before, text and key of the one after; text 0 where there is none."""

    before: np.ndarray
    text_before: np.ndarray
    after: np.ndarray
    text_after: np.ndarray


def _neighbours(scan: Scan, points: np.ndarray) -> _Neighbours:
    """The staying copies next to ascending `points`; one with the very key of a point counts as after it."""
    import numpy as np

    found = _Neighbours(*(np.zeros(len(points), np.uint64) for _ in range(4)))
    done, last_key, last_text = 0, np.uint64(0), np.uint64(0)
    for keys, texts in _staying(scan):
        end = int(np.searchsorted(points, keys[-1], "right"))
        some = slice(done, end)
        place = np.searchsorted(keys, points[some], "left")
        found.after[some], found.text_after[some] = keys[place], texts[place]
        first = place == 0
        found.before[some] = np.where(first, last_key, keys[place - 1])
        found.text_before[some] = np.where(first, last_text, texts[place - 1])
        done, last_key, last_text = end, keys[-1], texts[-1]
    found.before[done:], found.text_before[done:] = last_key, last_text
    return found


class _Placed:
    """The copies that have a new key so far, in the order of these."""

    def __init__(self) -> None:
        self._keys: list[int] = []
        # Of each key the text and the number of the copy among the repeated ones.
        self._at: dict[int, tuple[int, int]] = {}

    def fits(self, key: int, text: int, before: tuple[int, int], after: tuple[int, int]) -> bool:
        """Whether a text may stand at a key between these staying copies, (key, text), and those placed."""
        if key in self._at or (after[1] and key == after[0]):
            return False
        place = bisect.bisect_left(self._keys, key)
        if place and (not before[1] or self._keys[place - 1] > before[0]):
            before = (self._keys[place - 1], self._at[self._keys[place - 1]][0])
        if place < len(self._keys) and (not after[1] or self._keys[place] < after[0]):
            after = (self._keys[place], self._at[self._keys[place]][0])
        return text not in (before[1], after[1])

    def add(self, key: int, text: int, number: int) -> None:
        bisect.insort(self._keys, key)
        self._at[key] = (text, number)

    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """(keys, texts), ascending."""
        import numpy as np

        return np.array(self._keys, np.uint64), np.array([self._at[key][0] for key in self._keys], np.uint64)

    def entries(self, repeated: OrderedCopies) -> Entries:
        """All of them by (row, copy)."""
        import numpy as np

        numbers = np.array([self._at[key][1] for key in self._keys], np.int64)
        row, copy = repeated.row[numbers], repeated.copy[numbers]
        order = np.lexsort((copy, row))
        return Entries(row[order], copy[order], np.array(self._keys, np.uint64)[order])


def _try(scan: Scan, repeated: OrderedCopies, first: int, placed: _Placed, seed: int) -> list[int]:
    """Places some copies at the first of their keyed numbers that fits; those for which none does."""
    import numpy as np

    old, text = repeated.key[first : first + _AT_ONCE], repeated.text[first : first + _AT_ONCE]
    points = np.stack([keyed_columns(seed, "apart", old, np.full(len(old), turn)) for turn in range(TRIES)], axis=1)
    order = np.argsort(points.ravel(), kind="stable")
    known = _neighbours(scan, points.ravel()[order])
    around = _Neighbours(*(np.empty_like(points) for _ in known))
    for column, values in zip(around, known, strict=True):
        column.reshape(-1)[order] = values
    left = []
    for place in range(len(old)):
        rows = zip(points[place].tolist(), *(column[place].tolist() for column in around), strict=True)
        own = int(text[place])
        for key, before, text_before, after, text_after in rows:
            if placed.fits(key, own, (before, text_before), (after, text_after)):
                placed.add(key, own, first + place)
                break
        else:
            left.append(first + place)
    return left


def _fill(scan: Scan, repeated: OrderedCopies, left: list[int], placed: _Placed, seed: int) -> int:
    """Places the copies for which no try fitted into gaps, text after text, as long as there are any; how many stay."""
    import numpy as np

    parts = [*_staying(scan), placed.columns()]
    keys, texts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(keys, kind="stable")
    keys, texts = keys[order], texts[order]
    waiting: dict[int, list[int]] = {}
    for number in left:
        waiting.setdefault(int(repeated.text[number]), []).append(number)
    moving = True
    while moving:
        moving = False
        for text in sorted(waiting):
            gaps, found = _free_gaps(keys, texts, np.uint64(text), seed)
            gaps, found = gaps[: len(waiting[text])], found[: len(waiting[text])]
            for number, key in zip(waiting[text], found.tolist(), strict=False):
                placed.add(key, text, number)
            waiting[text] = waiting[text][len(gaps) :]
            order = np.argsort(gaps)
            keys = np.insert(keys, gaps[order], found[order])
            texts = np.insert(texts, gaps[order], np.uint64(text))
            moving |= len(gaps) > 0
    return sum(map(len, waiting.values()))


def _free_gaps(keys: np.ndarray, texts: np.ndarray, text: np.uint64, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(place before which it is, key in it) of all gaps beside which a text does not stand, in an order by key.

    Gaps are before the first copy, between two, and behind the last; one between neighbouring numbers is none.
    """
    import numpy as np

    largest = np.uint64(KEY_RANGE - 1)
    own = np.concatenate([[False], texts == text, [False]])
    # The largest number of all is given to nobody.
    least = np.concatenate([np.zeros(1, np.uint64), keys + (keys < largest)])
    end = np.concatenate([keys, [largest]])
    gaps = np.flatnonzero(~own[1:] & ~own[:-1] & (least < end))
    chance = keyed_columns(seed, "gap", least[gaps], np.full(len(gaps), text))
    order = np.argsort(chance, kind="stable")
    gaps, chance = gaps[order], chance[order]
    return gaps, least[gaps] + chance % (end[gaps] - least[gaps])
