"""Calls in, results out, by Dask workers that are Slurm jobs; no job is left in the queue when their block ends.

dask-jobqueue writes the jobs' script, with all that its own jobqueue.yaml says of a site. A job is one worker of one
core. Workers connect to this process and end with it, as they lose that connection when it is killed.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import importlib.util
import math
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pile_toolkit.core.errors import TryAgain, UsageError
from pile_toolkit.core.held import held_leases
from pile_toolkit.core.runners.kept import kept
from pile_toolkit.core.runners.on_dask import NO_DASHBOARD, SCHEDULING, run_at
from pile_toolkit.core.runners.slurm_options import SlurmOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

LOGS = "logs/slurm"
DEFAULT_MEMORY = "4GiB"
# How long a cancelled job may take to go: Slurm itself kills what does not end in 30 s.
GONE_S = 60.0
# The controller of a large cluster is not to be asked more often.
ASK_S = 5.0
LAST_LINES = 3
_MORE = "give each job more memory or time, such as --scheduler slurm:mem=16G,time=08:00:00: finished parts are kept"
_UNREACHABLE = ("Unable to contact", "Socket timed out", "Connection refused")


def run_on_slurm(
    scheduler: str,
    function: Callable[..., Any],
    arguments: Sequence[tuple],
    workers: int,
    *,
    say: Callable[[str], None] | None = None,
) -> Generator[tuple[int, Any]]:
    """As `run_all` with a scheduler `slurm:...`: at least `workers` jobs, kept for later calls of the same block."""
    options = SlurmOptions.parse(scheduler)
    with kept(scheduler, functools.partial(SlurmJobs, options, _logs())) as jobs:
        if jobs.grow(workers) and say is not None:
            say(f"{workers} Slurm jobs named {jobs.name}, logs in {jobs.logs}")
        yield from run_at(jobs.cluster, function, arguments, look=jobs.look, more_memory=_MORE)


def _logs() -> Path:
    """In the outermost root that is held: a file system that the workers see."""
    leases = held_leases()
    return Path(leases[0].folder, LOGS) if leases else Path.cwd() / LOGS


class SlurmJobs:
    """Jobs under one name, each a Dask worker; `close` cancels them and waits until they are gone."""

    def __init__(self, options: SlurmOptions, logs: Path) -> None:
        """Raises UsageError where Slurm or dask-jobqueue are not installed, or sbatch refuses such a job."""
        _refuse_if_missing()
        self.name = f"pile-{secrets.token_hex(4)}"
        self.logs = logs
        self._options = options
        self._wanted = 0
        self._came = False
        self._asked_at = 0.0
        self._seen_at = time.monotonic()
        logs.mkdir(parents=True, exist_ok=True)
        self.cluster = _cluster(self.name, options, logs)
        try:
            _on_workers(self.cluster, self._note)
            _refuse_unless_accepted(self.cluster.job_script())
        except BaseException:
            self.close()
            raise

    def grow(self, workers: int) -> bool:
        """Submits jobs until there are so many; False where there were."""
        if workers <= self._wanted:
            return False
        self._wanted = workers
        self._seen_at = time.monotonic()
        self.cluster.scale(workers)
        return True

    def look(self) -> None:
        """Replaces jobs that were lost. Raises TryAgain where no worker came in time, UsageError where none can."""
        if self.cluster.scheduler.workers:
            self._note()
        elif time.monotonic() - self._asked_at > ASK_S:
            self._asked_at = time.monotonic()
            self._refuse_to_wait_longer()
        # Dask forgets a worker that is lost, and makes again what it should have.
        self.cluster.scale(self._wanted)

    def _note(self) -> None:
        """A worker is there, or was until now."""
        self._came, self._seen_at = True, time.monotonic()

    def _refuse_to_wait_longer(self) -> None:
        waited_s = time.monotonic() - self._seen_at
        queued = self._queued()
        submitted = any(job.job_id for job in self.cluster.workers.values())
        if submitted and queued == [] and not self._came:
            raise UsageError(
                f"all Slurm jobs ended before a worker came: {self._last_words()}",
                hint=f"look into {self.logs}: the same Python and packages must be there on the nodes",
            )
        if waited_s > self._options.wait_s:
            states = "squeue fails" if queued is None else ", ".join(queued) or "no job is in the queue"
            raise TryAgain(
                f"no worker came from Slurm in {waited_s:,.0f} s: {states}",
                hint="run the same command again, or wait longer with --scheduler slurm:wait=3600; logs in "
                f"{self.logs}",
            )

    def _queued(self) -> list[str] | None:
        """State of every job of this name, such as `12 PENDING (Resources)`; None where Slurm does not answer."""
        answer = _command("squeue", "--noheader", "--name", self.name, "--format", "%i %T %r")
        return answer.stdout.splitlines() if answer.returncode == 0 else None

    def _last_words(self) -> str:
        written = [path.read_text(errors="replace") for path in sorted(self.logs.glob(f"{self.name}-*"))]
        lines = [line.strip() for text in written for line in text.splitlines() if line.strip()]
        return " / ".join(lines[-LAST_LINES:]) or "they wrote no log"

    def close(self) -> None:
        """Cancels the jobs and waits until they are gone, which Ctrl-C does not cut short."""
        with _without_interrupts():
            self._cancel()
            # Closing fails where a worker that died is just being replaced.
            with contextlib.suppress(Exception):
                self.cluster.close(timeout=GONE_S)
            # Again, for one that was just being submitted.
            self._cancel()
            deadline = time.monotonic() + GONE_S
            while self._queued() != [] and time.monotonic() < deadline:
                time.sleep(0.2)

    def _cancel(self) -> None:
        # By name: of one whose submission was cut off nobody knows the number.
        _command("scancel", "--user", getpass.getuser(), "--name", self.name)


def _cluster(name: str, options: SlurmOptions, logs: Path) -> Any:
    import dask

    # First, because the defaults of jobqueue.yaml come with it.
    cluster_class = _cluster_class()
    site = dask.config.get("jobqueue.slurm")
    asked = dict(options.sbatch)
    log = site["log-directory"] or str(logs)
    directives = [f'--output="{log}/%x-%j.log"']
    queue, account, walltime = (asked.pop(key, None) for key in ("partition", "account", "time"))
    memory = asked.pop("mem", None)
    directives += [f"--{key}={value}" for key, value in asked.items()]
    with dask.config.set({**SCHEDULING, "jobqueue.slurm.log-directory": None}):
        return cluster_class(
            job_name=name,
            cores=1,
            processes=1,
            memory=_memory_of_one(site),
            job_mem=memory,
            queue=queue,
            account=account,
            walltime=walltime,
            # Without a nanny, which would start a worker anew that ended because its run did.
            nanny=False,
            # Slurm keeps the limit; Dask's own would pause a worker near it for good.
            worker_extra_args=[*site["worker-extra-args"], "--memory-limit", "0", "--no-dashboard"],
            job_extra_directives=[*(site["job-extra-directives"] or ()), *directives],
            scheduler_options=_scheduler_options(site),
            # What a task raises is raised here, and said once.
            silence_logs="CRITICAL",
        )


def _cluster_class() -> Any:
    # With its import Ctrl-C would end this process without a word, and with exit code 0.
    before = signal.getsignal(signal.SIGINT)
    from dask_jobqueue import SLURMCluster

    if signal.getsignal(signal.SIGINT) is not before:
        signal.signal(signal.SIGINT, before)
    return SLURMCluster


def _on_workers(cluster: Any, note: Callable[[], None]) -> None:
    """Calls `note` whenever a worker comes or goes, and ends each of them at once when it is closed."""
    from distributed import Client, SchedulerPlugin

    from pile_toolkit.core.runners.ending import EndWithRun

    class Notes(SchedulerPlugin):
        def add_worker(self, *_: Any, **__: Any) -> None:
            note()

        def remove_worker(self, *_: Any, **__: Any) -> None:
            note()

    cluster.scheduler.add_plugin(Notes())
    with Client(cluster) as client:
        client.register_plugin(EndWithRun())


def _scheduler_options(site: dict[str, Any]) -> dict[str, Any]:
    given = site["scheduler-options"] or {}
    return given if "dashboard_address" in given else {**NO_DASHBOARD, **given}


def _memory_of_one(site: dict[str, Any]) -> str:
    """Of a job for one core, where jobqueue.yaml may speak of whole nodes."""
    from dask.utils import parse_bytes

    if site["memory"] is None:
        return DEFAULT_MEMORY
    return str(math.ceil(parse_bytes(site["memory"]) / (site["cores"] or 1)))


def _refuse_if_missing() -> None:
    missing = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
    if missing:
        raise UsageError(
            f"--scheduler slurm needs Slurm's commands, and {', '.join(missing)} is not there",
            hint="run this on a machine from which jobs are submitted, or --scheduler process",
        )
    if importlib.util.find_spec("dask_jobqueue") is None:
        raise UsageError("--scheduler slurm needs dask-jobqueue", hint="pip install 'pile-toolkit[cluster]'")


def _refuse_unless_accepted(script: str) -> None:
    """Asks sbatch whether it would take such a job."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh", prefix="pile-") as file:
        file.write(script)
        file.flush()
        answer = _command("sbatch", "--test-only", file.name)
    if answer.returncode == 0:
        return
    said = " ".join(answer.stderr.replace("sbatch: error: ", "").split())
    if any(words in said for words in _UNREACHABLE):
        raise TryAgain(f"Slurm does not answer: {said}", hint="sinfo shows whether its controller is there")
    raise UsageError(
        f"sbatch refuses such a job: {said}", hint="sinfo lists partitions; --scheduler slurm:partition=..."
    )


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    # In a session of its own, where Ctrl-C does not reach it.
    return subprocess.run(arguments, capture_output=True, text=True, start_new_session=True)


@contextlib.contextmanager
def _without_interrupts() -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
