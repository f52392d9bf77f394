"""A root folder in, the right to write there out: one run at a time, and a dead owner does not block the next.

What a run publishes, it publishes under its lease: `core.held` looks at the token before every name appears.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import msgspec
import psutil

from pile_toolkit.core.errors import TryAgain
from pile_toolkit.core.files import fsync_file, naming_full_disks
from pile_toolkit.core.held import LEASE, Held, Lease, held_leases, read_lease, vanished, writing_under
from pile_toolkit.core.runners.kept import keeping_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["LEASE", "Lease", "hold_root", "holding_root", "living_owner"]

Options = ParamSpec("Options")
Result = TypeVar("Result")

# The kernel rounds the time of its start to seconds, and may do so differently twice.
START_TOLERANCE_S = 1.5
TORN_AGE_S = 60.0
# What file systems without hard links answer.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROCESS_SPACE = Path("/proc/self/ns/pid")
# The process space of a machine itself has this number in every kernel; containers have others.
_MACHINE_SPACE = "pid:[4026531836]"


@contextlib.contextmanager
def hold_root(root: Path, *, take_over: bool = False) -> Iterator[Lease]:
    """Holds `root` for this block; inside a block that holds it already, it is simply held on.

    Raises TryAgain where another living run holds it, or one of another host, which only `take_over` displaces.
    """
    folder = str(root.resolve())
    current = read_lease(root / LEASE)
    if current is not None and Held(folder, current.token) in held_leases():
        yield current
        return
    made = not root.exists()
    try:
        with _held(root, folder, take_over=take_over) as lease:
            yield lease
    except BaseException:
        # A misspelt --root leaves no empty folder behind.
        if made:
            with contextlib.suppress(OSError):
                root.rmdir()
        raise


@contextlib.contextmanager
def _held(root: Path, folder: str, *, take_over: bool) -> Iterator[Lease]:
    root.mkdir(parents=True, exist_ok=True)
    path, lease = root / LEASE, _new_lease()
    mine = root / f"{LEASE}.{lease.token}"
    try:
        with naming_full_disks(mine):
            mine.write_bytes(msgspec.json.encode(lease))
            fsync_file(mine)
        _take(path, mine, lease, take_over=take_over)
        _bury_the_dead(root, mine)
        try:
            with writing_under((*held_leases(), Held(folder, lease.token))):
                try:
                    yield lease
                except Exception as error:
                    # Of a root that went away each stage notices something else: a missing file, an input not there.
                    _refuse_if_vanished(path, error)
                    raise
        finally:
            # Where a successor is at work the lease is about to go anyway, where the root is gone it went with it.
            with contextlib.suppress(TryAgain, FileNotFoundError):
                _remove(path, lease, mine, lease, take_over=False)
    finally:
        mine.unlink(missing_ok=True)


def _refuse_if_vanished(path: Path, error: Exception) -> None:
    if read_lease(path) is None and not isinstance(error, TryAgain):
        raise vanished(path.parent) from error


def living_owner(root: Path) -> Lease | None:
    """Who holds `root` now, as far as this machine can tell; None where nobody does."""
    owner = read_lease(root / LEASE)
    return owner if owner is not None and _may_live(owner, take_over=False) else None


def holding_root(
    stage: Callable[Concatenate[str | Path, Options], Result],
) -> Callable[Concatenate[str | Path, Options], Result]:
    """A function whose first argument is the root in which it writes: it holds that root while it runs.

    Workers that had to be waited for are kept while it runs, and gone before the lease is given back.
    """

    @functools.wraps(stage)
    def held(root: str | Path, *arguments: Options.args, **options: Options.kwargs) -> Result:
        with hold_root(Path(root)), keeping_workers():
            return stage(root, *arguments, **options)

    return held


def _new_lease() -> Lease:
    return Lease(
        host=socket.gethostname(),
        process=os.getpid(),
        process_started_s=_started_s(psutil.Process()),
        taken_at=time.time(),
        token=secrets.token_hex(8),
        boot=_boot(),
        process_space=_process_space(),
    )


def _take(path: Path, mine: Path, lease: Lease, *, take_over: bool) -> None:
    while not _claim(path, mine, lease):
        owner = read_lease(path)
        if owner is None:
            continue
        if _may_live(owner, take_over=take_over):
            elsewhere = not _is_this_machine(owner)
            raise TryAgain(
                f"{path.parent} is in use by process {owner.process} on {owner.host} since {owner.since()}",
                hint="wait for it to end" + (", or --take-over if that host is gone" if elsewhere else ""),
            )
        _remove(path, owner, mine, lease, take_over=take_over)


def _bury_the_dead(root: Path, mine: Path) -> None:
    """Removes what runs that were killed while taking or giving back a lease had laid ready."""
    for left in root.glob(f"{LEASE}.*"):
        owner = read_lease(left)
        if left == mine or owner is None:
            continue
        # One that cannot be read may be a rival's that is just being written.
        if not _may_live(owner, take_over=False) and (owner.host or _age_s(left) > TORN_AGE_S):
            left.unlink(missing_ok=True)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _claim(path: Path, mine: Path, lease: Lease) -> bool:
    # A hard link either makes the name or fails, on file systems where flock does nothing too.
    try:
        os.link(mine, path)
    except FileExistsError:
        # A network file system may have made the link and lost its answer.
        return read_lease(path) == lease
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _claim_without_links(path, lease)
    return True


def _claim_without_links(path: Path, lease: Lease) -> bool:
    # Until it is written the file looks torn, and a rival may take it for nobody's: read back, and where a rival acted
    # even later, the look at the token before each publication still decides.
    try:
        with path.open("xb") as file:
            file.write(msgspec.json.encode(lease))
    except FileExistsError:
        return False
    fsync_file(path)
    return read_lease(path) == lease


def _remove(path: Path, owner: Lease, mine: Path, lease: Lease, *, take_over: bool) -> None:
    # Of several runs that saw the same dead owner only one may remove its lease: between their looking and their
    # removing, the name may already be a living run's. The right to remove it is a lease of its own.
    right = path.with_name(f"{path.name}.{owner.token}.heir")
    _take(right, mine, lease, take_over=take_over)
    try:
        if read_lease(path) == owner:
            path.unlink(missing_ok=True)
            path.with_name(f"{LEASE}.{owner.token}").unlink(missing_ok=True)
    finally:
        right.unlink(missing_ok=True)


def _may_live(owner: Lease, *, take_over: bool) -> bool:
    if not owner.host:
        return False
    if not _is_this_machine(owner):
        return not take_over
    if owner.boot != _boot():
        return False
    try:
        process = psutil.Process(owner.process)
        same = abs(_started_s(process) - owner.process_started_s) < START_TOLERANCE_S
        # A zombie writes nothing more, it only waits for a parent that may never ask.
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_this_machine(owner: Lease) -> bool:
    """Whether the owner's process number says anything here: containers and clones may share a host name."""
    if owner.host != socket.gethostname() or owner.process_space != _process_space():
        return False
    # Another start of the kernel is this machine before it was restarted, or in a container maybe another machine.
    return owner.boot == _boot() or _process_space() == _MACHINE_SPACE


def _boot() -> str:
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""


def _process_space() -> str:
    try:
        return str(_PROCESS_SPACE.readlink())
    except OSError:
        return ""


def _started_s(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()
