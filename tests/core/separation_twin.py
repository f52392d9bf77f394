"""A twin of the page's "Order" in plain Python: own keys of copies in, the keys of those that move out."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from pile_toolkit.core.seeds import KEY_RANGE, keyed

TRIES = 16


class Copy(NamedTuple):
    """One copy of one row; `text` is the text's hash, 16 bytes."""

    key: int
    row: int
    copy: int
    text: bytes


def column_key(seed: int, purpose: str, *columns: int) -> int:
    """A column key in whole numbers of Python."""
    return mixed(keyed(seed, purpose), *columns)


def mixed(key: int, *columns: int) -> int:
    """SplitMix64's finalizer after every column."""
    for value in columns:
        key = (key + value + 0x9E3779B97F4A7C15) % KEY_RANGE
        key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 % KEY_RANGE
        key = (key ^ key >> 27) * 0x94D049BB133111EB % KEY_RANGE
        key ^= key >> 31
    return key


def halves(digest: bytes) -> tuple[int, int]:
    """A hash as two columns."""
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def own_key(seed: int, text: bytes, ordinal: int, copy: int) -> int:
    """The key of a copy that is not moved."""
    return column_key(seed, "order", *halves(text), ordinal, copy)


def moved_keys(copies: list[Copy], seed: int) -> dict[tuple[int, int], int]:
    """New keys by (row, copy), of the copies of one split."""
    ordered = sorted(copies)
    pairs = list(zip([None, *ordered[:-1]], ordered, strict=True)) if ordered else []
    repeated = [copy for before, copy in pairs if before is not None and before.text == copy.text]
    # What stands, in order.
    standing = [copy for copy in ordered if copy not in repeated]
    found, left = {}, []
    for copy in repeated:
        for turn in range(TRIES):
            key = column_key(seed, "apart", copy.key, turn)
            below = [other.text for other in standing if other.key < key]
            above = [other.text for other in standing if other.key >= key]
            taken = any(other.key == key for other in standing)
            if not taken and copy.text not in (below[-1:] + above[:1]):
                found[copy.row, copy.copy] = key
                standing = sorted([*standing, copy._replace(key=key)])
                break
        else:
            left.append(copy)
    identity = {copy.text: column_key(seed, "order", *halves(copy.text)) | 1 for copy in left}
    before = None
    while left and len(left) != before:
        before = len(left)
        for text in sorted(identity, key=identity.__getitem__):
            mine = [copy for copy in left if copy.text == text]
            for copy, key in zip(mine, gap_keys(standing, text, identity[text], seed), strict=False):
                found[copy.row, copy.copy] = key
                standing = sorted([*standing, copy._replace(key=key)])
                left.remove(copy)
    return found


def gap_keys(standing: list[Copy], text: bytes, identity: int, seed: int) -> list[int]:
    """A key in each gap beside which a text does not stand, in the order in which they are taken."""
    edges = [(-1, b""), *((copy.key, copy.text) for copy in standing), (KEY_RANGE - 1, b"")]
    gaps = []
    for (below, left), (above, right) in itertools.pairwise(edges):
        if text not in (left, right) and below + 1 < above:
            chance = column_key(seed, "gap", below + 1, identity)
            gaps.append((chance, below + 1 + chance % (above - below - 1)))
    return [key for _, key in sorted(gaps)]


def in_order(copies: list[Copy], seed: int) -> list[Copy]:
    """The copies of a split in the order of the corpus, with the keys that they have there."""
    moved = moved_keys(copies, seed)
    return sorted(copy._replace(key=moved.get((copy.row, copy.copy), copy.key)) for copy in copies)


def adjacent(texts: list) -> int:
    """How often a text stands behind itself."""
    return sum(one == other for one, other in itertools.pairwise(texts))


def least_adjacent(texts: list) -> int:
    """How often one has to, in the best of all orders: a text with more than half of all places is beside itself."""
    most = max((texts.count(text) for text in set(texts)), default=0)
    return max(0, 2 * most - len(texts) - 1)
