"""Texts in, keep-list and clusters out, in memory: deduplication for notebooks."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.seeds import text_hash
from pipelines.minhash import NUM_PERM, SIGNATURE_SEED, join_pairs, minhash, near_duplicate_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable


class Deduplicated(msgspec.Struct, frozen=True, kw_only=True):
    """`keep[i]` says whether document i stays; `clusters` lists those of two or more, the kept document first."""

    keep: list[bool]
    clusters: list[list[int]]


def deduplicate(
    documents: Iterable[str], *, threshold: float = 0.8, num_perm: int = NUM_PERM, seed: int = SIGNATURE_SEED
) -> Deduplicated:
    """Exact and MinHash duplicates among texts; of a cluster the longest stays, of these the first.

    Raises UsageError where `threshold` is not inside (0, 1).
    """
    texts = list(documents)
    order = sorted(range(len(texts)), key=lambda number: (-len(texts[number].encode()), number))
    rank = [0] * len(texts)
    for place, number in enumerate(order):
        rank[number] = place
    first: dict[bytes, int] = {}
    pairs = [(number, first.setdefault(text_hash(text), number)) for number, text in enumerate(texts)]
    signatures = minhash(texts, num_perm=num_perm, seed=seed)
    near = near_duplicate_pairs(signatures, threshold=threshold, seed=seed)
    kept = join_pairs(len(texts), itertools.chain(pairs, near), rank)
    members: dict[int, list[int]] = {}
    for number, representative in enumerate(kept):
        members.setdefault(representative, []).append(number)
    clusters = [
        [representative, *(number for number in group if number != representative)]
        for representative, group in members.items()
        if len(group) > 1
    ]
    return Deduplicated(keep=[kept[number] == number for number in range(len(texts))], clusters=sorted(clusters))
