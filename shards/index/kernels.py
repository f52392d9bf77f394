"""Loops over every document, sample or draw, compiled: given arrays are filled, nothing is allocated."""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.kernels import kernel

ROUNDS = 6
MT_WORDS = 624
MT_SHIFT = 397


@kernel
def fill_sample_idx(sizes, doc_idx, sequence_length, block, sample_idx):
    """Row k becomes (position in doc_idx, offset) of token k * sequence_length; returns the rows filled.

    Row 0 is (0, 0) even where the first document is empty, as in gpt-neox. `block` is scratch space of any length from
    1 of the type of `sizes`. An empty `doc_idx` stands for all documents in the order they have.
    """
    given = doc_idx.size > 0
    positions = doc_idx.size if given else sizes.size
    rows = sample_idx.shape[0]
    sample_idx[0, 0] = 0
    sample_idx[0, 1] = 0
    row = 1
    # Where the next sample starts, counted from the start of the document at hand.
    offset = np.int64(sequence_length)
    for first in range(0, positions, block.size):
        count = min(block.size, positions - first)
        # Gathered apart from the walk below: sizes come from all over memory, and nothing here waits for them in turn.
        for position in range(count):
            block[position] = sizes[doc_idx[first + position]] if given else sizes[first + position]
        for position in range(count):
            size = np.int64(block[position])
            # Most documents hold no start or one, unpredictably: written always, kept or overwritten without a branch.
            if row < rows:
                sample_idx[row, 0] = first + position
                sample_idx[row, 1] = offset
                inside = int(offset < size)
                row += inside
                offset += inside * sequence_length
            while offset < size and row < rows:
                sample_idx[row, 0] = first + position
                sample_idx[row, 1] = offset
                row += 1
                offset += sequence_length
            offset -= size
    return row


@kernel
def add_reads(sizes, doc_idx, starts, length, reads):
    """Adds to `reads[sequence]` the ids of it among the `length` from each row (position, offset) of `starts` on.

    An empty `doc_idx` stands for all documents in the order they have, over and over.
    """
    given = doc_idx.size > 0
    for row in range(starts.shape[0]):
        position = np.int64(starts[row, 0])
        offset = np.int64(starts[row, 1])
        missing = np.int64(length)
        while missing > 0:
            sequence = np.int64(doc_idx[position]) if given else position % sizes.size
            taken = min(np.int64(sizes[sequence]) - offset, missing)
            reads[sequence] += taken
            missing -= taken
            offset = np.int64(0)
            position += 1


@kernel
def fill_blend(weights, counts, first, dataset_index, dataset_sample_index):
    """Steps `first`, `first` + 1, ... each take from the data set that lags most behind its share, the lowest on ties.

    `counts` [data sets] is how many samples each has given so far, and is kept up to date.
    """
    for row in range(dataset_index.size):
        step = max(np.float64(first + row), 1.0)
        chosen = 0
        most = weights[0] * step - np.float64(counts[0])
        for number in range(1, weights.size):
            error = weights[number] * step - np.float64(counts[number])
            if error > most:
                most = error
                chosen = number
        dataset_index[row] = chosen
        dataset_sample_index[row] = counts[chosen]
        counts[chosen] += 1


@kernel
def permuted(number, size, keys):
    """Where `number` of 0 to `size` - 1 stands in the order of `keys` (uint64 [ROUNDS]): a bijection, int64.

    A Feistel network over the smallest power of two that holds `size`, its halves a bit apart where the bits are odd,
    walked on until it lands inside: under two rounds through it on average. Source: Black and Rogaway, Ciphers with
    Arbitrary Finite Domains (2002); the round function is the finalizer of SplitMix64.
    """
    bits = np.uint64(0)
    while bits < np.uint64(63) and (np.int64(1) << np.int64(bits)) < size:
        bits += np.uint64(1)
    low_bits = bits >> np.uint64(1)
    high_bits = bits - low_bits
    low_mask = (np.uint64(1) << low_bits) - np.uint64(1)
    high_mask = (np.uint64(1) << high_bits) - np.uint64(1)
    value = np.uint64(number)
    while True:
        low = value & low_mask
        high = value >> low_bits
        for turn in range(0, ROUNDS, 2):
            high ^= _mixed(low ^ keys[turn]) & high_mask
            low ^= _mixed(high ^ keys[turn + 1]) & low_mask
        value = (high << low_bits) | low
        if value < np.uint64(size):
            return np.int64(value)


