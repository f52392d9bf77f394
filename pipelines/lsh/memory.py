"""The memory of a run in, what each worker may hold out: bases of Python, what the caller holds, and the rest shared.

A limit means the peak of all processes of the run together. Parts of the work are cut so that they fit; no result
depends on how they were cut.
"""

from __future__ import annotations

from dataclasses import dataclass

from pile_toolkit.core.errors import UsageError

MIB = 1 << 20
# Python with numba and these kernels loaded: 157 MiB, of which 95 are its own where several share the libraries.
BASE_BYTES = 160 * MIB
# The same with Dask: 189 MiB.
DASK_BASE_BYTES = 200 * MIB
# Below that a worker spends its time reading the same columns again and again.
LEAST_WORKER_BYTES = 24 * MIB
# Blocks of edges, hashes and results on their way.
BUFFERS_BYTES = 16 * MIB


@dataclass(frozen=True, kw_only=True)
class Memory:
    """`limit_bytes` for a run of `jobs` workers, whose caller holds `held_bytes` of arrays of its own all the while."""

    limit_bytes: int
    jobs: int = 1
    scheduler: str = "process"
    held_bytes: int = 0

    def per_worker(self, *, shared_bytes: int = 0, tasks: int | None = None) -> int:
        """What each worker may fill with arrays; `shared_bytes` is mapped by all of them, and there once.

        With few tasks there are few workers. Raises UsageError where that is too little, with the least that is not.
        """
        # One job works in the process that asked for it.
        jobs = self.jobs if tasks is None else min(self.jobs, tasks)
        others = 0 if self.scheduler == "serial" or (self.scheduler == "process" and jobs == 1) else jobs
        jobs = max(1, others)
        dask = self.scheduler not in ("serial", "process")
        bases = (DASK_BASE_BYTES if dask else BASE_BYTES) * (1 + others) + self.held_bytes + shared_bytes
        share = (self.limit_bytes - bases) // jobs - BUFFERS_BYTES
        if share < LEAST_WORKER_BYTES:
            raise self.too_little(bases + jobs * (LEAST_WORKER_BYTES + BUFFERS_BYTES), jobs=jobs)
        return share

    def check_here(self, needed_bytes: int) -> None:
        """Raises UsageError where arrays of so many bytes do not fit into this process, the workers having ended."""
        least = BASE_BYTES + BUFFERS_BYTES + self.held_bytes + needed_bytes
        if least > self.limit_bytes:
            raise self.too_little(least, jobs=1)

    def too_little(self, least_bytes: int, *, jobs: int) -> UsageError:
        """The error of a limit that cannot be kept."""
        workers = "1 worker" if jobs == 1 else f"{jobs} workers"
        least = -(-least_bytes // MIB)
        fewer = "" if jobs == 1 else ", or fewer --jobs"
        return UsageError(
            f"{self.limit_bytes // MIB:,} MiB of memory are too little for {workers}: it takes {least:,} MiB",
            hint=f"--memory {least}MiB{fewer}",
        )
