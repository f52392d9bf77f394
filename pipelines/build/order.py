"""Rows with copies in, the copies that have to move out: the order of the corpus looked at a range of keys at a time.

Keys are made anew for every range, some 8 million copies of all: no list of all copies is ever there.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.plan import SPLITS, Entries, OrderedCopies, Separation, separate
from pile_toolkit.core.plan.order import PURPOSE
from pile_toolkit.core.seeds import KEY_RANGE, keyed
from pipelines.build import kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pipelines.build.rows import PlannedRows

COPIES_AT_ONCE = 1 << 23
_BIN_BITS = 12


class PlannedCopies(NamedTuple):
    """What the order of all copies depends on, by row of the plan: 15 bytes; `text` are keys of texts."""

    text: NDArray[np.uint64]
    ordinals: NDArray[np.uint32]
    copies: NDArray[np.uint16]
    splits: NDArray[np.uint8]


def order_keys(rows: PlannedRows, seed: int) -> NDArray[np.uint64]:
    """Where the keys of each row's copies begin, from its text hash."""
    keys, start = np.empty(len(rows), np.uint64), np.uint64(keyed(seed, PURPOSE))
    for first, hashes in rows.hashes():
        kernels.text_keys(start, hashes, keys[first : first + len(hashes)])
    return keys


def separate_copies(planned: PlannedCopies, seed: int, *, at_once: int = COPIES_AT_ONCE) -> Separation:
    """The copies of all splits that do not stand under their own keys; how many are beside their own text still.

    `at_once` copies are looked at together.
    """
    parts = []
    for split in range(len(SPLITS)):
        in_order = functools.partial(_in_order, planned, split, _ranges(planned, split, at_once))
        parts.append(separate(in_order, seed=seed))
    row, copy, key = (np.concatenate(column) for column in zip(*(part.moved for part in parts), strict=True))
    order = np.lexsort((copy, row))
    return Separation(Entries(row[order], copy[order], key[order]), sum(part.adjacent for part in parts))


def _ranges(planned: PlannedCopies, split: int, at_once: int) -> list[tuple[int, int, int]]:
    """(first key, last key, copies) of ranges that have some, and not many more than `at_once`."""
    counts = np.zeros(1 << _BIN_BITS, np.int64)
    kernels.count_copies(*planned, split, np.uint64(64 - _BIN_BITS), counts)
    width, ranges, low, count = KEY_RANGE >> _BIN_BITS, [], 0, 0
    for number, more in enumerate(counts.tolist()):
        if count and count + more > at_once:
            ranges.append((low, number * width - 1, count))
            low, count = number * width, 0
        count += more
    return [*ranges, (low, KEY_RANGE - 1, count)] if count else ranges


def _in_order(planned: PlannedCopies, split: int, ranges: list[tuple[int, int, int]]) -> Iterator[OrderedCopies]:
    for low, high, count in ranges:
        keys, text = np.empty(count, np.uint64), np.empty(count, np.uint64)
        row, copy = np.empty(count, np.int64), np.empty(count, np.uint16)
        kernels.gather_copies(*planned, split, np.uint64(low), np.uint64(high), keys, text, row, copy)
        order = np.argsort(keys)
        ordered = keys[order]
        if (ordered[1:] == ordered[:-1]).any():
            # Of equal keys the first row first, as `Entries.sorted` has them: rows ascend here.
            order = np.argsort(keys, kind="stable")
        yield OrderedCopies(ordered, text[order], row[order], copy[order])
