"""Leases that this process writes under in, a refusal out once one of them is somebody else's.

File systems on which locks lie, a machine that slept, an owner displaced by hand: who holds a root can change while a
run goes on. So every name is published only after a look at the lease: its token must be the one the run took.
"""

from __future__ import annotations

import contextlib
import time
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.errors import CorruptData, TryAgain
from pile_toolkit.core.jsonfile import RECORD_LIMIT_BYTES, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

LEASE = ".lease.json"


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who writes: the process start time tells a living owner from another process with its number.

    That time counts from the start of the machine, because a clock set right would otherwise kill every owner. `boot`
    and `process_space` say in which start of which machine, and in which container of it, the process number counts.
    """

    host: str
    process: int
    process_started_s: float
    taken_at: float
    token: str
    boot: str = ""
    process_space: str = ""

    def since(self) -> str:
        """When it was taken, in local time."""
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.taken_at))


class Held(msgspec.Struct, frozen=True):
    """A folder and the token of the lease on it; travels to the workers of the run that holds it."""

    folder: str
    token: str


# Per thread: a lease is held by those that its owner's block calls, and by nobody else in the process.
_HELD: ContextVar[tuple[Held, ...]] = ContextVar("leases held", default=())


def held_leases() -> tuple[Held, ...]:
    """Every lease that the running block writes under, outermost first."""
    return _HELD.get()


@contextlib.contextmanager
def writing_under(leases: tuple[Held, ...]) -> Iterator[None]:
    """Names are published in this block only while `leases` are current: for the owner, and for its workers."""
    reset = _HELD.set(leases)
    try:
        yield
    finally:
        _HELD.reset(reset)


def refuse_if_displaced() -> None:
    """Raises TryAgain where one of the leases held here is another run's now, or went with its folder."""
    for held in _HELD.get():
        folder = Path(held.folder)
        owner = read_lease(folder / LEASE)
        if owner is not None and owner.token == held.token:
            continue
        if owner is None:
            # A folder of that name may be there again: made by this run, which knows nothing of it yet.
            raise vanished(folder)
        raise TryAgain(
            f"this run lost its lease on {folder}, which is held by process {owner.process} on {owner.host} "
            f"since {owner.since()}: it writes nothing more there",
            hint="wait for the other run to end, then run the same command again",
        )


def vanished(root: Path) -> TryAgain:
    """The error of a run whose root, or the lease on it, is gone."""
    if root.is_dir():
        # It may also have been removed, and made anew by this run, which knows nothing of it yet.
        return TryAgain(
            f"this run lost its lease on {root}, which nobody holds now: another run took it over and has ended, "
            "or the folder vanished for a while",
            hint="run the same command again: finished parts are kept",
        )
    return TryAgain(
        f"{root} vanished while this run wrote there: it was removed, moved or unmounted",
        hint="bring it back and run the same command again: finished parts are kept in it",
    )


def read_lease(path: Path) -> Lease | None:
    """A lease file's content, None where there is none. One that a crash has torn has no host: nobody holds it."""
    try:
        return read_json(path, Lease, limit_bytes=RECORD_LIMIT_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except CorruptData:
        return Lease(host="", process=0, process_started_s=0.0, taken_at=0.0, token="unreadable")