@kernel
def _mixed(key):
    key += np.uint64(0x9E3779B97F4A7C15)
    key ^= key >> np.uint64(30)
    key *= np.uint64(0xBF58476D1CE4E5B9)
    key ^= key >> np.uint64(27)
    key *= np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


@kernel
def fill_starts(numbers, first, size, keys, tokens, sequence_length, sizes, table, starts):
    """Each row becomes (position, offset) where sample `numbers[row]` of the epoch from sample `first` on starts.

    The epoch has `size` samples; the documents, `tokens` ids in all, stand in the order they have, again and again;
    `table` is the `sample_idx` of a single pass over them.
    """
    for row in range(numbers.size):
        sample = first + permuted(numbers[row] - first, size, keys)
        token = (sample * sequence_length) % tokens
        known = token // sequence_length
        position = np.int64(table[known, 0])
        offset = np.int64(table[known, 1]) + (token - known * sequence_length)
        while offset >= sizes[position]:
            offset -= sizes[position]
            position += 1
        starts[row, 0] = position
        starts[row, 1] = offset


@kernel
def draw_swaps(words, place, first, partners):
    """`partners[k]` becomes numpy's `random_interval(first - k)`, with its generator's state in `words`; new place.

    As RandomState draws: MT19937, masked with the smallest 2^b - 1 that holds the limit, drawn again while above it;
    two words, the higher first, where the limit has more than 32 bits.
    """
    row = 0
    while row < partners.size:
        limit = np.uint64(first - row)
        mask = limit
        for shift in (1, 2, 4, 8, 16, 32):
            mask |= mask >> np.uint64(shift)
        wide = limit > np.uint64(0xFFFFFFFF)
        # As long as no limit is below half of this mask, it is that of all of them: a draw costs no search for it.
        last = min(np.int64(partners.size), row + np.int64(limit - (mask >> np.uint64(1))))
        while row < last:
            if place >= MT_WORDS:
                _twist(words)
                place = 0
            value = _tempered(words[place])
            place += 1
            if wide:
                if place >= MT_WORDS:
                    _twist(words)
                    place = 0
                value = (value << np.uint64(32)) | _tempered(words[place])
                place += 1
            value &= mask
            partners[row] = np.int64(value)
            # Written always and kept where it is not above the limit: no branch that cannot be foreseen.
            row += int(value <= np.uint64(first - row))
    return place


@kernel
def _tempered(word):
    value = np.uint64(word)
    value ^= value >> np.uint64(11)
    value ^= (value << np.uint64(7)) & np.uint64(0x9D2C5680)
    value ^= (value << np.uint64(15)) & np.uint64(0xEFC60000)
    return value ^ (value >> np.uint64(18))


@kernel
def _twist(words):
    for place in range(MT_WORDS):
        following = words[place + 1 if place + 1 < MT_WORDS else 0]
        joined = (words[place] & np.uint32(0x80000000)) | (following & np.uint32(0x7FFFFFFF))
        far = place + MT_SHIFT if place + MT_SHIFT < MT_WORDS else place + MT_SHIFT - MT_WORDS
        words[place] = words[far] ^ (joined >> np.uint32(1)) ^ ((joined & np.uint32(1)) * np.uint32(0x9908B0DF))


@kernel
def swap(array, first, partners):
    """Exchanges element `first` - k with element `partners[k]`, one after the other; returns nothing of interest."""
    # Looked at before, all at once: each is far from the last, and waiting for them in turn takes most of the time.
    touched = array[first]
    for row in range(partners.size):
        touched ^= array[partners[row]]
    for row in range(partners.size):
        other = partners[row]
        value = array[other]
        array[other] = array[first - row]
        array[first - row] = value
    return touched
