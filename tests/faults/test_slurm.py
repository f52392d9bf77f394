"""Workers as jobs of a real Slurm: the same bytes, an empty queue afterwards, and a sentence where it does not go.

Skipped where there is no Slurm; `docs/clusters.md` says how to run them.
"""

from __future__ import annotations

import random
import signal

import pytest

from tests.core.test_runners import RUN, running
from tests.faults.commands import begin, started
from tests.faults.ground import PATIENCE_S, RunningPile
from tests.faults.outcome import demand_end, judged, require
from tests.faults.slurm import slurm, why_not
from tests.faults.slurm_cases import CASES, demand_empty

# Before the ground is prepared for nothing.
pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
USAGE, CORRUPT_DATA, TRY_AGAIN = 2, 4, 75
ENDS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(scope="module")
def there():
    """A Slurm with three processors."""
    with slurm(cpus=3) as there:
        yield there


# The campaign runs all of them, many times; a job that is cancelled is one more way for a worker to go.
@pytest.mark.parametrize("case", ["slurm", "slurm, a worker killed", "slurm, Ctrl-C"])
def test_a_command_survives_what_happens_to_its_jobs(ground, there, case):
    require(judged("worker", case, 0, lambda: CASES[case](ground, random.Random(case), there)))


# The harshest end daily; that signals are passed on, tests/core/test_runners.py sees with other schedulers.
@pytest.mark.parametrize("end", [signal.SIGKILL, *(pytest.param(end, marks=pytest.mark.campaign) for end in ENDS)])
def test_jobs_end_in_the_middle_of_their_tasks_with_their_run(there, tmp_path, monkeypatch, end):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    for name, value in there.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    with running(script, "slurm:mem=600M") as (run, workers):
        run.send_signal(end)
        assert all(worker.ends() for worker in workers)
        run.communicate(timeout=PATIENCE_S)
    demand_empty(there, within_s=PATIENCE_S)


@pytest.mark.parametrize(
    ("options", "code", "fact"),
    [
        ("partition=nowhere", USAGE, "sbatch refuses such a job: .*invalid partition"),
        ("mem=900G", USAGE, "sbatch refuses such a job: .*node configuration is not available"),
        ("time=soon", USAGE, "sbatch refuses such a job: .*Invalid --time"),
    ],
)
def test_what_slurm_refuses_is_said_in_its_own_words(ground, there, tmp_path, options, code, fact):
    begin(ground, "build", tmp_path / "root")
    run = started(ground, "build", tmp_path / "root", "--scheduler", f"slurm:{options}", environment=there.environment)
    demand_end(run, code, fact)
    demand_empty(there)


def test_a_queue_that_does_not_move_is_left_after_the_time_given(ground, there, tmp_path):
    there.command("scontrol", "update", "partition=main", "state=down")
    try:
        begin(ground, "build", tmp_path / "root")
        options = ("--scheduler", "slurm:mem=600M,wait=6")
        run = started(ground, "build", tmp_path / "root", *options, environment=there.environment)
        demand_end(run, TRY_AGAIN, r"no worker came from Slurm in \d+ s: \d+ PENDING \(?PartitionDown", "wait=3600")
        demand_empty(there)
    finally:
        there.command("scontrol", "update", "partition=main", "state=up")


def test_what_jobqueue_yaml_says_is_done(ground, there, tmp_path):
    """A Python that is not there, so that every job ends at once: the log's last words are in the error."""
    (tmp_path / "jobqueue.yaml").write_text("jobqueue:\n  slurm:\n    memory: 600MB\n    python: /no/python\n")
    begin(ground, "build", tmp_path / "root")
    environment = {**there.environment, "DASK_CONFIG": str(tmp_path)}
    run = started(ground, "build", tmp_path / "root", "--scheduler", "slurm", environment=environment)
    demand_end(run, USAGE, "all Slurm jobs ended before a worker came: .*/no/python", "logs/slurm")
    demand_empty(there)


def test_what_a_task_raises_ends_the_jobs(ground, there, tmp_path):
    damaged = tmp_path / "source" / "enron-emails.jsonl.zst"
    damaged.parent.mkdir()
    damaged.write_bytes((ground.folder / "source" / "enron-emails" / "00.jsonl.zst").read_bytes()[:999])
    words = ["download", "enron-emails", "--from", damaged.parent, "--root", tmp_path / "root"]
    run = RunningPile([*words, "--scheduler", "slurm:mem=600M"], there.environment)
    demand_end(run, CORRUPT_DATA, "enron-emails.jsonl.zst")
    assert "Slurm jobs named" in run.said()
    demand_empty(there)
