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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEASE = ".lease.json"


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who writes: the process start time tells a living owner from another process with its number."""

    host: str
    process: int
    process_started_at: float
    taken_at: float
    token: str


@contextlib.contextmanager
def hold_root(root: Path, *, take_over: bool = False) -> Iterator[Lease]:
    """Holds `root` for this process while the block runs.

    Raises TryAgain where another living run holds it, or one of another host, which `take_over` displaces.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / LEASE
    lease = _new_lease()
    while not _claim(path, lease):
        owner = _read(path)
        if owner is None:
            continue
        if not take_over and _may_live(owner):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner.taken_at))
            elsewhere = owner.host != lease.host
            raise TryAgain(
                f"{root} is in use by process {owner.process} on {owner.host} since {since}",
                hint="wait for it to end" + (", or --take-over if that host is gone" if elsewhere else ""),
            )
        _displace(path, owner)
    try:
        yield lease
    finally:
        if _read(path) == lease:
            path.unlink(missing_ok=True)


def _new_lease() -> Lease:
    return Lease(
        host=socket.gethostname(),
        process=os.getpid(),
        process_started_at=psutil.Process().create_time(),
        taken_at=time.time(),
        token=secrets.token_hex(8),
    )


def _claim(path: Path, lease: Lease) -> bool:
    # A hard link either makes the name or fails, on file systems where flock does nothing too.
    mine = path.with_name(f"{LEASE}.{lease.token}")
    mine.write_bytes(msgspec.json.encode(lease))
    try:
        os.link(mine, path)
    except FileExistsError:
        return False
    finally:
        mine.unlink()
    return True


def _displace(path: Path, owner: Lease) -> None:
    # Renamed to a name of that owner first: of two runs that both saw the dead owner, one gets the file.
    aside = path.with_name(f"{LEASE}.{owner.token}.dead")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        displaced = _read(aside)
        if displaced is not None and displaced.token != owner.token:
            # A third run was faster and this is its living lease: it goes back where it was.
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink(missing_ok=True)


def _read(path: Path) -> Lease | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Lease)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        # Torn by a crash of the machine: nobody can hold it.
        path.unlink(missing_ok=True)
        return None


def _may_live(owner: Lease) -> bool:
    if owner.host != socket.gethostname():
        return True
    try:
        return abs(psutil.Process(owner.process).create_time() - owner.process_started_at) < 1.0
    except psutil.NoSuchProcess:
        return False
