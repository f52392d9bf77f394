"""Bytes and their pre-tokens in, ids out: caches first, merges where nothing is remembered.

`encode_pieces` is the whole encoder for text that has no added tokens left in it but runs of spaces. It holds all hot
loops itself: a call with a dozen arrays per pre-token would take longer than the pre-token. It stops where `out` or the
scratch for long pre-tokens is too small, and goes on from there when called again.

Three caches in one array of uint64, each of them direct-mapped or of a few ways, where the newest entry takes the
place of an older one; all of them hold exact keys, so that their state never changes an id:

- words: up to 8 bytes and two ids in 16 bytes;
- phrases: up to 15 bytes and four ids in 32 bytes;
- passages: up to 64 bytes and 14 ids in 128 bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

from tokenizer.encoding.limits import RANK_BITS, SYMBOL_BITS
from tokenizer.kernels import kernel
from tokenizer.pretokens.kernels import find_pretokens, load64, trailing_zeros

# For type checkers an intrinsic would still take the compiler's context as its first argument.
intrinsic: Any = extending.intrinsic

HOLE = -1
EMPTY_PAIR = np.uint64(0xFFFFFFFFFFFFFFFF)

WORD_BITS, PHRASE_BITS, PASSAGE_BITS = 16, 19, 14
WORD_BYTES, PHRASE_BYTES, PASSAGE_BYTES = 8, 15, 64
WORD_IDS, PHRASE_IDS, PASSAGE_IDS = 2, 4, 14
# In numbers of 64 bits: a slot of each cache, and where each begins in the array.
_WORD, _PHRASE, _PASSAGE = 2, 4, 16
PHRASES_AT = _WORD << WORD_BITS
PASSAGES_AT = PHRASES_AT + (_PHRASE << PHRASE_BITS)
CACHE_SIZE = PASSAGES_AT + (_PASSAGE << PASSAGE_BITS)

NO_RANK = np.uint32(0xFFFFFFFF)
_RANK_MASK = np.uint64((1 << RANK_BITS) - 1)
_ONE = np.uint64(1)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_HIGH = np.uint64(0xC2B2AE3D27D4EB4F)
_TOP_BYTE = np.uint64(56)
_LOW_HALF = np.uint64(0xFFFFFFFF)
_TWO_IDS = np.uint64(1 << 63)
_PRESENT = np.uint64(1 << 31)
# No key: a word of fewer than eight bytes has its length in the highest byte, one of eight something above 8.
_NO_KEY = np.uint64(8 << 56)
# Above them a phrase keeps the number of its ids.
_KEY_BITS = np.uint64((1 << 60) - 1)


@intrinsic
def _store64(_context, array, offset, value):
    """Two ids at once: a uint64 over the entries `offset` and `offset + 1` of a uint32 array."""

    def codegen(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(arguments[2], address).align = 1
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), codegen


@intrinsic
def _prefetch(_context, array, offset):
    """Asks for the cache line of an entry of a uint64 array, and does not wait for it."""

    def codegen(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        kinds = [ir.IntType(8).as_pointer(), *[ir.IntType(32)] * 3]
        prefetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), kinds), "llvm.prefetch.p0i8"
        )
        builder.call(prefetch, [address, *(ir.Constant(ir.IntType(32), value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


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
def merge_short(text, start, stop, merges, symbols, ranks, out, count):
    """Ids of one pre-token into `out` from `count` on, and how many there are then; quadratic, for short ones.

    `symbols` int32 and `ranks` uint32 are scratch of stop - start entries.
    """
    size = 0
    for at in range(start, stop):
        symbol = merges.byte_symbol[text[at]]
        symbols[size] = symbol
        size += symbol != HOLE
    shift = np.uint64(64) - trailing_zeros(np.uint64(merges.pairs.size))
    for i in range(size - 1):
        ranks[i] = _rank(merges.pairs, shift, symbols[i], symbols[i + 1])
    while size > 1:
        best, where = NO_RANK, 0
        for i in range(size - 1):
            better = ranks[i] < best
            best = ranks[i] if better else best
            where = i if better else where
        if best == NO_RANK:
            break
        size -= 1
        for i in range(where + 1, size):
            symbols[i] = symbols[i + 1]
            ranks[i] = ranks[i + 1]
        symbols[where] = merges.merged[best]
        if where > 0:
            ranks[where - 1] = _rank(merges.pairs, shift, symbols[where - 1], symbols[where])
        if where < size - 1:
            ranks[where] = _rank(merges.pairs, shift, symbols[where], symbols[where + 1])
    for i in range(size):
        out[count + i] = merges.ids[symbols[i]]
    return count + size


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


@kernel
def _encode_passage(text, start, stop, merges, cache, symbols, ranks, out, count):
    """A pre-token of up to 64 bytes that the smaller caches do not have: from the largest one, or by merging."""
    size = stop - start
    mix = np.uint64(size)
    words = (size + 7) >> 3
    # The last word is cut to the pre-token; the bytes behind it are another's.
    last = (_ONE << np.uint64(8 * (size & 7))) - _ONE if size & 7 else np.uint64(0xFFFFFFFFFFFFFFFF)
    for i in range(words):
        word = load64(text, start + 8 * i)
        word = word & last if i == words - 1 else word
        mix = (mix ^ word) * _MIX
        mix ^= mix >> np.uint64(32)
    slot = np.int64(PASSAGES_AT) + (np.int64(mix * _MIX >> np.uint64(64 - PASSAGE_BITS)) << 4)
    head = cache[slot]
    same = head & np.uint64(0xFF) == np.uint64(size)
    i = 0
    while same and i < words:
        word = load64(text, start + 8 * i)
        word = word & last if i == words - 1 else word
        same = cache[slot + 1 + i] == word
        i += 1
    if same:
        found = np.int64(head >> np.uint64(8))
        for i in range((found + 1) >> 1):
            _store64(out, count + 2 * i, cache[slot + 9 + i])
        return count + found
    end = merge_short(text, start, stop, merges, symbols, ranks, out, count)
    found = end - count
    if found <= PASSAGE_IDS:
        cache[slot] = np.uint64(size) | np.uint64(found) << np.uint64(8)
        for i in range(words):
            word = load64(text, start + 8 * i)
            cache[slot + 1 + i] = word & last if i == words - 1 else word
        for i in range((found + 1) >> 1):
            cache[slot + 9 + i] = np.uint64(out[count + 2 * i]) | np.uint64(out[count + 2 * i + 1]) << np.uint64(32)
    return end


@kernel
def _look_up_words(text, at, run_ids, ends, found, cache, values, hard):
    """values[i] becomes what the first cache has for pre-token i, or 0; `hard` lists the latter. Returns how many.

    Without a branch, so that many of these loads are under way at a time.
    """
    missing = 0
    for entry in range(found):
        end = ends[entry]
        length = abs(end) - at
        _, _, key = _keys(text, at, length)
        word = np.int64((key ^ key >> np.uint64(29)) * _MIX >> np.uint64(64 - WORD_BITS)) << 1
        value = cache[word + 1] if cache[word] == key else np.uint64(0)
        value = np.uint64(run_ids[min(length, run_ids.size - 1)]) | _PRESENT if end < 0 else value
        values[entry] = value
        hard[missing] = entry
        missing += value == 0
        at = abs(end)
    return missing


@kernel(forceinline=True)
def _keys(text, at, length):
    """The bytes of a pre-token as two numbers (up to 15 bytes), and as one (up to 8, else one that is never stored)."""
    unused = np.uint64(64 - 8 * length) & np.uint64(63)
    size = np.uint64(length) << _TOP_BYTE
    first = load64(text, at)
    low = first << unused >> unused if length < 8 else first
    high = load64(text, at + 8) << unused >> unused
    high = np.uint64(0) if length <= 8 else high
    # Eight bytes are their own key where it cannot be taken for the key of fewer.
    eight = first if (length == 8) & (first >> _TOP_BYTE > np.uint64(8)) else _NO_KEY
    return low, high | size, low | size if length < 8 else eight


@kernel
def _look_ahead(text, at, ends, hard, missing, cache, slots):
    """slots[i] becomes where the second cache may have hard pre-token i, and the processor is told to fetch it."""
    for i in range(missing):
        entry = hard[i]
        start = at if entry == 0 else abs(ends[entry - 1])
        length = ends[entry] - start
        if length <= PHRASE_BYTES:
            low, high, _ = _keys(text, start, length)
            slots[i] = _phrase_slot(low, high)
            _prefetch(cache, slots[i])
        else:
            slots[i] = 0


@kernel(forceinline=True)
def _phrase_slot(low, high):
    mix = low * _MIX ^ high * _MIX_HIGH
    mix ^= mix >> np.uint64(32)
    return np.int64(PHRASES_AT) + (np.int64(mix * _MIX >> np.uint64(64 - PHRASE_BITS)) << 2)


@kernel
def _encode_new(text, at, end, slot, merges, cache, symbols, ranks, out, count):
    """A pre-token of up to 64 bytes that the first two caches do not have; returns how many ids it has."""
    written = _encode_passage(text, at, end, merges, cache, symbols, ranks, out, count) - count
    if end - at <= PHRASE_BYTES and written <= PHRASE_IDS:
        low, high, _ = _keys(text, at, end - at)
        slot = slot if cache[slot + 1] == 0 else slot ^ _PHRASE
        cache[slot] = low
        cache[slot + 1] = high | np.uint64(written) << np.uint64(60)
        cache[slot + 2] = np.uint64(out[count]) | np.uint64(out[count + 1]) << np.uint64(32)
        cache[slot + 3] = np.uint64(out[count + 2]) | np.uint64(out[count + 3]) << np.uint64(32)
    return written


@kernel
def encode_pieces(
    text, piece_ends, token_after, piece, start, longest_run, run_ids, tables, merges, cache, scratch, ends, out, counts
):
    """Ids of the pieces from offset `start` in `piece` on into `out`.

    `piece_ends[i]` is where piece i ends in `text`, `token_after[i]` the id that follows it (-1: none), `counts[i]` is
    raised by its ids. Returns ids written, the piece and offset to go on with, and the bytes of the pre-token that
    needs a larger scratch or `out` (0: none).
    """
    values, hard, slots, symbols, ranks, links, heap = scratch
    count = np.int64(0)
    # Between two looks at it, at most two ids a pre-token and those of one hard one are written.
    room = out.size - 2 * ends.size - 2 * PASSAGE_BYTES
    at = np.int64(start)
    while piece < piece_ends.size:
        stop = np.int64(piece_ends[piece])
        counted = count
        while at < stop:
            if count >= room:
                counts[piece] += count - counted
                return count, piece, at, 0
            found, _ = find_pretokens(text, at, stop, longest_run, tables.page_of, tables.properties, ends)
            missing = _look_up_words(text, at, run_ids, ends, found, cache, values, hard)
            _look_ahead(text, at, ends, hard, missing, cache, slots)
            done = 0
            for i in range(missing + 1):
                entry = hard[i] if i < missing else found
                while done < entry:
                    value = values[done]
                    _store64(out, count, value & ~(_TWO_IDS | _PRESENT))
                    count += 1 + np.int64(value >> np.uint64(63))
                    done += 1
                if entry == found:
                    break
                done += 1
                at = at if entry == 0 else abs(ends[entry - 1])
                end = ends[entry]
                if count >= room:
                    counts[piece] += count - counted
                    return count, piece, at, 0
                if end - at <= PHRASE_BYTES:
                    low, high, key = _keys(text, at, end - at)
                    slot = slots[i]
                    if cache[slot] != low or cache[slot + 1] & _KEY_BITS != high:
                        slot ^= _PHRASE
                    if cache[slot] == low and cache[slot + 1] & _KEY_BITS == high:
                        _store64(out, count, cache[slot + 2])
                        _store64(out, count + 2, cache[slot + 3])
                        written = np.int64(cache[slot + 1] >> np.uint64(60))
                    else:
                        written = _encode_new(text, at, end, slots[i], merges, cache, symbols, ranks, out, count)
                    if key != _NO_KEY and 1 <= written <= WORD_IDS:
                        word = np.int64((key ^ key >> np.uint64(29)) * _MIX >> np.uint64(64 - WORD_BITS)) << 1
                        cache[word] = key
                        first = np.uint64(out[count]) | np.uint64(out[count + 1]) << np.uint64(32)
                        cache[word + 1] = (first & _LOW_HALF if written == 1 else first | _TWO_IDS) | _PRESENT
                    count += written
                elif end - at <= PASSAGE_BYTES:
                    count += _encode_new(text, at, end, 0, merges, cache, symbols, ranks, out, count)
                elif end - at > symbols.size or end - at > room - count:
                    counts[piece] += count - counted
                    return count, piece, at, end - at
                else:
                    count = merge_long(text, at, end, merges, symbols, ranks, links, heap, out, count)
            at = abs(ends[found - 1])
        if count >= room:
            return count, piece, at, 0
        if token_after[piece] >= 0:
            out[count] = token_after[piece]
            count += 1
        counts[piece] += count - counted
        piece += 1
    return count, piece, at, 0
