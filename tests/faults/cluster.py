"""A real Dask scheduler and real workers as processes of their own, and limits of memory that the kernel keeps."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.chain.small_chain import process_environment
from tests.faults.ground import PATIENCE_S
from tests.faults.outcome import demand
from tests.making import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
# Look again after that long where a file of another process is awaited.
LOOK_S = 0.01


class Cluster:
    """A scheduler's address and its worker processes, one task at a time each."""

    def __init__(self, address: str, workers: list[subprocess.Popen]) -> None:
        self.address = address
        self.workers = workers


@contextlib.contextmanager
def cluster(
    folder: Path, workers: int, *, environment: Mapping[str, str] | None = None, wrapper: Sequence[str] = ()
) -> Iterator[Cluster]:
    """`tcp://` on loopback with this many workers, which nobody starts again; all of them end with the block.

    `environment` and `wrapper`, a command that starts the one behind it, are for the workers.
    """
    with contextlib.ExitStack() as stack:
        where = folder / "scheduler.json"
        beside = ["--scheduler-file", str(where)]
        _start(stack, "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show", *beside)
        address = _address(where)
        own = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(folder)]
        start = functools.partial(_start, stack, "dask_worker", address, *own, environment=environment, wrapper=wrapper)
        started = [start() for _ in range(workers)]
        _await_workers(address, workers)
        yield Cluster(address, started)


def _await_workers(address: str, workers: int) -> None:
    from distributed import Client

    with Client(address) as client:
        client.wait_for_workers(workers, timeout=PATIENCE_S)


def _start(
    stack: contextlib.ExitStack,
    module: str,
    *options: str,
    environment: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
) -> subprocess.Popen:
    command = [*wrapper, sys.executable, "-m", f"distributed.cli.{module}", *options]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**process_environment(), **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _address(where: Path) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            return json.loads(where.read_text())["address"]
        time.sleep(LOOK_S)
    demand(False, "no scheduler started")
    raise AssertionError


@contextlib.contextmanager
def memory_limit(limit_bytes: int) -> Iterator[list[str]]:
    """A wrapper for commands that the kernel then keeps to so many bytes, all processes together, or a skip."""
    group = _own_group() / f"pile-{os.getpid()}-{time.monotonic_ns()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
    except OSError as error:
        pytest.skip(f"no limit of memory can be set here: {error}")
    try:
        yield ["sh", "-c", f'echo $$ > {group / "cgroup.procs"} && exec "$@"', "sh"]
    finally:
        _remove(group)


def _own_group() -> Path:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    memory = [line.split(":", 2)[2] for line in lines if line.split(":", 2)[1] == "memory"]
    if not memory or not _MEMORY_GROUPS.is_dir():
        pytest.skip("there are no memory groups (cgroup v1) here")
    inside = _MEMORY_GROUPS / memory[0].lstrip("/")
    return inside if inside.is_dir() else _MEMORY_GROUPS


def _remove(group: Path) -> None:
    # The kernel needs a moment until it believes that a group is empty.
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        time.sleep(LOOK_S)
