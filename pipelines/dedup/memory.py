"""What a run may take and what it leaves: the memory of all its processes, the bytes it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pile_toolkit.core.memory import machine_bytes, parse_memory
from pipelines.dedup.fingerprints import ROW_BYTES

if TYPE_CHECKING:
    from pipelines.dedup.settings import Settings
    from pipelines.lsh.memory import Memory

# Of both tables, compressed: hashes do not become smaller.
TABLES_BYTES_PER_DOCUMENT = 60
# An edge is two numbers of 32 bits, and not every second document is in a bucket.
EDGE_BYTES_PER_HASH = 4
# What writes tables, and a group of their rows.
PARENT_BYTES = 96 << 20
# The texts of a batch and a block of each band; of a longer document 5 to 15 times its bytes come on top.
READING_BYTES = 64 << 20


def run_memory(limit: str | None, *, jobs: int, scheduler: str) -> Memory:
    """The memory of a run; without a limit half of the machine's, and enough for so many workers.

    Raises UsageError where a given limit is too little for them.
    """
    from pipelines.lsh.memory import BASE_BYTES, DASK_BASE_BYTES, Memory

    dask = scheduler not in ("serial", "process")
    others = 0 if scheduler == "serial" or (scheduler == "process" and jobs == 1) else jobs
    base_bytes = DASK_BASE_BYTES if dask else BASE_BYTES
    least_bytes = (1 + others) * base_bytes + PARENT_BYTES + max(1, others) * READING_BYTES
    limit_bytes = max(machine_bytes() // 2, least_bytes) if limit is None else parse_memory(limit)
    memory = Memory(limit_bytes=limit_bytes, jobs=jobs, scheduler=scheduler, held_bytes=PARENT_BYTES)
    if limit_bytes < least_bytes:
        raise memory.too_little(least_bytes, jobs=jobs)
    return memory


def disk_bytes(documents: int, settings: Settings) -> int:
    """About what the stage writes: tables, fingerprints and what is on the way, without the sets of `--verify`."""
    hashes = (2 if settings.exact_on else 0) + (settings.bands.bands if settings.bands else 0)
    stored = ROW_BYTES + 8 * (settings.bands.bands if settings.bands else 0)
    return documents * (TABLES_BYTES_PER_DOCUMENT + stored + EDGE_BYTES_PER_HASH * hashes)
