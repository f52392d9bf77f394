"""Bytes and their pre-tokens in, ids out: a cache first, merges where nothing is remembered.

`encode_pieces` is the whole encoder for text that has no added tokens left in it but runs of spaces. It holds the hot
loops itself: a call with a dozen arrays per pre-token would take longer than the pre-token. It stops where the scratch
for long pre-tokens is too small, and goes on from there when called again.

Two caches in one array of uint64; both hold exact keys, so that their state never changes an id:

- words, up to 15 bytes and 16 bytes of ids in half a cache line. The other half is their second place: what is new
  starts there, and what is found there changes to the first.
- passages, up to 64 bytes and 56 bytes of ids in two cache lines, one place each.
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.bits.kernels import copy16, load64, prefetch, swap32
from pile_toolkit.core.characters.kernels import find_windows
from pile_toolkit.core.kernels import kernel
from tokenizer.encoding.merging.kernels import SHORT_BYTES, merge_long, merge_short
from tokenizer.pretokens.kernels import find_pretokens

WORD_BITS, PASSAGE_BITS = 18, 14
WORD_BYTES, PASSAGE_BYTES = 15, SHORT_BYTES
WORD_ID_BYTES, PASSAGE_ID_BYTES = 16, 56
# In numbers of 64 bits: a place of each cache, and where passages begin in the array.
_WORD, _PASSAGE = 4, 16
PASSAGES_AT = _WORD << (WORD_BITS + 1)
CACHE_SIZE = PASSAGES_AT + (_PASSAGE << PASSAGE_BITS)
# Words looked up at a time: as many of their cache lines are on the way while the first ones are read.
LOOKAHEAD = 128
# Ids that may be written after the last one.
SLACK = 8

_NO, _ONE, _TWO, _WORD_U = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(_WORD)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_HIGH = np.uint64(0xC2B2AE3D27D4EB4F)
_SIZE_AT, _COUNT_AT = np.uint64(56), np.uint64(60)
_KEY_BITS = np.uint64((1 << 60) - 1)
_ALL = (1 << 64) - 1
# By length: which bits of its first and of its second eight bytes a word has. With 16 stand all that are no words;
# their key says more than 15 bytes, which none in the cache has.
_FIRST_BITS = np.array([(1 << 8 * min(length, 8)) - 1 for length in range(WORD_BYTES + 1)] + [_ALL], np.uint64)
_SECOND_BITS = np.array([(1 << 8 * max(0, length - 8)) - 1 for length in range(WORD_BYTES + 1)] + [0], np.uint64)


@kernel(forceinline=True)
def _offset(end):
    """Where a pre-token ends, whether it is a run of spaces (negative) or not; `abs` would be a call."""
    sign = end >> 63
    return (end ^ sign) - sign


@kernel(forceinline=True)
def _keys(text, at, length):
    """The bytes of a word as two numbers, the length above them in the second."""
    bounded = min(length, WORD_BYTES + 1)
    first = load64(text, at) & _FIRST_BITS[bounded]
    second = load64(text, at + 8) & _SECOND_BITS[bounded]
    return first, second | np.uint64(bounded) << _SIZE_AT


@kernel
def _look_ahead(text, at, ends, begin, stop, cache, keys):
    """Rows of `keys` become first key, second key and place of the words that end at ends[begin:stop].

    The processor is told to fetch those places.
    """
    for i in range(begin, stop):
        end = _offset(ends[i])
        first, second = _keys(text, at, end - at)
        mix = first * _MIX ^ second * _MIX_HIGH
        mix ^= mix >> np.uint64(32)
        place = np.int64(mix * _MIX >> np.uint64(64 - WORD_BITS)) << 3
        prefetch(cache, place)
        keys[i - begin, 0] = first
        keys[i - begin, 1] = second
        keys[i - begin, 2] = np.uint64(place)
        at = end


@kernel
def _remember_word(keys, cache, out, count, written):
    """Puts a word and the ids in out[count:count + written] into the cache.

    Into the second of its places, unless the first is empty: a word gets that when it is found again, so that words
    that occur once, most of all new ones, never drive out one that occurs often.
    """
    place = np.int64(keys[2])
    if cache[place + 1] != 0:
        place += 4
    cache[place] = keys[0]
    cache[place + 1] = keys[1] | np.uint64(written) << _COUNT_AT
    copy16(cache, place + 2, out, count)


@kernel
def _encode_passage(text, start, stop, merges, cache, symbols, ranks, out, count):
    """A pre-token of 16 to 64 bytes, from the cache or by merging; returns how many ids it has."""
    size = stop - start
    mix = np.uint64(size)
    words = (size + 7) >> 3
    # The last word is cut to the pre-token; the bytes behind it are another's.
    last = _FIRST_BITS[size & 7] if size & 7 else np.uint64(_ALL)
    for i in range(words):
        word = load64(text, start + 8 * i)
        word = word & last if i == words - 1 else word
        mix = (mix ^ word) * _MIX
        mix ^= mix >> np.uint64(32)
    place = np.int64(PASSAGES_AT) + (np.int64(mix * _MIX >> np.uint64(64 - PASSAGE_BITS)) << 4)
    head = cache[place]
    same = head & np.uint64(0xFF) == np.uint64(size)
    i = 0
    while same and i < words:
        word = load64(text, start + 8 * i)
        word = word & last if i == words - 1 else word
        same = cache[place + 1 + i] == word
        i += 1
    if same:
        found = np.int64(head >> np.uint64(8))
        for i in range(found * out.itemsize + 15 >> 4):
            copy16(out, count + i * (16 // out.itemsize), cache, place + 9 + 2 * i)
        return found
    found = merge_short(text, start, stop, merges, symbols, ranks, out, count) - count
    if found * out.itemsize <= PASSAGE_ID_BYTES:
        cache[place] = np.uint64(size) | np.uint64(found) << np.uint64(8)
        for i in range(words):
            word = load64(text, start + 8 * i)
            cache[place + 1 + i] = word & last if i == words - 1 else word
        for i in range(found * out.itemsize + 7 >> 3):
            cache[place + 9 + i] = load64(out, count + i * (8 // out.itemsize))
    return found


@kernel
def _encode_new(text, at, end, keys, run_ids, merges, cache, scratch, out, count):
    """A pre-token that is not among the words of the cache; returns how many ids it has."""
    symbols, ranks, links, heap = scratch
    size = _offset(end) - at
    if end < 0:
        out[count] = run_ids[size]
        written = 1
    elif size <= WORD_BYTES:
        written = merge_short(text, at, end, merges, symbols, ranks, out, count) - count
    elif size <= PASSAGE_BYTES:
        return _encode_passage(text, at, end, merges, cache, symbols, ranks, out, count)
    else:
        return merge_long(text, at, end, merges, symbols, ranks, links, heap, out, count) - count
    if size <= WORD_BYTES and written * out.itemsize <= WORD_ID_BYTES:
        _remember_word(keys, cache, out, count, written)
    return written


@kernel
def _encode_some(text, at, ends, begin, stop, run_ids, merges, cache, scratch, keys, out, count):
    """Ids of the pre-tokens that end at ends[begin:stop], the first of which starts at `at`.

    Returns ids in `out`, where the next pre-token starts, and its size if it needs a larger scratch (else 0).
    """
    _look_ahead(text, at, ends, begin, stop, cache, keys)
    for i in range(stop - begin):
        first, second, place = keys[i, 0], keys[i, 1], keys[i, 2]
        other = place + _WORD_U
        differs = (cache[place] ^ first) | (cache[place + _ONE] & _KEY_BITS ^ second)
        other_differs = (cache[other] ^ first) | (cache[other + _ONE] & _KEY_BITS ^ second)
        if differs == 0:
            copy16(out, count, cache, place + _TWO)
            count += np.int64(cache[place + _ONE] >> _COUNT_AT)
        elif other_differs == 0:
            copy16(out, count, cache, other + _TWO)
            count += np.int64(cache[other + _ONE] >> _COUNT_AT)
            swap32(cache, place, other)
        else:
            start = at if i == 0 else _offset(ends[begin + i - 1])
            end = ends[begin + i]
            size = _offset(end) - start
            if size > PASSAGE_BYTES and size > scratch[0].size and end > 0:
                return count, start, size
            count += _encode_new(text, start, end, keys[i], run_ids, merges, cache, scratch, out, count)
    return count, _offset(ends[stop - 1]), 0


@kernel
def encode_pieces(
    text,
    windows,
    piece_ends,
    token_after,
    piece,
    start,
    longest_run,
    run_ids,
    tables,
    merges,
    cache,
    scratch,
    ends,
    keys,
    out,
    counts,
):
    """Ids of the pieces from offset `start` in `piece` on into `out`, uint16 or uint32.

    `piece_ends[i]` is where piece i ends in `text`, `token_after[i]` the id that follows it (-1: none), `counts[i]` is
    raised by its ids. `out` has room for an id a byte and a piece, and SLACK. Returns ids written, the piece and offset
    to go on with, and the bytes of the pre-token that needs a larger scratch (0: none).

    Where `windows` has rows, those where NFC could change the text are put there first; if there are any, minus their
    number comes back in the place of the ids written, and nothing is encoded.
    """
    if len(windows) > 0:
        found = find_windows(text, piece_ends, tables.page_of, tables.properties, windows)
        if found > 0:
            return -found, piece, start, 0
    count = np.int64(0)
    at = np.int64(start)
    while piece < piece_ends.size:
        stop = np.int64(piece_ends[piece])
        counted = count
        while at < stop:
            found, _ = find_pretokens(text, at, stop, longest_run, tables.page_of, tables.properties, ends)
            for begin in range(0, found, LOOKAHEAD):
                until = min(begin + LOOKAHEAD, found)
                count, at, size = _encode_some(
                    text, at, ends, begin, until, run_ids, merges, cache, scratch, keys, out, count
                )
                if size:
                    counts[piece] += count - counted
                    return count, piece, at, size
        if token_after[piece] >= 0:
            out[count] = token_after[piece]
            count += 1
        counts[piece] += count - counted
        piece += 1
    return count, piece, at, 0
