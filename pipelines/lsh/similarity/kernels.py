"""Sorted sets of numbers in, decisions out, compiled: given arrays filled, nothing allocated.

A set is a place and a size: items [place, place + size) of `base`, an array to count from; places lie in mapped files,
before or behind it. A similarity is the fraction threshold / ONE, and compared in whole numbers.
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.bits.kernels import load64
from pile_toolkit.core.kernels import kernel

# Thresholds are whole numbers of millionths.
ONE = 1_000_000
# Steps between two looks at whether the threshold is still, or already, reached.
_STEPS = 32
# Of the state of `find_verified`: where it goes on, and what it has counted.
BUCKET, CENTRE, NEXT, FAILED, STOP, COMPARED, VERIFIED, REFUSED, CAPPED, CAPPED_BUCKETS = range(10)
STATE_SIZE = 10
# A page that is touched brings with it as much of the file as the system keeps together: up to a large page.
TOUCHED_BYTES = 1 << 21
# 2^64 by the golden ratio, and the multipliers of SplitMix64.
_SPREAD, _OTHER, _THIRD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHORT = 24


@kernel
def similar(base, left, left_size, right, right_size, threshold, limit_bytes, progress):
    """1 or 0: whether the sizes of intersection and union are at least as threshold to ONE; two empty sets are equal.

    Intersection / union >= t where the intersection has at least t (a + b) / (1 + t) elements: that many are needed.
    -1 where so many bytes were read and it is not decided: called again, it goes on from `progress` (int64[3], zero
    before and after).
    """
    needed = -(-threshold * (left_size + right_size) // (ONE + threshold))
    one, other, common = progress[0], progress[1], progress[2]
    # A step reads up to two numbers.
    steps = max(limit_bytes // 16, 1)
    while common < needed:
        rest = min(left_size - one, right_size - other)
        if common + rest < needed:
            progress[0] = progress[1] = progress[2] = 0
            return 0
        if steps <= 0:
            progress[0], progress[1], progress[2] = one, other, common
            return -1
        for _ in range(min(rest, _STEPS)):
            mine, others = load64(base, left + one), load64(base, right + other)
            common += mine == others
            one += mine <= others
            other += mine >= others
        steps -= _STEPS
    progress[0] = progress[1] = progress[2] = 0
    return 1


@kernel
def _mixed(value):
    value = (value ^ value >> np.uint64(30)) * _OTHER
    value = (value ^ value >> np.uint64(27)) * _THIRD
    return value ^ value >> np.uint64(31)


@kernel
def _read_bytes(size):
    return size * 8 + TOUCHED_BYTES


@kernel
def similar_pairs(base, places, sizes, pairs, threshold, first, limit_bytes, found, progress):
    """found[p] = whether the sets of pairs[p] are similar, from `first` on; where it goes on, having read enough.

    Enough is up to twice the limit. `progress` is that of `similar`.
    """
    read = 0
    for pair in range(first, pairs.shape[0]):
        left, right = pairs[pair, 0], pairs[pair, 1]
        given = places[left], sizes[left], places[right], sizes[right]
        decided = similar(base, *given, threshold, limit_bytes, progress)
        if decided < 0:
            return pair
        found[pair] = decided > 0
        read += _read_bytes(sizes[left]) + _read_bytes(sizes[right])
        if read > limit_bytes:
            return pair + 1
    return pairs.shape[0]


@kernel
def draw_pairs(members, ends, first, sample, seed, pairs, counts):
    """(clusters, pairs): of as many clusters from `first` on as have room, all pairs, or `sample` of them by the seed.

    Cluster c is the places of `members` that end at ends[c]; counts[i] is the number of pairs of cluster first + i.
    Source of the draws: SplitMix64 (Steele, Lea and Flood, 2014) from the seed and the cluster's first member.
    """
    made, cluster = 0, first
    while cluster < ends.size and cluster - first < counts.size:
        start = ends[cluster - 1] if cluster > 0 else 0
        size = ends[cluster] - start
        count = min(size * (size - 1) // 2, sample)
        if made + count > pairs.shape[0]:
            break
        counts[cluster - first] = count
        state = seed + np.uint64(members[start]) * _SPREAD
        if size * (size - 1) // 2 <= sample:
            for one in range(start, start + size):
                for other in range(one + 1, start + size):
                    pairs[made, 0], pairs[made, 1] = one, other
                    made += 1
        else:
            for _ in range(count):
                state += _SPREAD
                one = _mixed(state) % np.uint64(size)
                state += _SPREAD
                step = np.uint64(1) + _mixed(state) % np.uint64(size - 1)
                pairs[made, 0] = start + np.int64(one)
                pairs[made, 1] = start + np.int64((one + step) % np.uint64(size))
                made += 1
        cluster += 1
    return cluster - first, made


@kernel
def _recall(cache, one, other):
    """(place, key, what was decided or -1) of a pair; the lowest bit of what is kept is the decision."""
    key = np.uint64(min(one, other)) << np.uint64(32) | np.uint64(max(one, other)) << np.uint64(1)
    if cache.size == 0:
        return np.int64(0), key, np.int64(-1)
    slot = np.int64(key * _SPREAD >> np.uint64(32)) & (cache.size - 1)
    if cache[slot] | np.uint64(1) == key | np.uint64(1):
        return slot, key, np.int64(cache[slot] & np.uint64(1))
    return slot, key, np.int64(-1)


@kernel
def find_verified(items, places, sizes, ends, base, threshold, cap, limit_bytes, cache, edges, state, progress):
    """Edges of every bucket from centres to the members that are similar to them, in the order of its items.

    The first item is the centre; those that are not similar to it are a bucket of their own behind it, and so on.
    After cap x members comparisons the rest of a bucket is left as it is. Returns the number of edges, when `edges` is
    full, `limit_bytes` to twice as many of sets may have been read, or all is done; it goes on at `state`, and inside
    of two sets at `progress`. `cache` (a power of two of places, none for numbers of 2^31 and more) remembers what was
    decided of a pair; zero is free.
    """
    made, read = 0, 0
    while state[BUCKET] < ends.size:
        start = ends[state[BUCKET] - 1] if state[BUCKET] > 0 else 0
        if state[STOP] == 0:
            state[CENTRE], state[NEXT], state[FAILED] = start, start + 1, start + 1
            state[STOP] = ends[state[BUCKET]]
        limit = cap * (ends[state[BUCKET]] - start)
        while state[STOP] - state[CENTRE] > 1:
            centre = state[CENTRE]
            while state[NEXT] < state[STOP]:
                member = state[NEXT]
                if state[COMPARED] == limit:
                    break
                if made == edges.shape[0] or read > limit_bytes:
                    return made
                slot, key, known = _recall(cache, items[centre], items[member])
                if known < 0:
                    left, right = sizes[centre], sizes[member]
                    given = places[centre], left, places[member], right
                    known = np.int64(similar(base, *given, threshold, limit_bytes, progress))
                    if known < 0:
                        return made
                    read += _read_bytes(left) + _read_bytes(right)
                    if cache.size > 0:
                        cache[slot] = key | np.uint64(known)
                state[COMPARED] += 1
                if known > 0:
                    edges[made, 0] = items[centre]
                    edges[made, 1] = items[member]
                    made += 1
                    state[VERIFIED] += 1
                else:
                    failed = state[FAILED]
                    items[failed], places[failed], sizes[failed] = items[member], places[member], sizes[member]
                    state[FAILED] += 1
                    state[REFUSED] += 1
                state[NEXT] += 1
            if state[NEXT] < state[STOP]:
                state[CAPPED] += state[STOP] - state[NEXT] + state[FAILED] - centre - 1
                state[CAPPED_BUCKETS] += 1
                break
            state[CENTRE], state[STOP] = centre + 1, state[FAILED]
            state[NEXT], state[FAILED] = centre + 2, centre + 2
        state[BUCKET] += 1
        state[STOP] = state[COMPARED] = 0
    return made


@kernel
def lay_out(centres, bands, members, order, items, ends):
    """Buckets out of edges in `order` (of centre, then band): items of each, its centre first; how many there are."""
    buckets, used = 0, 0
    for place in range(order.size):
        edge = order[place]
        before = order[place - 1] if place > 0 else edge
        if place == 0 or centres[edge] != centres[before] or bands[edge] != bands[before]:
            if place > 0:
                ends[buckets] = used
                buckets += 1
            items[used] = centres[edge]
            used += 1
        items[used] = members[edge]
        used += 1
    if order.size > 0:
        ends[buckets] = used
        buckets += 1
    return buckets


@kernel
def _swap(items, ranks, one, other):
    items[one], items[other] = items[other], items[one]
    ranks[one], ranks[other] = ranks[other], ranks[one]


@kernel
def _below(items, ranks, one, other):
    return ranks[one] < ranks[other] or (ranks[one] == ranks[other] and items[one] < items[other])


@kernel
def _sift(items, ranks, start, root, count):
    while 2 * root + 1 < count:
        child = 2 * root + 1
        if child + 1 < count and _below(items, ranks, start + child, start + child + 1):
            child += 1
        if not _below(items, ranks, start + root, start + child):
            return
        _swap(items, ranks, start + root, start + child)
        root = child


@kernel
def _heap_sort(items, ranks, start, count):
    for root in range(count // 2 - 1, -1, -1):
        _sift(items, ranks, start, root, count)
    for last in range(count - 1, 0, -1):
        _swap(items, ranks, start, start + last)
        _sift(items, ranks, start, 0, last)


@kernel
def sort_buckets(items, ranks, ends):
    """Puts the items of each bucket in the order of (rank, item)."""
    for bucket in range(ends.size):
        start, end = ends[bucket - 1] if bucket > 0 else 0, ends[bucket]
        if end - start > _SHORT:
            _heap_sort(items, ranks, start, end - start)
            continue
        for place in range(start + 1, end):
            item, rank = items[place], ranks[place]
            while place > start and (rank, item) < (ranks[place - 1], items[place - 1]):
                items[place], ranks[place] = items[place - 1], ranks[place - 1]
                place -= 1
            items[place], ranks[place] = item, rank


@kernel
def locate(documents, firsts, rows, base, numbers, ends, values, places, sizes):
    """Place and size of the set of each document; the first document without one, -1 where all have one.

    File f holds documents from firsts[f] on, rows[f] sets; its numbers, ends and values begin at those places.
    """
    for entry in range(documents.size):
        document = documents[entry]
        file = np.searchsorted(firsts, document, side="right") - 1
        if file < 0 or file >= rows.size:
            return entry
        wanted = np.uint64(document - firsts[file])
        low, high = 0, rows[file]
        while low < high:
            middle = (low + high) >> 1
            if load64(base, numbers[file] + middle) < wanted:
                low = middle + 1
            else:
                high = middle
        if low == rows[file] or load64(base, numbers[file] + low) != wanted:
            return entry
        start = np.int64(load64(base, ends[file] + low - 1)) if low > 0 else 0
        places[entry] = values[file] + start
        sizes[entry] = np.int64(load64(base, ends[file] + low)) - start
    return -1


@kernel
def first_unsorted(values, ends, start):
    """The first set, of those that end at `ends` and begin at `start`, whose numbers do not rise; -1: all do."""
    for row in range(ends.size):
        for place in range(start + 1, ends[row]):
            if values[place] <= values[place - 1]:
                return row
        start = ends[row]
    return -1


@kernel
def first_falling(values, least, strictly):
    """The first place whose number is below `least` or the one before it (with `strictly`: or equal); -1: none."""
    for place in range(values.size):
        if values[place] < least or (strictly and place > 0 and values[place] == least):
            return place
        least = values[place]
    return -1
