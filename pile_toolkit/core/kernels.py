"""A Python function in, compiled code out: once a machine, kept on disk, the same for every process that asks.

Compiled code is kept in a folder named by what it was made of (all kernels of all packages, because numba notices a
change in the file of a kernel but not in those of the kernels it calls): `$NUMBA_CACHE_DIR`, else the user's cache
folder, else, where neither can be written, a folder of this process that goes away with it. Never beside the code.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numba
import xxhash
from numba.core import config as numba_config

from pile_toolkit.core.caches import NAME, user_cache_folders
from pile_toolkit.core.console import reporter

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
# Some of their attributes and options are out of sight of a type checker.
config: Any = numba_config
njit: Any = numba.njit
# Installed side by side, as they lie in the repository.
SITE = Path(__file__).parents[2]
PACKAGES = ("pile_toolkit", "pipelines", "shards", "tokenizer")


def kernel(function: Callable | None = None, **options: Any) -> Any:
    """`@njit` without Python's lock, whose machine code is kept in `code_folder()`.

    Kernels allocate nothing, and so do without numba's counts of references to the arrays that they are given: an
    atomic addition for every array of every call, which took as long as all the rest.
    """
    if function is None:
        return functools.partial(kernel, **options)
    # numba chooses the folder while it decorates; other packages' kernels keep theirs.
    before, config.CACHE_DIR = config.CACHE_DIR, str(code_folder())
    try:
        compiled = njit(**{"nogil": True, "cache": True, "_nrt": False, **options})(function)
    finally:
        config.CACHE_DIR = before
    file = compiled._cache._cache_file
    file.save = functools.partial(_save_alone, file.save)
    return compiled


def _save_alone(save: Callable[[Any, Any], None], key: Any, data: Any) -> None:
    # numba reads its index, picks a free file name and writes the index again: two processes at once would pick the
    # same name for different code.
    with open(code_folder() / "index-lock", "w") as lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        save(key, data)


@functools.cache
def code_folder() -> Path:
    """Where the machine code of this version of the kernels lies; it exists and can be written."""
    files = [path for package in PACKAGES for path in (SITE / package).rglob("*.py")]
    sources = sorted(path for path in files if path.name in ("kernels.py", "tables.py", "limits.py"))
    version = xxhash.xxh3_64_hexdigest(b"".join(path.read_bytes() for path in sources))
    for parent in _parents():
        folder = parent / NAME / version
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    folder = Path(tempfile.mkdtemp(prefix="pile-toolkit-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def load_once(part: str, use: Callable[[], T], *, seconds: int) -> T:
    """What `use` returns, which calls the kernels of a part for the first time in this process; says when it compiles.

    Processes that start together wait for one of them: each would compile the same for the same time, and numba's index
    of compiled functions is not made to be written by several at once.
    """
    folder = code_folder()
    ready = folder / f"{part}-compiled"
    if ready.exists():
        return use()
    with open(folder / "lock", "w") as lock:
        # Some shared file systems have no locks; then processes compile side by side.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            reporter().say(f"compiling the {part} kernels for this machine, once: some {seconds} s")
        used = use()
        ready.touch()
    return used


def _parents() -> list[Path]:
    given = os.environ.get("NUMBA_CACHE_DIR")
    return [*([Path(given)] if given else []), *user_cache_folders()]
