"""Kernels loaded before they are needed; on a machine that has none yet they are compiled once, and it is said."""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.loading import loads_once
from pipelines.build import kernels
from pipelines.lsh import kernels as joining


@loads_once("build", seconds=15)
def load_build() -> None:
    """Loads what plans, in this process, for documents numbered in 32 bits."""
    hashes, start = np.zeros((2, 2), np.uint64), np.uint64(0)
    table, values, used = np.zeros((4, 2), np.uint64), np.zeros(4, np.int32), np.zeros(1, np.int64)
    edges, parent, splits = np.zeros((2, 2), np.int32), np.zeros(2, np.int32), np.zeros(2, np.uint8)
    ordinals, copies, keys = np.zeros(2, np.uint32), np.zeros(2, np.uint16), np.zeros(2, np.uint64)
    kernels.join_equal(hashes, 0, 0, 1, table, values, used, edges)
    kernels.count_equal(hashes, 0, 1, table, values, used, ordinals)
    joining.unite(parent, edges)
    joining.flatten(parent)
    kernels.number_groups(parent)
    kernels.least_hashes(parent, hashes, 0, 0, hashes)
    kernels.take_group_splits(parent, 0, splits, splits)
    kernels.text_keys(start, hashes, keys)
    kernels.continue_keys(keys, ordinals)
    given = keys, ordinals, copies, splits, 0
    kernels.count_copies(*given, np.uint64(52), np.zeros(1, np.int64))
    kernels.gather_copies(*given, start, start, keys, keys, used, copies)
