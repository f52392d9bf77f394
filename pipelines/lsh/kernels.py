"""Band hashes in, rows by cell, star edges and clusters out, compiled: given arrays filled, nothing allocated.

A hash stands for itself times an odd number, which keeps equal ones equal and spreads whatever was made badly. A span
of these keys, all or part of the 2^64, is cut into cells of 2^shift keys each.
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.kernels import kernel

# 2^64 by the golden ratio.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_FREE = -1


@kernel
def count_cells(hashes, low, shift, counts):
    """counts[c] += how many keys lie in cell c of the span that begins at `low`."""
    cells = np.uint64(counts.size)
    for row in range(hashes.size):
        cell = (hashes[row] * _SPREAD - low) >> shift
        if cell < cells:
            counts[np.int64(cell)] += 1


@kernel
def scatter(hashes, first, low, shift, places, keys, ids):
    """Puts key and number (`first` and on) of every row in the span at places[its cell], which move on.

    False where there are more rows than were counted.
    """
    cells = np.uint64(places.size)
    for row in range(hashes.size):
        key = hashes[row] * _SPREAD
        cell = (key - low) >> shift
        if cell < cells:
            place = places[np.int64(cell)]
            if place >= keys.size:
                return False
            places[np.int64(cell)] = place + 1
            keys[place] = key
            ids[place] = first + row
    return True


@kernel
def list_equal(hashes, first, low, centre, edges):
    """Edges from `centre` (-1: from the first row found) to all rows of exactly this key; (edges, centre)."""
    made = 0
    for row in range(hashes.size):
        if hashes[row] * _SPREAD == low:
            if centre < 0:
                centre = first + row
            else:
                edges[made, 0] = centre
                edges[made, 1] = first + row
                made += 1
    return made, centre


@kernel
def find_stars(keys, ids, ends, table_keys, table_ids, edges, state):
    """Edges from the first row of every key that occurs again in its cell to the others, cell by cell.

    Cells end at `ends`; the tables have a power of two places, more than twice the rows of the largest cell, and
    `edges` has room for the edges of that. Goes on at cell state[0], adds to state[1] the keys that occur again, and
    returns the number of edges: once they do not fit any more, or all cells are done.
    """
    made = 0
    while state[0] < ends.size:
        cell = state[0]
        start, end = ends[cell - 1] if cell > 0 else 0, ends[cell]
        if made + end - start > edges.shape[0]:
            return made
        mask = 3
        while mask + 1 < 2 * (end - start):
            mask = 2 * mask + 1
        if end - start > 1:
            for free in range(mask + 1):
                table_ids[free] = _FREE
            for row in range(start, end):
                key = keys[row]
                slot = np.int64(key ^ key >> _HALF) & mask
                while table_ids[slot] != _FREE and table_keys[slot] != key:
                    slot = (slot + 1) & mask
                found = table_ids[slot]
                if found == _FREE:
                    table_keys[slot] = key
                    table_ids[slot] = ids[row]
                    continue
                if found >= 0:
                    # From now on it is known that the key occurs again.
                    found = -2 - found
                    table_ids[slot] = found
                    state[1] += 1
                edges[made, 0] = -2 - found
                edges[made, 1] = ids[row]
                made += 1
        state[0] += 1
    return made


@kernel
def unite(parent, edges):
    """Joins the two clusters of every edge; the parent of a row is never larger than the row.

    Source: Rem's algorithm with splicing; Dijkstra 1976, Patwary, Blair and Manne 2010. False for a row out of range.
    """
    for edge in range(edges.shape[0]):
        left, right = edges[edge, 0], edges[edge, 1]
        if left < 0 or right < 0 or left >= parent.size or right >= parent.size:
            return False
        while parent[left] != parent[right]:
            if parent[left] < parent[right]:
                left, right = right, left
            above = parent[left]
            parent[left] = parent[right]
            left = above
    return True


@kernel
def flatten(parent):
    """Makes the parent of every row the smallest row of its cluster."""
    for row in range(parent.size):
        parent[row] = parent[parent[row]]


@kernel
def crown(parent, rank):
    """Makes the parent of every row that of smallest rank in its cluster (of equal ranks the smallest row).

    A smallest row holds, meanwhile, the best one found so far, below zero.
    """
    for row in range(parent.size):
        top = parent[row]
        if top == row:
            parent[row] = -1 - row
        elif rank[row] < rank[-1 - parent[top]]:
            parent[top] = -1 - row
    for row in range(parent.size):
        if parent[row] >= 0:
            parent[row] = -1 - parent[parent[row]]
    for row in range(parent.size):
        if parent[row] < 0:
            parent[row] = -1 - parent[row]


@kernel
def mark(edges, flags):
    """flags[row] = 1 of all rows on edges; False for a row out of range."""
    for edge in range(edges.shape[0]):
        for side in range(2):
            row = edges[edge, side]
            if row < 0 or row >= flags.size:
                return False
            flags[row] = 1
    return True


@kernel
def count_centres(edges, shift, counts):
    """counts[centre >> shift] += 1 for every edge; False for a centre out of range."""
    for edge in range(edges.shape[0]):
        cell = edges[edge, 0] >> shift
        if cell < 0 or cell >= counts.size:
            return False
        counts[cell] += 1
    return True


@kernel
def gather_edges(edges, low, high, number, centres, members, numbers, used):
    """Appends the edges whose centre lies in [low, high), with a number, behind `used`; how many there are then.

    -1 where there is no more room.
    """
    for edge in range(edges.shape[0]):
        centre = edges[edge, 0]
        if low <= centre < high:
            if used >= centres.size:
                return -1
            centres[used] = centre
            members[used] = edges[edge, 1]
            numbers[used] = number
            used += 1
    return used
