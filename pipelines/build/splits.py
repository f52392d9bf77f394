"""Hashes and clusters in, the split of every document out: what is the same, or nearly, stands on one side.

Documents are of one group if they share the hash of the normalized text or a cluster, and so on through any number of
others, those that deduplication dropped among them: else what is kept could resemble, through one of these, what is
held out. The smallest hash of a group decides for all of it, whatever their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pile_toolkit.core.plan import SPLITS
from pile_toolkit.core.seeds import KEY_RANGE, keyed_columns

if TYPE_CHECKING:
    import numpy as np

    from pile_toolkit.core.tables import TableFile

# Groups whose smallest hashes are in memory together: 256 MB.
GROUPS_AT_ONCE = 1 << 24


def assign_splits(normalized_hashes: np.ndarray, seed: int, val_share: float, test_share: float) -> np.ndarray:
    """The split of each document, from the hash of its normalized text, uint64[n, 2]: uint8[n] into SPLITS."""
    import numpy as np

    keys = keyed_columns(seed, "split", normalized_hashes[:, 0], normalized_hashes[:, 1])
    split = np.full(len(keys), SPLITS.index("train"), np.uint8)
    test_end = int((val_share + test_share) * KEY_RANGE)
    split[keys < np.uint64(test_end)] = SPLITS.index("test")
    split[keys < np.uint64(int(val_share * KEY_RANGE))] = SPLITS.index("val")
    return split


def split_documents(
    keep_list: TableFile, seed: int, val_share: float, test_share: float, *, at_once: int = GROUPS_AT_ONCE
) -> np.ndarray:
    """The split of every row of the keep-list: uint8[rows]. In memory: 5 bytes a row, a table of hashes.

    `at_once` groups are looked at together. Raises CorruptData where a row's cluster is none of the rows.
    """
    import numpy as np

    from pile_toolkit.core.tables import hash_columns
    from pipelines.build import kernels
    from pipelines.build.equal import join_rows

    parent = join_rows(keep_list)
    groups = kernels.number_groups(parent)
    splits = np.empty(len(parent), np.uint8)
    for first, table in keep_list.groups(["normalized_hash"]):
        found = assign_splits(hash_columns(table, "normalized_hash"), seed, val_share, test_share)
        splits[first : first + len(found)] = found
    for low in range(0, groups, at_once):
        least = np.full((min(at_once, groups - low), 2), KEY_RANGE - 1, np.uint64)
        for first, table in keep_list.groups(["normalized_hash"]):
            kernels.least_hashes(parent, hash_columns(table, "normalized_hash"), first, low, least)
        kernels.take_group_splits(parent, low, assign_splits(least, seed, val_share, test_share), splits)
    return splits
