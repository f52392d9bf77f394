"""Signatures in, near-duplicate pairs and their clusters out, in memory, by datasketch's index."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xxhash

from pipelines.minhash.banding import bands
from pipelines.minhash.settings import SCHEME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np


def near_duplicate_pairs(signatures: np.ndarray, *, threshold: float, seed: int) -> Iterator[tuple[int, int]]:
    """Pairs of rows (the later one first) that share an LSH bucket at a Jaccard `threshold`, by datasketch.

    Of rows with equal signatures only the first is paired with others, and each of the rest with it: joined, the pairs
    are the same clusters, and a text that stands there a million times makes a million pairs, not their square.
    Raises UsageError as `bands` does.
    """
    from datasketch import MinHashLSH

    num_perm = signatures.shape[1]
    lsh = MinHashLSH(num_perm=num_perm, params=bands(num_perm=num_perm, threshold=threshold))
    sketches = _sketches(num_perm, seed)
    first_of: dict[bytes, int] = {}
    for row, signature in enumerate(signatures):
        # 128 bits of the signature, because the signatures themselves are in memory once already.
        first = first_of.setdefault(xxhash.xxh3_128_digest(signature.tobytes()), row)
        if first != row:
            yield row, first
            continue
        sketch = next(sketches)
        sketch.hashvalues = signature
        # Asked before it is inserted, so that each pair comes once.
        yield from ((row, other) for other in lsh.query(sketch))
        lsh.insert(row, sketch, check_duplication=False)


def _sketches(num_perm: int, seed: int) -> Iterator[Any]:
    from datasketch import MinHash

    first = MinHash(num_perm=num_perm, seed=seed, hashfunc=_identity, scheme=SCHEME)
    while True:
        # One draw of the permutations serves all.
        yield MinHash(num_perm=num_perm, seed=seed, hashfunc=_identity, scheme=SCHEME, permutations=first.permutations)


def _identity(value: int) -> int:
    return value


def join_pairs(count: int, pairs: Iterable[tuple[int, int]], rank: Sequence[int] | np.ndarray) -> array[int]:
    """The representative of each of `count` rows after joining `pairs`: the row of smallest `rank` in its cluster.

    Eight bytes a row beside `rank`, which may be an array of numpy.
    """
    # Machine numbers and not Python's; a view of them is read as fast as a list.
    parent = array("q", range(count))
    places = rank if isinstance(rank, Sequence) else rank.data

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for left, right in pairs:
        a, b = root(left), root(right)
        if a != b:
            # The smaller rank on top, so that the result does not depend on the order of the pairs.
            parent[a if places[a] > places[b] else b] = b if places[a] > places[b] else a
    for row in range(count):
        parent[row] = root(row)
    return parent
