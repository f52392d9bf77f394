"""What `--scheduler slurm` asks for and refuses before any job is submitted; jobs themselves are in tests/faults."""

import os
import sys

import pytest

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.runners import check_scheduler, run_all
from pile_toolkit.core.runners.kept import keeping_workers, kept
from pile_toolkit.core.runners.on_dask import call_where_seen
from pile_toolkit.core.runners.slurm import _memory_of_one
from pile_toolkit.core.runners.slurm_options import DEFAULT_WAIT_S, SlurmOptions
from tests.core import work


def test_options_are_sbatch_s_own_by_their_long_names():
    asked = "slurm:partition=main,account=a_b,qos=long,constraint=ib&fast,time=1-04:00:00,mem=8G,wait=30"
    options = SlurmOptions.parse(asked)
    assert options.sbatch == {
        "partition": "main",
        "account": "a_b",
        "qos": "long",
        "constraint": "ib&fast",
        "time": "1-04:00:00",
        "mem": "8G",
    }
    assert options.wait_s == 30
    assert SlurmOptions.parse("slurm") == SlurmOptions(sbatch={}, wait_s=DEFAULT_WAIT_S)


@pytest.mark.parametrize(
    ("scheduler", "fact"),
    [
        ("slurm:", "unknown scheduler"),
        ("slurmy", "unknown scheduler"),
        ("slurm:partion=main", "'partion' is not among .* partition"),
        ("slurm:mem", "mem= "),
        ("slurm:mem=8 G", "mem=8 G"),
        ("slurm:mem=8G,mem=9G", "mem is given twice"),
        ("slurm:wait=soon", "wait=soon is no number of seconds"),
        ("slurm:wait=0", "wait=0 is no number of seconds"),
        ("slurm:account=a\n#SBATCH --uid=0", "account="),
    ],
)
def test_what_is_no_option_is_refused_before_anything_runs(scheduler, fact):
    with pytest.raises(UsageError, match=fact):
        check_scheduler(scheduler)
    with pytest.raises(UsageError, match=fact):
        run_all(work.squared, [], scheduler=scheduler)


def test_a_misspelt_option_gets_the_one_that_is_meant():
    with pytest.raises(UsageError) as error:
        check_scheduler("slurm:partion=main")
    assert "did you mean partition?" in error.value.hint
    assert "jobqueue.yaml" in error.value.hint


def test_without_slurm_it_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="sbatch, squeue, scancel is not there"):
        list(run_all(work.squared, [(1,)], scheduler="slurm"))


def test_without_dask_jobqueue_it_says_what_to_install(monkeypatch, tmp_path):
    for name in ("sbatch", "squeue", "scancel"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(UsageError, match="needs dask-jobqueue") as error:
        list(run_all(work.squared, [(1,)], scheduler="slurm"))
    assert error.value.hint == "pip install 'pile-toolkit[cluster]'"


@pytest.mark.parametrize(
    ("site", "memory"),
    [
        ({"memory": None, "cores": None}, "4GiB"),
        ({"memory": "3GB", "cores": None}, "3000000000"),
        ({"memory": "96GB", "cores": 24}, "4000000000"),
    ],
)
def test_a_job_asks_for_its_share_of_what_jobqueue_yaml_says_of_a_node(site, memory):
    assert _memory_of_one(site) == memory


class Workers:
    """Counts what is started and closed."""

    def __init__(self, log, name):
        self.log, self.name = log, name
        log.append(f"start {name}")

    def close(self):
        self.log.append(f"close {self.name}")


def test_workers_are_kept_for_the_calls_of_a_block_and_end_with_it():
    log = []

    def call(name):
        with kept(name, lambda: Workers(log, name)) as workers:
            log.append(f"use {workers.name}")

    with keeping_workers():
        call("a")
        with keeping_workers():
            call("a")
            call("b")
        call("a")
    assert log == ["start a", "use a", "use a", "start b", "use b", "use a", "close b", "close a"]
    log.clear()
    call("a")
    assert log == ["start a", "use a", "close a"]


def test_workers_end_with_a_block_that_fails():
    log = []
    with pytest.raises(KeyboardInterrupt), keeping_workers(), kept("a", lambda: Workers(log, "a")):
        raise KeyboardInterrupt
    assert log == ["start a", "close a"]


def test_a_worker_that_does_not_see_a_lease_s_folder_refuses_its_call(tmp_path, held_root):
    root, leases = held_root
    assert call_where_seen(work.squared, (3,), leases) == 9
    root.rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"does not see \S+root as this run does"):
        call_where_seen(work.squared, (3,), leases)
    (tmp_path / "elsewhere").rename(root)


@pytest.fixture
def held_root(tmp_path):
    """A root and the leases on it."""
    from pile_toolkit.core.held import held_leases
    from pile_toolkit.core.lease import hold_root

    with hold_root(tmp_path / "root"):
        yield tmp_path / "root", held_leases()
