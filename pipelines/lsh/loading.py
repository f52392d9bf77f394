"""Kernels loaded before they are needed; on a machine that has none yet they are compiled once, and it is said."""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.loading import loads_once
from pipelines.lsh import kernels


@loads_once("lsh", seconds=10)
def load_buckets() -> None:
    """Loads what finds buckets and joins documents, in this process, for numbers of 32 bits."""
    hashes, low, shift = np.zeros(2, np.uint64), np.uint64(0), np.uint64(52)
    keys, ids, counts = np.zeros(2, np.uint64), np.zeros(2, np.int32), np.zeros(1, np.int64)
    edges, state = np.zeros((2, 2), np.int32), np.zeros(2, np.int64)
    kernels.count_cells(hashes, low, shift, counts)
    kernels.scatter(hashes, 0, low, shift, counts - 2, keys, ids)
    kernels.find_stars(keys, ids, counts, np.zeros(4, np.uint64), np.zeros(4, np.int32), edges, state)
    kernels.list_equal(hashes, 0, low, -1, edges)
    kernels.unite(ids, edges)
    kernels.mark(edges, np.zeros(2, np.uint8))
    kernels.flatten(ids)
    kernels.crown(ids, counts)


@loads_once("verification", seconds=10)
def load_verification() -> None:
    """Loads what compares sets, in this process, for document numbers of 32 bits and ranks of 32 and 64."""
    from pipelines.lsh.similarity import kernels as comparing

    items, one = np.zeros(2, np.int32), np.zeros(1, np.int64)
    edges, base, two = np.zeros((2, 2), np.int32), np.zeros(4, np.uint64), np.zeros(2, np.int64)
    bands, ends = np.zeros(2, np.uint16), np.full(1, 2, np.int64)
    kernels.count_centres(edges, 1, one)
    kernels.gather_edges(edges, 1, 1, 0, items, items, bands, 0)
    comparing.lay_out(items[:1], bands, items, one, items.copy(), two)
    for ranks in (items, two):
        comparing.sort_buckets(items, ranks.copy(), ends)
    for documents in (items, two):
        comparing.locate(documents, two, one, base, one, one, one, two.copy(), two.copy())
    mapped = np.frombuffer(bytes(8), np.uint64)
    for strictly in (False, True):
        comparing.first_falling(mapped, np.uint64(0), strictly)
    comparing.first_unsorted(base, ends, 0)
    state = np.zeros(comparing.STATE_SIZE, np.int64)
    pairs, seed, progress = np.zeros((1, 2), np.int64), np.uint64(0), np.zeros(3, np.int64)
    comparing.draw_pairs(two, two[:0], 0, 1, seed, pairs, one)
    comparing.similar_pairs(base, two, two, pairs, 1, 0, 1, np.zeros(1, np.bool_), progress)
    comparing.find_verified(items, two, two, ends, base, 1, 1, 1, base, edges, state, progress)
