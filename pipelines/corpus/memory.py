"""The memory of a run in, what each worker may hold in either pass out.

A limit means the peak of all processes together. What a single document takes comes on top where that is more than the
room it is read into or sorted in: LINE_MEMORY_FACTOR times its line to read it, four times to sort it.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from pile_toolkit.core.memory import machine_bytes, parse_memory
from pipelines.corpus.blocks import LARGEST_BLOCK_BYTES, LEAST_BLOCK_BYTES
from pipelines.corpus.loading import is_loaded
from pipelines.lsh.memory import Memory

MIB = 1 << 20
# Python with numpy and pyarrow; with Dask.
BASE_BYTES = 152 * MIB
DASK_BASE_BYTES = 200 * MIB
# With the compiled loop on top, which takes as long to load as it saves on so much text: with its compiler, 0.35 s, or
# alone, 0.02 s, after the planning that goes before in the same process. It saves 5 s of a GB, more on short documents.
KERNELS_BYTES = 72 * MIB
COMPILED_TEXT_BYTES = 64 << 20
LOADED_TEXT_BYTES = 4 << 20
# Rows of the plan on their way out of their groups, blocks of text.
DEALING_BYTES = 64 * MIB
ROW_BYTES = 100
# What zstd's level 3 holds, a chunk of lines, a block on its way in.
SORTING_BYTES = 16 * MIB
LEAST_ROOM_BYTES = 16 * MIB
# Of lines that wait for their block to be full, with Python's objects for them.
PENDING_FACTOR = 1.5


class Room(NamedTuple):
    """What one worker may fill: with lines on their way out in pass 1, with lines to sort in pass 2.

    `compiled`: the compiled loop is worth its time and has its room.
    """

    dealing_bytes: int
    sorting_bytes: int
    compiled: bool = False

    def block_bytes(self, buckets: int) -> int:
        """How much of each bucket may wait."""
        return max(LEAST_BLOCK_BYTES, min(LARGEST_BLOCK_BYTES, int(self.dealing_bytes / (PENDING_FACTOR * buckets))))


def run_room(limit: str | None, *, jobs: int, scheduler: str, largest_rows: int, needed_bytes: int) -> Room:
    """The room of each worker; without a limit half of the machine's memory, and enough in any case.

    `largest_rows` are the plan's rows of one document file, `needed_bytes` those of all lines. Raises UsageError where
    a given limit is too little.
    """
    dask = scheduler not in ("serial", "process")
    others = 0 if scheduler == "serial" or (scheduler == "process" and jobs == 1) else jobs
    workers, bases = max(1, others), (DASK_BASE_BYTES if dask else BASE_BYTES) * (1 + others)
    dealing_bytes = DEALING_BYTES + ROW_BYTES * largest_rows
    # As many buckets as sorting in so much room needs, and the least block of each of them in the same room.
    least_room = max(LEAST_ROOM_BYTES, int((2 * PENDING_FACTOR * LEAST_BLOCK_BYTES * needed_bytes) ** 0.5))
    least_bytes = bases + workers * (least_room + max(dealing_bytes, SORTING_BYTES))
    limit_bytes = max(machine_bytes() // 2, least_bytes) if limit is None else parse_memory(limit)
    if limit_bytes < least_bytes:
        raise Memory(limit_bytes=limit_bytes).too_little(least_bytes, jobs=workers)
    kernels_bytes = KERNELS_BYTES * (1 + others)
    loaded = others == 0 and "numba" in sys.modules
    worth_it = is_loaded() or needed_bytes >= (LOADED_TEXT_BYTES if loaded else COMPILED_TEXT_BYTES * workers)
    compiled = worth_it and limit_bytes >= least_bytes + kernels_bytes
    share = (limit_bytes - bases - (kernels_bytes if compiled else 0)) // workers
    return Room(share - dealing_bytes, share - SORTING_BYTES, compiled)
