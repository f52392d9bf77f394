"""Clusters in, numbers about them out, compiled: given arrays filled, nothing allocated.

`cluster` has the row of the kept member for every row; `slots` has at the kept row of a cluster of several its number
from 1, and zero elsewhere.
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.bits.kernels import load64
from pile_toolkit.core.kernels import kernel

WORD_BITS = 64
_ONE, _NONE = np.uint64(1), np.uint64(0)
# A page that is touched may bring its neighbours with it.
_PAGES_BYTES = 1 << 16


@kernel
def number_clusters(cluster, slots):
    """Fills `slots`; how many clusters have several members."""
    for row in range(cluster.size):
        slots[row] = 0
    for row in range(cluster.size):
        if cluster[row] != row:
            slots[cluster[row]] = 1
    count = 0
    for row in range(cluster.size):
        if slots[row] != 0:
            count += 1
            slots[row] = count
    return count


@kernel
def tally(cluster, first, component, sizes, kept, similarity, slots, documents, size, left, least, once, twice):
    """Adds rows from `first` on, all of one component, to their clusters' numbers.

    documents, size (bytes), left (documents kept), least (smallest similarity, NaN while none is known); once and twice
    (uint64[clusters, words]) have a bit for each component that has one member there, or several.
    """
    word, bit = component // WORD_BITS, _ONE << np.uint64(component % WORD_BITS)
    for place in range(sizes.size):
        number = slots[cluster[first + place]] - 1
        if number < 0:
            continue
        documents[number] += 1
        size[number] += sizes[place]
        left[number] += kept[place]
        value = similarity[place]
        if value < least[number] or (value == value and least[number] != least[number]):
            least[number] = value
        twice[number, word] |= once[number, word] & bit
        once[number, word] |= bit


@kernel
def count_shared(cluster, first, end, component, slots, once, twice, shared):
    """shared[c] += rows [first, end) of one component that have another document of component c in their cluster."""
    for row in range(first, end):
        number = slots[cluster[row]] - 1
        if number < 0:
            continue
        for other in range(shared.size):
            bit = _ONE << np.uint64(other % WORD_BITS)
            words = twice[number, other // WORD_BITS] if other == component else once[number, other // WORD_BITS]
            shared[other] += (words & bit) != _NONE


@kernel
def measure(base, places, sizes, others, other_sizes, start, limit_bytes, found, progress):
    """found[p] = Jaccard similarity of pairs of sorted sets from `start` on; where it goes on, having read enough.

    A set is a place and a size: items [place, place + size) of `base`, which is an array to count from. Enough is up to
    twice the limit; inside of a pair it goes on from `progress` (int64[3], zero at first).
    """
    read = 0
    for pair in range(start, places.size):
        left, right, common = progress[0], progress[1], progress[2]
        steps = max(limit_bytes // 16, 1)
        while left < sizes[pair] and right < other_sizes[pair]:
            if steps == 0:
                progress[0], progress[1], progress[2] = left, right, common
                return pair
            one, other = load64(base, places[pair] + left), load64(base, others[pair] + right)
            common += one == other
            left += one <= other
            right += one >= other
            steps -= 1
        progress[0] = progress[1] = progress[2] = 0
        union = sizes[pair] + other_sizes[pair] - common
        found[pair] = common / union if union else 1.0
        read += 8 * (sizes[pair] + other_sizes[pair]) + 2 * _PAGES_BYTES
        if read > limit_bytes:
            return pair + 1
    return places.size
