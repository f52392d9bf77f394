"""Hashes of documents in, which are equal out: by a table of one part of all hashes at a time, read again for each.

So memory is that of a table, however many documents there are: 672 MB at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.tables import hash_columns, integers, joined
from pipelines.build import kernels
from pipelines.lsh.kernels import flatten, unite

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pile_toolkit.core.tables import TableFile
    from pipelines.build.rows import PlannedRows

SLOTS = 1 << 25
LEAST_SLOTS = 1 << 10


class _Table:
    """Places for the hashes of one part of the rows; empty at first."""

    def __init__(self, rows: int, slots: int) -> None:
        self.hashes = np.empty((slots, 2), np.uint64)
        self.values = np.zeros(slots, id_type(rows))
        self.used = np.zeros(1, np.int64)

    def clear(self) -> None:
        self.values.fill(0)
        self.used.fill(0)


def id_type(rows: int) -> type[np.signedinteger]:
    """What numbers so many rows, and counts them."""
    return np.int32 if rows < 2**31 - 1 else np.int64


def _slots(rows: int) -> int:
    """Places for twice as many hashes as rows, if that is not too many."""
    return min(SLOTS, max(LEAST_SLOTS, 1 << (2 * rows).bit_length()))


def join_rows(keep_list: TableFile, *, slots: int | None = None) -> NDArray:
    """The smallest row of each row's group: those of one cluster or one normalized hash are of one, through any others.

    `slots` are the places of the table. Raises CorruptData where a cluster is none of the rows.
    """
    rows = len(keep_list)
    parent = np.arange(rows, dtype=id_type(rows))
    for first, table in keep_list.groups(["cluster"]):
        cluster = integers(joined(table, "cluster"))
        if len(cluster) and int(cluster.max()) >= rows:
            fact = f"{keep_list.path} names a cluster {int(cluster.max()):,} and has {rows:,} rows"
            raise CorruptData(fact, hint=f"rm {keep_list.path} && pile dedup")
        mine = np.arange(first, first + len(cluster), dtype=parent.dtype)
        others = cluster != mine.astype(np.uint64)
        unite(parent, np.stack([cluster[others].astype(parent.dtype), mine[others]], axis=1))
    slots = slots or _slots(rows)
    while not _join_equal(keep_list, parent, slots):
        # Another number of different hashes in a part than chance gives: what was joined stays so.
        slots *= 2
    flatten(parent)
    return parent


def _join_equal(keep_list: TableFile, parent: NDArray, slots: int) -> bool:
    """Joins the rows of one normalized hash; False where a part has more than the table takes."""
    table, parts = _Table(len(parent), slots), _parts(len(parent), slots)
    for part in range(parts):
        table.clear()
        for first, columns in keep_list.groups(["normalized_hash"]):
            hashes = hash_columns(columns, "normalized_hash")
            edges = np.empty((len(hashes), 2), parent.dtype)
            made = kernels.join_equal(hashes, first, part, parts, table.hashes, table.values, table.used, edges)
            if made < 0:
                return False
            unite(parent, edges[:made])
    return True


def count_ordinals(rows: PlannedRows, *, slots: int | None = None) -> NDArray[np.uint32]:
    """How many rows of the plan before each have the same text hash: equal texts need different keys."""
    ordinals = np.zeros(len(rows), np.uint32)
    slots = slots or _slots(len(rows))
    while not _count_equal(rows, ordinals, slots):
        slots *= 2
    return ordinals


def _count_equal(rows: PlannedRows, ordinals: NDArray[np.uint32], slots: int) -> bool:
    table, parts = _Table(len(rows), slots), _parts(len(rows), slots)
    for part in range(parts):
        table.clear()
        for first, hashes in rows.hashes():
            mine = ordinals[first : first + len(hashes)]
            if not kernels.count_equal(hashes, part, parts, table.hashes, table.values, table.used, mine):
                return False
    return True


def _parts(rows: int, slots: int) -> int:
    return max(1, -(-2 * rows // slots))
