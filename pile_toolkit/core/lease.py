"""A root folder in, the right to write there out: one run at a time, and a dead owner does not block the next."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from typing import TYPE_CHECKING

import msgspec
import psutil

from pile_toolkit.core.errors import TryAgain
from pile_toolkit.core.files import fsync_file, naming_full_disks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEASE = ".lease.json"
# The kernel rounds the time of its start to seconds, and may do so differently twice.
START_TOLERANCE_S = 1.5
# Owner of a lease that cannot be read, torn by a crash of the machine: nobody holds it.
_NOBODY_HOST = ""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who writes: the process start time tells a living owner from another process with its number.

    That time counts from the start of the machine, because a clock set right would otherwise kill every owner.
    """

    host: str
    process: int
    process_started_s: float
    taken_at: float
    token: str


@contextlib.contextmanager
def hold_root(root: Path, *, take_over: bool = False) -> Iterator[Lease]:
    """Holds `root` for this process while the block runs.

    Raises TryAgain where another living run holds it, or one of another host, which only `take_over` displaces.
    """
    root.mkdir(parents=True, exist_ok=True)
    path, lease = root / LEASE, _new_lease()
    mine = root / f"{LEASE}.{lease.token}"
    try:
        with naming_full_disks(mine):
            mine.write_bytes(msgspec.json.encode(lease))
            fsync_file(mine)
        _take(path, mine, take_over=take_over)
        try:
            yield lease
        finally:
            # Where a successor is at work the lease is about to go anyway, where the root is gone it went with it.
            with contextlib.suppress(TryAgain, FileNotFoundError):
                _remove(path, lease, mine, take_over=False)
    finally:
        mine.unlink(missing_ok=True)


def _new_lease() -> Lease:
    return Lease(
        host=socket.gethostname(),
        process=os.getpid(),
        process_started_s=_started_s(psutil.Process()),
        taken_at=time.time(),
        token=secrets.token_hex(8),
    )


def _take(path: Path, mine: Path, *, take_over: bool) -> None:
    while not _claim(path, mine):
        owner = _read(path)
        if owner is None:
            continue
        if _may_live(owner, take_over=take_over):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner.taken_at))
            elsewhere = owner.host != socket.gethostname()
            raise TryAgain(
                f"{path.parent} is in use by process {owner.process} on {owner.host} since {since}",
                hint="wait for it to end" + (", or pile run --take-over if that host is gone" if elsewhere else ""),
            )
        _remove(path, owner, mine, take_over=take_over)


def _claim(path: Path, mine: Path) -> bool:
    # A hard link either makes the name or fails, on file systems where flock does nothing too.
    try:
        os.link(mine, path)
    except FileExistsError:
        return False
    return True


def _remove(path: Path, owner: Lease, mine: Path, *, take_over: bool) -> None:
    # Of several runs that saw the same dead owner only one may remove its lease: between their looking and their
    # removing, the name may already be a living run's. The right to remove it is a lease of its own.
    right = path.with_name(f"{path.name}.{owner.token}.heir")
    _take(right, mine, take_over=take_over)
    try:
        if _read(path) == owner:
            path.unlink(missing_ok=True)
            path.with_name(f"{LEASE}.{owner.token}").unlink(missing_ok=True)
    finally:
        right.unlink(missing_ok=True)


def _read(path: Path) -> Lease | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Lease)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        return Lease(host=_NOBODY_HOST, process=0, process_started_s=0.0, taken_at=0.0, token="unreadable")


def _may_live(owner: Lease, *, take_over: bool) -> bool:
    if owner.host == _NOBODY_HOST:
        return False
    if owner.host != socket.gethostname():
        return not take_over
    try:
        process = psutil.Process(owner.process)
        same = abs(_started_s(process) - owner.process_started_s) < START_TOLERANCE_S
        # A zombie writes nothing more, it only waits for a parent that may never ask.
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _started_s(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()
