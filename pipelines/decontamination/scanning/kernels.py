"""Folded evaluation texts in, a table of their n-grams out; folded documents in, the n-grams they share with it out.

Two steps find an n-gram. The first `size` words of each, a number that all n-grams have, leave four bits in a filter
of some MB, and nearly every word of a document fails there. For the few that pass, the bytes of the n-gram are hashed,
looked up and compared, for the lengths that n-grams with such a beginning have: what is found is there, byte for byte.
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.kernels import kernel
from pipelines.minhash.hashing.kernels import xxh64
from pipelines.minhash.kernels import find_words, hash_shingles, hash_units, keep_last

_NONE, _ONE, _SIX_BITS = np.uint64(0), np.uint64(1), np.uint64(63)
_SPACE = 0x20


@kernel
def _write_keys(room, units, size, keys):
    """A hash for each `size` words in a row; how many."""
    count = max(units - size + 1, 0)
    if count:
        hash_shingles(room.hashes, units, count, size, keys, 0)
    return count


@kernel
def _bits(key):
    # Four of 64: with two, one word in thirty would pass that begins nothing.
    low = _ONE << (key & _SIX_BITS) | _ONE << (key >> np.uint64(6) & _SIX_BITS)
    return low | _ONE << (key >> np.uint64(12) & _SIX_BITS) | _ONE << (key >> np.uint64(18) & _SIX_BITS)


@kernel
def mark_ngrams(text, starts, sizes, which, size, room, keys, marks, kinds, shift):
    """Sets the bits of the first `size` words of each n-gram, `sizes` bytes of folded text from `starts` on.

    `marks` and `kinds` are uint64[1 << (64 - shift)]: in `kinds` stands, by bits, `which` lengths n-grams have whose
    beginning is marked there.
    """
    for ngram in range(starts.size):
        find_words(text, starts[ngram], starts[ngram] + sizes[ngram], room, 0)
        hash_units(text, room, 0, size)
        _write_keys(room, size, size, keys)
        key = keys[0]
        marks[key >> np.uint64(shift)] |= _bits(key)
        kinds[key >> np.uint64(shift)] |= _ONE << (np.uint64(which[ngram]) & _SIX_BITS)


@kernel
def _equal(text, at, other, place, size):
    same = True
    for number in range(size):
        same &= text[at + number] == other[place + number]
    return same


@kernel
def _find(text, start, size, slots, keys, starts, sizes, known):
    """The number of the n-gram with these bytes, or -1; its hash; and the slot where it is or would be."""
    key = xxh64(text, start, size, _NONE)
    last = np.uint64(slots.size - 1)
    slot = key & last
    while slots[slot] != 0:
        ngram = np.int64(slots[slot]) - 1
        if keys[ngram] == key and sizes[ngram] == size and _equal(text, start, known, starts[ngram], size):
            return ngram, key, slot
        slot = slot + _ONE & last
    return np.int64(-1), key, slot


@kernel
def insert_ngrams(text, places, lengths, slots, keys, starts, sizes, numbers):
    """Puts n-grams, `lengths` bytes from `places` on, into an empty table; `numbers` says which each is.

    `slots` is uint32, a power of two and larger than the number of n-grams. Returns how many different ones there are.
    """
    count = np.int64(0)
    for row in range(places.size):
        ngram, key, slot = _find(text, places[row], lengths[row], slots, keys, starts, sizes, text)
        if ngram < 0:
            ngram = count
            keys[ngram], starts[ngram], sizes[ngram] = key, places[row], lengths[row]
            count += 1
            slots[slot] = count
        numbers[row] = ngram
    return count


@kernel
def _end_of(text, stop, place, words, room, units):
    """Where `words` words from the noted one at `place` on end; -1 where the text, up to `stop`, has not so many."""
    last = min(place + words, units) - 1
    end = room.starts[last] + np.int64(room.lengths[last])
    # What is not noted yet.
    for _ in range(place + words - units):
        if end >= stop:
            return np.int64(-1)
        end += 1
        while end < stop and text[end] != _SPACE:
            end += 1
    return end


@kernel
def _look_up(
    text, stop, place, units, room, number, word, words, kinds, slots, keys, starts, sizes, known, hits, found
):
    start = room.starts[place]
    for which in range(words.size):
        # Nearly always one length; each that is tried costs several reads from far away.
        if kinds >> (np.uint64(which) & _SIX_BITS) & _ONE == _NONE:
            continue
        end = _end_of(text, stop, place, words[which], room, units)
        if end < 0:
            return found
        ngram, _, _ = _find(text, start, end - start, slots, keys, starts, sizes, known)
        if ngram >= 0:
            if found < hits.shape[0]:
                hits[found, 0], hits[found, 1], hits[found, 2] = number, word, ngram
            found += 1
    return found


@kernel
def scan_texts(text, ends, size, room, prefixes, marks, kinds, shift, words, slots, keys, starts, sizes, known, hits):
    """Rows of `hits`, int64[n, 3], become number of a text, of a word in it, and of the n-gram that begins there.

    Folded texts lie one after the other. `words`, int64, are the lengths of n-grams, ascending. Returns how many hits
    there are, of which only those are noted for which there is a row.
    """
    at, found = np.int64(0), np.int64(0)
    for number in range(ends.size):
        stop, kept, word = ends[number], np.int64(0), np.int64(0)
        while at < stop:
            units, at = find_words(text, at, stop, room, kept)
            hash_units(text, room, kept, units)
            for place in range(_write_keys(room, units, size, prefixes)):
                bits, cell = _bits(prefixes[place]), prefixes[place] >> np.uint64(shift)
                if marks[cell] & bits == bits:
                    found = _look_up(
                        text, stop, place, units, room, number, word + place,
                        words, kinds[cell], slots, keys, starts, sizes, known, hits, found,
                    )  # fmt: skip
            kept = min(size - 1, units)
            keep_last(room, units, kept)
            word += units - kept
    return found
