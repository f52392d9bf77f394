"""A folder in, a Slurm of one machine in it while standard input is open: `python -m tests.faults.slurm_keeper`.

Whoever asked for it holds the other end. Let go of, by leaving a block, by Ctrl-C or by SIGKILL, it cancels the jobs,
ends every process that began here, daemons and jobs alike, and removes the folder. It says `ready`, or why not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

READY = "ready"
# Debian keeps the daemons where a user's path does not look.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
LOOK_S, START_S, END_S = 0.1, 60.0, 30.0
_PR_SET_CHILD_SUBREAPER = 36
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
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class NotStarted(Exception):
    """What of it does not start, and what it says."""


def variables(folder: Path) -> dict[str, str]:
    """With which its commands find it."""
    return {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}


def keep(folder: Path, cpus: int) -> None:
    """Starts it, waits until nobody wants it any more, and leaves nothing."""
    # Daemons leave their parent; their new one is this process, so that they can be found at the end.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        print(_started(folder, cpus), flush=True)
        sys.stdin.read()
        _empty(folder)
    finally:
        _end_all()
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path, cpus: int) -> str:
    """READY, or why not."""
    try:
        # munged believes no folder that others could write to, and slurmd's own must be open for its jobs.
        folder.chmod(0o755)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        _write_configuration(folder, cpus)
        _write_key(folder)
        places = {"socket": "socket", "log-file": "log", "pid-file": "pid", "seed-file": "seed", "key-file": "key"}
        _start(folder, ["munged", *(f"--{option}={folder}/munge.{name}" for option, name in places.items())])
        _start(folder, ["slurmctld", "-c"])
        _start(folder, ["slurmd"])
        idle = ["sinfo", "--noheader", "--format", "%t"]
        if not _comes(lambda: "idle" in _run(folder, idle).stdout, START_S):
            raise NotStarted("no idle node: " + (folder / "slurmctld.log").read_text()[-500:].replace("\n", " "))
    except NotStarted as error:
        return str(error)
    return READY


def _write_configuration(folder: Path, cpus: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = {"controller_port": first.getsockname()[1], "node_port": second.getsockname()[1]}
    host = socket.gethostname().partition(".")[0]
    # A node says how many processors it has; more are believed only with config_overrides.
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, host=host, cpus=cpus, **ports))


def _write_key(folder: Path) -> None:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)


def _run(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables(folder)}
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)


def _start(folder: Path, command: list[str]) -> None:
    done = _run(folder, command)
    if done.returncode != 0:
        raise NotStarted(f"{command[0]} does not start: {done.stderr.strip()}")


def _comes(holds: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(LOOK_S)
    return False


def _empty(folder: Path) -> None:
    """Jobs that a failed case left are cancelled before their Slurm goes."""
    _run(folder, ["scancel", "--user", "root"])
    _comes(lambda: not _run(folder, ["squeue", "--noheader"]).stdout, END_S)


def _end_all() -> None:
    """Whatever was started here: daemons, their helpers, jobs."""
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        living = psutil.Process().children(recursive=True)
        for process in living:
            with contextlib.suppress(psutil.NoSuchProcess):
                ask(process)
        psutil.wait_procs(living, timeout=END_S)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), int(sys.argv[2]))
