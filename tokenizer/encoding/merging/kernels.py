"""The bytes of one pre-token in, its ids out: pairs merged lowest rank first, of equal ones the leftmost.

Two ways with one result: `merge_short` looks at every pair after each merge, which for up to 64 bytes are a few vector
instructions; `merge_long` keeps a heap, and takes n log n. `out` is an array of ids of either width.
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.bits.kernels import leading_zeros, trailing_zeros
from pile_toolkit.core.kernels import kernel
from tokenizer.encoding.limits import RANK_BITS, SYMBOL_BITS

HOLE = -1
EMPTY_PAIR = np.uint64(0xFFFFFFFFFFFFFFFF)
NO_RANK = np.uint32(0xFFFFFFFF)
SHORT_BYTES = 64
_RANK_MASK = np.uint64((1 << RANK_BITS) - 1)
_ONE = np.uint64(1)
_MIX = np.uint64(0x9E3779B97F4A7C15)
# Ranks of a short pre-token are looked at so many at a time.
_LANES = 16
_PLACE_BITS, _PLACE_MASK = np.uint32(6), np.uint32(SHORT_BYTES - 1)


@kernel
def fill_pairs(pairs, lefts, rights):
    """Puts every pair into the table with its place in the lists as rank; of equal pairs the last counts."""
    shift = np.uint64(64) - trailing_zeros(np.uint64(pairs.size))
    mask = np.uint64(pairs.size - 1)
    for rank in range(lefts.size):
        key = lefts[rank] << np.uint64(SYMBOL_BITS) | rights[rank]
        slot = key * _MIX >> shift
        while pairs[slot] != EMPTY_PAIR and pairs[slot] >> np.uint64(RANK_BITS) != key:
            slot = (slot + _ONE) & mask
        pairs[slot] = key << np.uint64(RANK_BITS) | np.uint64(rank)


@kernel(forceinline=True)
def _rank(pairs, shift, left, right):
    key = np.uint64(left) << np.uint64(SYMBOL_BITS) | np.uint64(right)
    slot = key * _MIX >> shift
    mask = np.uint64(pairs.size - 1)
    while True:
        found = pairs[slot]
        if found >> np.uint64(RANK_BITS) == key:
            return np.uint32(found & _RANK_MASK)
        if found == EMPTY_PAIR:
            return NO_RANK
        slot = (slot + _ONE) & mask


@kernel
def fill_byte_ranks(pairs, byte_symbol, byte_ranks):
    """byte_ranks[a << 8 | b] becomes the rank of the symbols of these two bytes, NO_RANK where they are no pair."""
    shift = np.uint64(64) - trailing_zeros(np.uint64(pairs.size))
    for first in range(256):
        for second in range(256):
            left, right = byte_symbol[first], byte_symbol[second]
            known = left != HOLE and right != HOLE
            byte_ranks[first << 8 | second] = _rank(pairs, shift, left, right) if known else NO_RANK


@kernel
def _placed_rank(merges, shift, left, right, place):
    """Rank and place of a pair in one number, so that the least one is the next to merge; NO_RANK where none is."""
    rank = _rank(merges.pairs, shift, left, right)
    return NO_RANK if rank == NO_RANK else np.uint32(rank << _PLACE_BITS | np.uint32(place))


@kernel
def merge_short(text, start, stop, merges, symbols, ranks, out, count):
    """Ids of one pre-token of up to SHORT_BYTES into `out` from `count` on, and how many there are then.

    `symbols` int32 and `ranks` uint32 are scratch of SHORT_BYTES entries.
    """
    size = 0
    before_this = np.uint64(0)
    for at in range(start, stop):
        byte = np.uint64(text[at])
        symbol = merges.byte_symbol[byte]
        if symbol != HOLE:
            symbols[size] = symbol
            rank = merges.byte_ranks[before_this << np.uint64(8) | byte]
            ranks[max(size - 1, 0)] = (
                NO_RANK if rank == NO_RANK else np.uint32(rank << _PLACE_BITS | np.uint32(size - 1))
            )
            before_this = byte
            size += 1
    shift = np.uint64(64) - trailing_zeros(np.uint64(merges.pairs.size))
    lanes = (size + _LANES - 1) & -_LANES
    for i in range(max(size - 1, 0), lanes):
        ranks[i] = NO_RANK
    # The symbols that are left, a bit each.
    left = np.uint64(0) if size == 0 else ~np.uint64(0) >> np.uint64(64 - size)
    while True:
        best = NO_RANK
        for i in range(lanes):
            best = min(best, ranks[i])
        if best == NO_RANK:
            break
        here = best & _PLACE_MASK
        after = left & ~np.uint64(1) << np.uint64(here)
        gone = trailing_zeros(after)
        symbols[here] = merges.merged[best >> _PLACE_BITS]
        ranks[gone] = NO_RANK
        left ^= _ONE << gone
        after &= after - _ONE
        following = trailing_zeros(after)
        ranks[here] = NO_RANK
        if after != 0:
            ranks[here] = _placed_rank(merges, shift, symbols[here], symbols[following], here)
        before = left & ((_ONE << np.uint64(here)) - _ONE)
        if before != 0:
            previous = np.uint64(63) - leading_zeros(before)
            ranks[previous] = _placed_rank(merges, shift, symbols[previous], symbols[here], previous)
    while left != 0:
        out[count] = merges.ids[symbols[trailing_zeros(left)]]
        count += 1
        left &= left - _ONE
    return count


@kernel
def _sift_down(heap, size, at, value):
    """Puts `value` at `at` or below, so that no entry is larger than those under it."""
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = value


@kernel
def _sift_up(heap, at, value):
    while at > 0:
        parent = (at - 1) >> 1
        if heap[parent] <= value:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = value


@kernel
def merge_long(text, start, stop, merges, symbols, ranks, links, heap, out, count):
    """As `merge_short`, in n log n: a heap of (rank, position) and a list linked both ways.

    Scratch of n = stop - start: `symbols` int32 and `ranks` uint32 of n entries, `links` int32 and `heap` uint64 of 2n.
    An entry of the heap whose rank is not the one its position has now is out of date.
    """
    size = 0
    for at in range(start, stop):
        symbol = merges.byte_symbol[text[at]]
        symbols[size] = symbol
        size += symbol != HOLE
    shift = np.uint64(64) - trailing_zeros(np.uint64(merges.pairs.size))
    before, after = links[:size], links[size : 2 * size]
    entries = 0
    for i in range(size):
        before[i], after[i] = i - 1, i + 1
        ranks[i] = NO_RANK if i + 1 == size else _rank(merges.pairs, shift, symbols[i], symbols[i + 1])
        if ranks[i] != NO_RANK:
            heap[entries] = np.uint64(ranks[i]) << np.uint64(40) | np.uint64(i)
            entries += 1
    for i in range(entries // 2 - 1, -1, -1):
        _sift_down(heap, entries, i, heap[i])
    while entries > 0:
        top = heap[0]
        entries -= 1
        _sift_down(heap, entries, 0, heap[entries])
        here = np.int64(top & np.uint64((1 << 40) - 1))
        rank = np.uint32(top >> np.uint64(40))
        if ranks[here] != rank:
            continue
        gone = after[here]
        symbols[here] = merges.merged[rank]
        ranks[gone] = NO_RANK
        symbols[gone] = HOLE
        following = after[gone]
        after[here] = following
        if following < size:
            before[following] = here
        for left in (np.int64(before[here]), here):
            if left < 0:
                continue
            right = np.int64(after[left])
            new = NO_RANK if right >= size else _rank(merges.pairs, shift, symbols[left], symbols[right])
            ranks[left] = new
            if new != NO_RANK:
                _sift_up(heap, entries, np.uint64(new) << np.uint64(40) | np.uint64(left))
                entries += 1
    at = 0
    while at < size:
        out[count] = merges.ids[symbols[at]]
        count += 1
        at = after[at]
    return count
