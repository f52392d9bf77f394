"""One run at a time on a root: who has it, who is refused, and what a run publishes that lost it."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pile_toolkit.core.errors import TryAgain
from pile_toolkit.core.files import write_bytes
from pile_toolkit.core.held import held_leases, refuse_if_displaced, writing_under
from pile_toolkit.core.lease import LEASE, hold_root, holding_root, living_owner
from tests.core.lease_making import (
    PATIENCE_S,
    another_run,
    by_another_run,
    check_free,
    check_refused,
    displaced_by,
    leave_behind,
    owner_of,
)


def test_a_root_is_held_while_the_block_runs_and_free_after_it(tmp_path):
    root = tmp_path / "not" / "yet"
    before = time.time()
    with hold_root(root) as lease:
        assert owner_of(root) == lease
        assert before <= lease.taken_at <= time.time()
    assert list(root.iterdir()) == []
    with pytest.raises(ZeroDivisionError), hold_root(root):
        raise ZeroDivisionError
    assert list(root.iterdir()) == []


def test_a_root_that_a_failed_run_made_goes_with_it_while_it_is_empty(tmp_path):
    @holding_root
    def fail(root, *names):
        for name in names:
            (root / name).touch()
        raise ZeroDivisionError

    for names in ((), ("file",)):
        with pytest.raises(ZeroDivisionError):
            fail(tmp_path / "root", *names)
        assert (tmp_path / "root").exists() == bool(names)


def test_a_second_run_is_refused_and_told_who_where_and_since_when(tmp_path):
    with another_run(tmp_path) as other:
        owner = owner_of(tmp_path)
        assert owner.process == other.pid
        for take_over in (False, True):
            with pytest.raises(TryAgain) as error, hold_root(tmp_path, take_over=take_over):
                pass
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner.taken_at))
            assert error.value.message == f"{tmp_path} is in use by process {other.pid} on {owner.host} since {since}"
            assert error.value.hint == "wait for it to end"
            assert error.value.exit_code == 75
        assert owner_of(tmp_path) == owner
        other.communicate(timeout=PATIENCE_S)
    assert other.returncode == 0
    check_free(tmp_path)


def test_a_block_within_the_block_holds_the_same_lease(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with hold_root(tmp_path / "root") as lease:
        with hold_root(Path("root")) as inner:
            assert inner == lease
        assert owner_of(tmp_path / "root") == lease
        with hold_root(tmp_path / "other") as other:
            assert [held.token for held in held_leases()] == [lease.token, other.token]
        assert list((tmp_path / "other").iterdir()) == []
    assert held_leases() == ()
    check_free(tmp_path / "root")


def test_another_thread_of_the_process_is_another_run(tmp_path):
    with hold_root(tmp_path) as lease, ThreadPoolExecutor(1) as pool:
        error = pool.submit(check_refused, tmp_path).result()
        assert f"process {os.getpid()} on " in error.message
        assert owner_of(tmp_path) == lease
    check_free(tmp_path)


def test_a_stage_holds_the_root_that_is_its_first_argument(tmp_path):
    @holding_root
    def stage(root, *, doubled):
        assert owner_of(Path(root)).process == os.getpid()
        return 2 * doubled

    assert stage(str(tmp_path / "root"), doubled=21) == 42
    check_free(tmp_path / "root")


# What is published is published under the current lease only


def test_a_displaced_run_publishes_nothing_more(tmp_path):
    with hold_root(tmp_path / "root") as lease:
        root = tmp_path / "root"
        write_bytes(root / "before.txt", b"mine")
        owner = displaced_by(root, host="elsewhere", process=7)
        with pytest.raises(TryAgain) as error:
            write_bytes(root / "before.txt", b"mine again")
        assert error.value.message == (
            f"this run lost its lease on {root}, which is held by process 7 on elsewhere since {owner.since()}: "
            "it writes nothing more there"
        )
        assert (root / "before.txt").read_bytes() == b"mine"
        assert sorted(path.name for path in root.iterdir()) == [LEASE, f"{LEASE}.{lease.token}", "before.txt"]
    assert owner_of(root) == owner


def test_a_run_whose_lease_somebody_removed_publishes_nothing_more(tmp_path):
    with hold_root(tmp_path):
        (tmp_path / LEASE).unlink()
        with pytest.raises(TryAgain, match=r"lost its lease on .*, which nobody holds now"):
            write_bytes(tmp_path / "file.txt", b"mine")
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_root_vanished_says_so(tmp_path):
    root = tmp_path / "root"
    with hold_root(root):
        root.rename(tmp_path / "moved")
        with pytest.raises(TryAgain, match=f"{root} vanished while this run wrote there"):
            refuse_if_displaced()
    assert not root.exists()


def test_whatever_fails_in_a_root_that_vanished_it_is_said_that_it_vanished(tmp_path):
    root = tmp_path / "root"

    def stage():
        with hold_root(root):
            root.rename(tmp_path / "moved")
            (root / "plan").read_bytes()

    with pytest.raises(TryAgain, match=f"{root} vanished while this run wrote there"):
        stage()
    with pytest.raises(ZeroDivisionError), hold_root(root):
        raise ZeroDivisionError


def test_the_living_owner_of_a_root_is_known(tmp_path):
    assert living_owner(tmp_path) is None
    with hold_root(tmp_path) as lease:
        assert living_owner(tmp_path) == lease
    leave_behind(tmp_path, process_started_s=-60.0)
    assert living_owner(tmp_path) is None


def test_workers_publish_under_the_leases_of_their_run(tmp_path):
    with hold_root(tmp_path):
        leases = held_leases()

        def worker():
            with writing_under(leases):
                write_bytes(tmp_path / "file.txt", b"")

        by_another_run(worker)
        displaced_by(tmp_path)
        with pytest.raises(TryAgain, match="lost its lease"):
            by_another_run(worker)


def test_an_inner_run_is_displaced_with_the_outer(tmp_path):
    with hold_root(tmp_path), hold_root(tmp_path / "runs" / "debug"):
        displaced_by(tmp_path)
        with pytest.raises(TryAgain, match="lost its lease"):
            write_bytes(tmp_path / "runs" / "debug" / "metrics.jsonl", b"")
