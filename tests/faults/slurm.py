"""A real Slurm of one machine for as long as a block lasts: found or skipped with the reason, never installed here.

On Debian `apt-get install slurm-wlm munge` installs it; its own services need not run. Nothing but a temporary folder
is written, and the processes are ended by their pid files.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.faults.ground import PATIENCE_S
from tests.faults.outcome import demand

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
# Debian keeps the daemons where a user's path does not look.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
LOOK_S = 0.1
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
MpiDefault=none
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """Variables with which its commands find it, and what they say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}

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
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        # munged believes no folder that others could write to, and slurmd's own must be open for its jobs.
        folder.chmod(0o755)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        there = Slurm(folder)
        _write_configuration(folder, cpus)
        _start_munge(folder, stack)
        for daemon in ("slurmctld", "slurmd"):
            stack.callback(_stop, folder / f"{daemon}.pid")
            _start([daemon, *(["-c"] if daemon == "slurmctld" else [])], there.environment)
        _await(lambda: "idle" in there.command("sinfo", "--noheader", "--format", "%t"), f"no idle node: {folder}")
        stack.callback(_empty, there)
        yield there


def _write_configuration(folder: Path, cpus: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = {"controller_port": first.getsockname()[1], "node_port": second.getsockname()[1]}
    host = socket.gethostname().partition(".")[0]
    # A node says how many processors it has; more are believed only on request.
    text = CONFIGURATION.format(folder=folder, host=host, cpus=cpus, **ports)
    (folder / "slurm.conf").write_text(text.replace("KillWait=5", "KillWait=5\nSlurmdParameters=config_overrides"))


def _start_munge(folder: Path, stack: contextlib.ExitStack) -> None:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    places = {"socket": "socket", "log-file": "log", "pid-file": "pid", "seed-file": "seed", "key-file": "key"}
    stack.callback(_stop, folder / "munge.pid")
    _start(["munged", *(f"--{option}={folder}/munge.{name}" for option, name in places.items())], {"PATH": PATH})


def _start(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=PATIENCE_S
    )
    demand(done.returncode == 0, f"{command[0]} does not start: {done.stderr}")


def _stop(pid_file: Path) -> None:
    if not pid_file.exists():
        return
    with contextlib.suppress(psutil.NoSuchProcess, ValueError):
        process = psutil.Process(int(pid_file.read_text()))
        process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs([process], timeout=PATIENCE_S / 4)
        for one in alive:
            one.kill()


def _empty(there: Slurm) -> None:
    """Jobs that a failed case left are cancelled before their Slurm goes."""
    there.command("scancel", "--user", "root")
    with contextlib.suppress(Exception):
        _await(lambda: not there.jobs(), "jobs that do not end")


def _await(holds, fact: str) -> None:
    deadline = time.monotonic() + PATIENCE_S / 2
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            if holds():
                return
        time.sleep(LOOK_S)
    demand(False, fact)
