"""Hashes, groups and copies in, tables filled out, compiled: given arrays, nothing allocated.

A table of hashes has a power of two places and is asked for one part of all hashes at a time, by their upper half, so
that it stays of one size however many there are.
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.kernels import kernel

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _HALF = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@kernel
def _mixed(key, value):
    """One column of `keyed_columns`."""
    key += value + _GOLDEN
    key = (key ^ (key >> _30)) * _FIRST
    key = (key ^ (key >> _27)) * _SECOND
    return key ^ (key >> _31)


@kernel
def _slot(high, low, table, values):
    """The place of a hash, or the free one, whose value is 0, where it would stand."""
    mask = values.size - 1
    slot = np.int64(low & np.uint64(mask))
    while values[slot] != 0 and (table[slot, 0] != high or table[slot, 1] != low):
        slot = (slot + 1) & mask
    return slot


@kernel
def join_equal(hashes, first, part, parts, table, values, used, edges):
    """Edges from the first row that has a hash of this part to every later one; how many there are.

    `values` are rows from 1, `used[0]` counts the hashes. -1 where the table is three quarters full.
    """
    made = 0
    for row in range(hashes.shape[0]):
        high, low = hashes[row, 0], hashes[row, 1]
        if np.int64(((high >> _HALF) * np.uint64(parts)) >> _HALF) != part:
            continue
        slot = _slot(high, low, table, values)
        if values[slot] != 0:
            edges[made, 0] = values[slot] - 1
            edges[made, 1] = first + row
            made += 1
            continue
        if 4 * used[0] >= 3 * values.size:
            return -1
        used[0] += 1
        table[slot, 0] = high
        table[slot, 1] = low
        values[slot] = first + row + 1
    return made


@kernel
def count_equal(hashes, part, parts, table, values, used, ordinals):
    """How many rows before each row of this part have its hash; False where the table is three quarters full."""
    for row in range(hashes.shape[0]):
        high, low = hashes[row, 0], hashes[row, 1]
        if np.int64(((high >> _HALF) * np.uint64(parts)) >> _HALF) != part:
            continue
        slot = _slot(high, low, table, values)
        if values[slot] == 0:
            if 4 * used[0] >= 3 * values.size:
                return False
            used[0] += 1
            table[slot, 0] = high
            table[slot, 1] = low
        ordinals[row] = values[slot]
        values[slot] += 1
    return True


@kernel
def number_groups(parent):
    """Gives every group of several rows a number, which its smallest row holds as -1 - number; how many there are.

    The parent of every other row is the smallest row of its group.
    """
    groups = 0
    for row in range(parent.size):
        top = parent[row]
        if top != row and parent[top] >= 0:
            parent[top] = -1 - groups
            groups += 1
    return groups


@kernel
def least_hashes(parent, hashes, first, low_group, least):
    """least[g] becomes the smallest hash of group low_group + g, as a pair of numbers, of rows from `first`."""
    for place in range(hashes.shape[0]):
        top = parent[first + place]
        if top >= 0:
            top = parent[top]
        group = -1 - top - low_group
        if top < 0 and 0 <= group < least.shape[0]:
            high, low = hashes[place, 0], hashes[place, 1]
            if high < least[group, 0] or (high == least[group, 0] and low < least[group, 1]):
                least[group, 0] = high
                least[group, 1] = low


@kernel
def take_group_splits(parent, low_group, of_group, splits):
    """The split of every row that is in one of the groups from `low_group` becomes that of its group."""
    for row in range(parent.size):
        top = parent[row]
        if top >= 0:
            top = parent[top]
        group = -1 - top - low_group
        if top < 0 and 0 <= group < of_group.size:
            splits[row] = of_group[group]


@kernel
def text_keys(start, hashes, keys):
    """`keyed_columns` of both halves of each hash; `start` is `keyed` of seed and purpose."""
    for row in range(hashes.shape[0]):
        keys[row] = _mixed(_mixed(start, hashes[row, 0]), hashes[row, 1])


@kernel
def continue_keys(keys, ordinals):
    """The same with a further column."""
    for row in range(keys.size):
        keys[row] = _mixed(keys[row], np.uint64(ordinals[row]))


@kernel
def count_copies(texts, ordinals, copies, splits, split, shift, counts):
    """counts[key >> shift] += 1 for every copy of a split; `texts` are keys of texts."""
    for row in range(texts.size):
        if splits[row] == split and copies[row] > 0:
            begun = _mixed(texts[row], np.uint64(ordinals[row]))
            for copy in range(copies[row]):
                counts[np.int64(_mixed(begun, np.uint64(copy)) >> shift)] += 1


@kernel
def gather_copies(texts, ordinals, copies, splits, split, low, high, keys, identities, rows, numbers):
    """Writes every copy of a split whose key is from `low` to `high`, both included; how many there are."""
    used = 0
    for row in range(texts.size):
        if splits[row] == split and copies[row] > 0:
            begun = _mixed(texts[row], np.uint64(ordinals[row]))
            for copy in range(copies[row]):
                key = _mixed(begun, np.uint64(copy))
                if low <= key <= high:
                    keys[used] = key
                    identities[used] = texts[row] | np.uint64(1)
                    rows[used] = row
                    numbers[used] = copy
                    used += 1
    return used
