"""Lengths in, how often each occurs out: exact quantiles and histograms without a list of all documents.

In memory are 16 bytes per distinct length, of which a corpus has far fewer than documents, and at most PENDING more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

# In percent; `max` is beside them.
PERCENTILES = (1, 10, 25, 50, 75, 90, 99)
PENDING = 1 << 18


class LengthBucket(msgspec.Struct, frozen=True, kw_only=True):
    """Documents of `least` to `most` units, both included; the next bucket is twice as wide."""

    least: int
    most: int
    documents: int


class LengthStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How long documents are in one unit: `p50` is the smallest length that half of them do not exceed."""

    quantiles: dict[str, int]
    histogram: list[LengthBucket]


class Lengths(NamedTuple):
    """Distinct lengths, ascending, and how often each occurs: int64 of equal length."""

    values: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def documents(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    @property
    def total(self) -> int:
        """Their sum."""
        # Of Python's integers: petabytes times copies may leave 64 bits.
        return sum(
            int(part.sum()) for part in np.array_split(self.values * self.counts, 1 + len(self.values) // PENDING)
        )


EMPTY = Lengths(np.empty(0, np.int64), np.empty(0, np.int64))


def merged(parts: Iterable[Lengths]) -> Lengths:
    """All parts as one; lengths may occur in several of them, and several times in one."""
    parts = [part for part in parts if len(part.values)]
    if not parts:
        return EMPTY
    values, counts = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    order = np.argsort(values, kind="stable")
    values, counts = values[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    return Lengths(values[starts], np.add.reduceat(counts, starts))


class LengthTally:
    """Lengths of several groups of documents, each group under its key."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, int], list[Lengths]] = {}
        self._pending: dict[tuple[int, int], int] = {}

    def add(self, key: tuple[int, int], values: NDArray, counts: NDArray | None = None) -> None:
        """Adds lengths, each `counts` times, else once; those of count 0 do not occur."""
        values = values.astype(np.int64, copy=False)
        counts = np.ones(len(values), np.int64) if counts is None else counts.astype(np.int64, copy=False)
        some = counts > 0
        parts = self._parts.setdefault(key, [])
        parts.append(Lengths(values[some], counts[some]))
        self._pending[key] = self._pending.get(key, 0) + len(values)
        if self._pending[key] > PENDING:
            parts[:] = [merged(parts)]
            self._pending[key] = 0

    def rows(self) -> NDArray[np.int64]:
        """All of it as int64[rows, 4]: both parts of the key, length, count."""
        found = [np.empty((0, 4), np.int64)]
        for key in sorted(self._parts):
            lengths = merged(self._parts[key])
            found.append(np.column_stack([np.full((len(lengths.values), 2), key, np.int64), *lengths]))
        return np.concatenate(found)


def of_key(rows: NDArray[np.int64], key: tuple[int, int]) -> Lengths:
    """The lengths of one key among the rows of a tally."""
    mine = rows[(rows[:, 0] == key[0]) & (rows[:, 1] == key[1])]
    return Lengths(mine[:, 2], mine[:, 3])


def study(lengths: Lengths) -> LengthStatistics:
    """Quantiles and histogram, both exact."""
    return LengthStatistics(quantiles=quantiles(lengths), histogram=histogram(lengths))


def quantiles(lengths: Lengths) -> dict[str, int]:
    """`p1` to `p99` and `max`, each a length that occurs; none of no documents.

    Of n lengths in order, percentile p is number ceil(n * p / 100): numpy's `inverted_cdf`, in whole numbers.
    """
    if not len(lengths.values):
        return {}
    documents, upto = lengths.documents, np.cumsum(lengths.counts)
    found = {
        f"p{percent}": int(lengths.values[np.searchsorted(upto, max(-(-documents * percent // 100), 1))])
        for percent in PERCENTILES
    }
    return {**found, "max": int(lengths.values[-1])}


def histogram(lengths: Lengths) -> list[LengthBucket]:
    """Buckets of 0, 1, 2-3, 4-7 ... from the first to the last that is not empty."""
    # The exponent of frexp is the number of binary digits, exact for every length below 2^53.
    digits = np.frexp(lengths.values.astype(np.float64))[1]
    counts = np.zeros(65, np.int64)
    np.add.at(counts, digits, lengths.counts)
    filled = np.flatnonzero(counts)
    return [
        LengthBucket(least=(1 << bits) >> 1, most=(1 << bits) - 1, documents=int(counts[bits]))
        for bits in (range(int(filled[0]), int(filled[-1]) + 1) if filled.size else ())
    ]
