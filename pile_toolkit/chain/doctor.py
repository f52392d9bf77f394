"""This machine in, what stands in the way of a run out: each check is a fact, a failed one says what to do."""

from __future__ import annotations

import fcntl
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import psutil

from pile_toolkit.core.console import size
from pile_toolkit.core.files import existing_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS = "pile-toolkit"
PACKAGES = ("pile_toolkit", "pipelines", "tokenizer", "shards", "trainer")
LOW_DISK_BYTES = 2 << 30
LOW_MEMORY_BYTES = 2 << 30


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at. `warning`: it works, but less well or not all of it; `failed`: it does not."""

    name: str
    state: Literal["ok", "warning", "failed"]
    fact: str
    hint: str | None = None


class DoctorResult(msgspec.Struct, frozen=True, kw_only=True):
    """All checks; `healthy` where none failed."""

    healthy: bool
    checks: list[Check]


def examine(root: str | Path) -> DoctorResult:
    """Looks at Python, processors, memory, the disk and the locks under `root`, torch and clashing distributions."""
    folder = existing_parent(Path(root).resolve())
    probes: tuple[Callable[[], Iterator[Check]], ...] = (
        _python,
        _processors,
        _memory,
        lambda: _disk(folder),
        lambda: _locks(folder),
        _torch,
        _names,
    )
    checks = [check for probe in probes for check in probe()]
    return DoctorResult(healthy=all(check.state != "failed" for check in checks), checks=checks)


def _python() -> Iterator[Check]:
    fact = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    old = sys.version_info < (3, 11)
    yield Check(name="python", state="failed" if old else "ok", fact=fact, hint="3.11 or later" if old else None)


def _processors() -> Iterator[Check]:
    allowed, present = len(os.sched_getaffinity(0)), os.cpu_count()
    yield Check(name="processors", state="ok", fact=f"{allowed} of {present} may be used")


def _memory() -> Iterator[Check]:
    memory = psutil.virtual_memory()
    low = memory.available < LOW_MEMORY_BYTES
    yield Check(
        name="memory",
        state="warning" if low else "ok",
        fact=f"{size(memory.available)} of {size(memory.total)} available",
        hint="fewer --jobs" if low else None,
    )


def _disk(folder: Path) -> Iterator[Check]:
    free = shutil.disk_usage(folder).free
    low = free < LOW_DISK_BYTES
    writable = os.access(folder, os.W_OK)
    yield Check(
        name="disk",
        state="failed" if not writable else "warning" if low else "ok",
        fact=f"{size(free)} free in {folder}" + ("" if writable else ", which cannot be written"),
        hint="another --root" if low or not writable else None,
    )


def _locks(folder: Path) -> Iterator[Check]:
    """Leases need hard links that refuse a taken name; flock is what other programs rely on."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".pile-doctor-") as scratch:
            first, second = Path(scratch, "first"), Path(scratch, "second")
            first.touch()
            os.link(first, second)
            refused = _refuses(lambda: os.link(first, second))
            with first.open("rb") as one, first.open("rb") as two:
                fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
                excluded = _refuses(lambda: fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except OSError as error:
        yield Check(name="locks", state="failed", fact=f"no hard links in {folder}: {error}", hint="another --root")
        return
    if not refused:
        yield Check(name="locks", state="failed", fact=f"links in {folder} do not exclude", hint="another --root")
    else:
        flock = "flock excludes" if excluded else "flock does not exclude, leases do not need it"
        yield Check(name="locks", state="ok", fact=f"links exclude, {flock}")


def _refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except OSError:
        return True
    return False


def _torch() -> Iterator[Check]:
    # Its version without importing it, which takes seconds; CUDA is asked through the driver.
    if importlib.util.find_spec("torch") is None:
        hint = "pip install 'pile-toolkit[train]'"
        yield Check(name="torch", state="warning", fact="not installed: all but training works", hint=hint)
        return
    version = importlib.metadata.version("torch")
    driver = Path("/proc/driver/nvidia/version").exists()
    cpu_build = "+cpu" in version
    wasted = driver and cpu_build
    yield Check(
        name="torch",
        state="warning" if wasted else "ok",
        fact=f"{version}, {'an NVIDIA driver is loaded' if driver else 'no NVIDIA driver: training runs on the CPU'}",
        hint="install a CUDA build of torch" if wasted else None,
    )


def _names() -> Iterator[Check]:
    """Other distributions that install a module of one of our names: whichever comes first on the path wins."""
    clashes = clashing_distributions()
    for module, owners in clashes.items():
        yield Check(
            name="names",
            state="failed",
            fact=f"the module '{module}' is also installed by {', '.join(owners)}",
            hint=f"pip uninstall {owners[0]}, or a virtual environment without it",
        )
    if not clashes:
        yield Check(name="names", state="ok", fact="no other distribution has a module of our names")


def clashing_distributions() -> dict[str, list[str]]:
    """Module of ours -> other distributions that own a module of that name."""
    owners = importlib.metadata.packages_distributions()
    others = {module: sorted({owner for owner in owners.get(module, []) if owner != OURS}) for module in PACKAGES}
    return {module: names for module, names in others.items() if names}
