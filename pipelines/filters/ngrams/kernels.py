"""The words of one document in, how many characters stand in n-grams that occur again out.

`text` is uint32, the characters of all words without anything between them; `ends` where each word ends in it. Two
n-grams are one if their characters are: compared, not only hashed. `sums` and `powers` are those of `sum_characters`;
`slots` has a power of two places, more than twice the words.
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.kernels import kernel

# Odd, and each the other's inverse modulo 2^64: a sum over a part of the text is moved to where the text begins.
_BASE = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(0xF1DE83E19937733D)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_HALF = np.uint64(29)
_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_FREE = -1


@kernel
def sum_characters(text, ends, sums, powers):
    """sums[w]: of characters times powers of the base before word w, modulo 2^64; powers[w]: what takes it back."""
    total, power, inverse, at = _ZERO, _ONE, _ONE, 0
    sums[0] = _ZERO
    powers[0] = _ONE
    for word in range(ends.size):
        while at < ends[word]:
            total += (np.uint64(text[at]) + _ONE) * power
            power *= _BASE
            inverse *= _INVERSE
            at += 1
        sums[word + 1] = total
        powers[word + 1] = inverse


@kernel(inline="always")
def _slot_of(word, n, sums, powers, mask):
    key = (sums[word + n] - sums[word]) * powers[word] * _MIX
    return np.int64((key ^ key >> _HALF) >> np.uint64(3)) & mask


@kernel(inline="always")
def _equal(text, left, right, count):
    for place in range(count):  # noqa: SIM110 - numba has no all()
        if text[left + place] != text[right + place]:
            return False
    return True


@kernel
def duplicate_characters(text, ends, n, sums, powers, slots):
    """Characters of n-grams that stood before, read from the left; after such a one the next begins behind it."""
    words, mask = ends.size, slots.size - 1
    for slot in range(slots.size):
        slots[slot] = _FREE
    word, repeated = 0, 0
    while word + n <= words:
        start = ends[word - 1] if word > 0 else 0
        size = ends[word + n - 1] - start
        slot = _slot_of(word, n, sums, powers, mask)
        found = False
        while slots[slot] != _FREE and not found:
            other = slots[slot]
            first = ends[other - 1] if other > 0 else 0
            if ends[other + n - 1] - first == size and _equal(text, first, start, size):
                found = True
            else:
                slot = (slot + 1) & mask
        if found:
            repeated += size
            word += n
        else:
            slots[slot] = word
            word += 1
    return repeated


@kernel
def top_characters(text, ends, n, sums, powers, slots, counts):
    """Characters of the most frequent n-gram, spaces between its words, as often as it stands; the first of several.

    Here n-grams are one only if all their words are. `counts` has a place for every word.
    """
    words, mask = ends.size, slots.size - 1
    for slot in range(slots.size):
        slots[slot] = _FREE
    for word in range(words):
        counts[word] = 0
    for word in range(words - n + 1):
        start = ends[word - 1] if word > 0 else 0
        size = ends[word + n - 1] - start
        slot = _slot_of(word, n, sums, powers, mask)
        while slots[slot] != _FREE:
            other = slots[slot]
            first = ends[other - 1] if other > 0 else 0
            same = True
            for part in range(n):
                if ends[other + part] - first != ends[word + part] - start:
                    same = False
            if same and _equal(text, first, start, size):
                break
            slot = (slot + 1) & mask
        if slots[slot] == _FREE:
            slots[slot] = word
        counts[slots[slot]] += 1
    best, most = 0, 0
    for word in range(words):
        if counts[word] > most:
            best, most = word, counts[word]
    if most == 0:
        return 0
    start = ends[best - 1] if best > 0 else 0
    return (ends[best + n - 1] - start + n - 1) * most
