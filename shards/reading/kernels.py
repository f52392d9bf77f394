"""Samples gathered out of a mapped file: arrays and scalars in, a given array filled, nothing allocated.

A sample begins at (position in doc_idx, offset in that sequence) and goes on through the sequences that follow there;
an empty `doc_idx` stands for all sequences in the order they have, over and over. Every place is compared with the ends
of its array before it is read, so that no index, however wrong, leads outside.
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.bits.kernels import prefetch
from pile_toolkit.core.kernels import kernel

# Asked for of a piece, 64 bytes each: a sample of 2,049 ids of two bytes; the processor itself follows further on.
_LINES = 64
_LINE_BYTES = 64
# The sequences of a sample looked up beforehand; most samples have fewer.
_SEQUENCES = 4


@kernel
def sequence_at(sizes, doc_idx, position):
    """The sequence at a position, -1 where there is none."""
    if position < 0:
        return np.int64(-1)
    if doc_idx.size == 0:
        return position % sizes.size if sizes.size > 0 else np.int64(-1)
    sequence = np.int64(doc_idx[position]) if position < doc_idx.size else np.int64(-1)
    return sequence if sequence < sizes.size else np.int64(-1)


@kernel
def piece_at(ids, sizes, pointers, doc_idx, position, offset, missing):
    """(first id in the file, number of ids) of a sample's piece in one sequence; (0, -1) where it leads outside."""
    sequence = sequence_at(sizes, doc_idx, position)
    if sequence < 0:
        return np.int64(0), np.int64(-1)
    count = min(np.int64(sizes[sequence]) - offset, missing)
    start = pointers[sequence] // ids.itemsize + offset
    if offset < 0 or count < 0 or start < 0 or start > ids.size - count:
        return np.int64(0), np.int64(-1)
    return start, count


@kernel
def gather(ids, sizes, pointers, doc_idx, position, offset, length, target, first):
    """Writes `length` ids from a place on to `target` from item `first` on; False where they lead outside."""
    done, nothing = np.int64(0), np.int64(0)
    while done < length:
        start, count = piece_at(ids, sizes, pointers, doc_idx, position, offset, length - done)
        # Without an end of doc_idx, sequences of no ids would never fill a sample.
        nothing = np.int64(0) if count > 0 else nothing + 1
        if count < 0 or nothing > sizes.size + doc_idx.size:
            return False
        # Slices, because their items are counted from 0: sums might be negative for all that the compiler knows.
        source, copy = ids[start : start + count], target[first + done : first + done + count]
        for number in range(count):
            copy[number] = source[number]
        done += count
        position += 1
        offset = np.int64(0)
    return True


@kernel
def locate(ids, sizes, pointers, doc_idx, position, offset, length):
    """Where in the file a sample begins that lies inside one sequence, -1 for any other.

    What the sample needs is asked of memory, so that it is there when it is read.
    """
    start, count = piece_at(ids, sizes, pointers, doc_idx, position, offset, length)
    _ask_for_ids(ids, sizes, pointers, doc_idx, position, offset, length)
    return start if count == length else np.int64(-1)


@kernel
def gather_batch(ids, sizes, pointers, doc_idx, starts, length, target):
    """Writes the samples from these places on one after another; returns how many: fewer where one leads outside.

    Where a sample lies is asked of memory for the whole batch at first, and its ids while the sample before is copied:
    32 random samples of 2,049 ids take half of the time of the plain loop, which waits for each of these in turn.
    """
    _ask_for_places(sizes, pointers, doc_idx, starts)
    samples = starts.shape[0]
    for following in range(samples + 1):
        if following < samples:
            position, offset = np.int64(starts[following, 0]), np.int64(starts[following, 1])
            _ask_for_ids(ids, sizes, pointers, doc_idx, position, offset, length)
        if following > 0:
            number = following - 1
            position, offset = np.int64(starts[number, 0]), np.int64(starts[number, 1])
            if not gather(ids, sizes, pointers, doc_idx, position, offset, length, target, number * length):
                return number
    return samples


@kernel
def find_starts(sample_idx, shuffle_idx, numbers, starts):
    """Row k of `starts` becomes where sample `numbers[k]` begins; returns how many, -1 where there is no such number.

    `sample_idx` is flat. Fewer than all where `shuffle_idx` leads outside of it: that row becomes (-1, -1). Of each
    array the items of the whole batch are asked for before the first one is needed.
    """
    for number in numbers:
        if not 0 <= number < shuffle_idx.size:
            return -1
        prefetch(shuffle_idx, number)
    for number in numbers:
        prefetch(sample_idx, 2 * np.int64(shuffle_idx[number]))
    for place in range(numbers.size):
        row = np.int64(shuffle_idx[numbers[place]])
        if not 0 <= row < sample_idx.size // 2:
            starts[place, 0] = starts[place, 1] = -1
            return place
        starts[place, 0] = sample_idx[2 * row]
        starts[place, 1] = sample_idx[2 * row + 1]
    return numbers.size


@kernel
def gather_shuffled(ids, sizes, pointers, doc_idx, sample_idx, shuffle_idx, numbers, starts, length, target):
    """As `gather_batch`, of the samples whose places `find_starts` finds; what that returns where not all are found."""
    found = find_starts(sample_idx, shuffle_idx, numbers, starts)
    if found < numbers.size:
        return found
    return gather_batch(ids, sizes, pointers, doc_idx, starts, length, target)


@kernel
def _ask_for_places(sizes, pointers, doc_idx, starts):
    for number in range(starts.shape[0]):
        position = np.int64(starts[number, 0])
        if 0 <= position < doc_idx.size:
            prefetch(doc_idx, position)
    for number in range(starts.shape[0]):
        position = np.int64(starts[number, 0])
        for further in range(_SEQUENCES):
            sequence = sequence_at(sizes, doc_idx, position + further)
            if sequence >= 0:
                prefetch(sizes, sequence)
                prefetch(pointers, sequence)


@kernel
def _ask_for_ids(ids, sizes, pointers, doc_idx, position, offset, length):
    missing, step = np.int64(length), np.int64(_LINE_BYTES // ids.itemsize)
    for _ in range(_SEQUENCES):
        start, count = piece_at(ids, sizes, pointers, doc_idx, position, offset, missing)
        if count < 0 or missing == 0:
            return
        for place in range(start, start + min(count, _LINES * step), step):
            prefetch(ids, place)
        missing -= count
        position += 1
        offset = np.int64(0)


@kernel
def find_pieces(ids, sizes, pointers, doc_idx, starts, length, places):
    """Row k of `places` becomes (first id, number of ids) of the k-th piece of the samples; returns how many there are.

    As many as `places` has rows at most, none of them empty; a sample that leads outside ends where it does.
    """
    found = 0
    for number in range(starts.shape[0]):
        position, offset = np.int64(starts[number, 0]), np.int64(starts[number, 1])
        missing, nothing = np.int64(length), np.int64(0)
        while missing > 0 and found < places.shape[0]:
            start, count = piece_at(ids, sizes, pointers, doc_idx, position, offset, missing)
            nothing = np.int64(0) if count > 0 else nothing + 1
            if count < 0 or nothing > sizes.size + doc_idx.size:
                break
            if count > 0:
                places[found, 0] = start
                places[found, 1] = count
                found += 1
            missing -= count
            position += 1
            offset = np.int64(0)
    return found
