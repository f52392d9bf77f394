"""A real Slurm of one machine for as long as a block lasts: found or skipped with the reason, never installed here.

On Debian `apt-get install slurm-wlm munge` installs it; its own services need not run. Nothing but a temporary folder
is written, and a process of its own ends and removes everything, however this one ends (tests/faults/slurm_keeper.py).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.ground import PATIENCE_S
from tests.faults.outcome import demand
from tests.faults.slurm_keeper import PATH, READY, variables
from tests.making import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")


class Slurm:
    """Variables with which its commands find it, and what they say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = variables(folder)

    def jobs(self) -> list[str]:
        """Number, state and name of every job in the queue."""
        return self.command("squeue", "--noheader", "--format", "%i %T %j").splitlines()

    def command(self, *arguments: str) -> str:
        """Output of one of Slurm's commands; raises Lost where it fails."""
        done = subprocess.run(
            arguments, capture_output=True, text=True, env={**os.environ, **self.environment}, timeout=PATIENCE_S
        )
        demand(done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}")
        return done.stdout


def why_not() -> str | None:
    """What is missing here for a Slurm with Dask workers; None where nothing is."""
    if missing := [name for name in COMMANDS if shutil.which(name, path=PATH) is None]:
        return f"no Slurm here ({', '.join(missing)} missing): apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "a Slurm of one machine is started by root"
    if importlib.util.find_spec("dask_jobqueue") is None:
        return "no dask-jobqueue here: pip install 'pile-toolkit[cluster]'"
    return None


@contextlib.contextmanager
def slurm(*, cpus: int = 2) -> Iterator[Slurm]:
    """A controller and a node with an idle partition `main`; a skip where it cannot be had."""
    if reason := why_not():
        pytest.skip(reason)
    # A short path: the socket's name has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    # In a session of its own: what interrupts the tests does not interrupt what tidies up behind them.
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.slurm_keeper", str(folder), str(cpus)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with keeper:
        said = keeper.stdout.readline().strip()
        demand(said == READY, f"no Slurm: {said}")
        yield Slurm(folder)
