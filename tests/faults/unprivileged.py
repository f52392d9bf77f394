"""Commands as processes that file modes bind: the superuser's right to pass them by is dropped first."""

from __future__ import annotations

import ctypes
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.chain.small_chain import pile_command, process_environment
from tests.faults.ground import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PR_CAPBSET_DROP = 24
# CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER: to write, to read and to change whatever the modes say.
_RIGHTS = (1, 2, 3)


def bound_by_modes() -> None:
    """For `preexec_fn`: what is executed next has these rights no longer, under the same user."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for right in _RIGHTS:
            libc.prctl(_PR_CAPBSET_DROP, right, 0, 0, 0)


def pile_bound_by_modes(arguments: Sequence[str | Path], *, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """One command to its end."""
    return subprocess.run(
        pile_command(arguments),
        capture_output=True,
        text=True,
        cwd=cwd,
        env=process_environment(),
        preexec_fn=bound_by_modes,
        timeout=PATIENCE_S,
    )


def skip_unless_modes_bind(folder: Path) -> None:
    """Skips where a process can write into a read-only folder all the same."""
    closed = folder / "closed"
    closed.mkdir(mode=0o555)
    done = subprocess.run(["mkdir", str(closed / "inside")], capture_output=True, preexec_fn=bound_by_modes)
    if done.returncode == 0:
        pytest.skip("file modes bind no process here: the superuser's rights cannot be dropped")
