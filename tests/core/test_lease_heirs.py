"""The living are respected, the dead are not, and of many heirs of a root one inherits."""

import contextlib
import contextvars
import errno
import itertools
import os
import select
import signal
import time

import msgspec
import psutil
import pytest

from pile_toolkit.core import lease as core_lease
from pile_toolkit.core.errors import TryAgain
from pile_toolkit.core.held import refuse_if_displaced
from pile_toolkit.core.lease import LEASE, Lease, hold_root
from tests.core.lease_making import (
    PATIENCE_S,
    another_run,
    before_operations,
    check_free,
    check_refused,
    leave_behind,
    owner_of,
    started,
)


def test_a_killed_owner_is_taken_over(tmp_path):
    with another_run(tmp_path) as other:
        other.kill()
        other.wait(PATIENCE_S)
        assert owner_of(tmp_path).process == other.pid
        check_free(tmp_path)


def test_a_killed_owner_that_nobody_buried_is_taken_over(tmp_path):
    with another_run(tmp_path) as other:
        watch = os.pidfd_open(other.pid)
        other.send_signal(signal.SIGKILL)
        assert select.select([watch], [], [], PATIENCE_S)[0]
        os.close(watch)
        assert psutil.Process(other.pid).status() == psutil.STATUS_ZOMBIE
        check_free(tmp_path)


def test_another_process_with_the_number_of_the_owner_is_not_the_owner(tmp_path):
    lease = leave_behind(tmp_path)
    with pytest.raises(TryAgain), hold_root(tmp_path):
        pass
    leave_behind_started = lease.process_started_s - 60.0
    (tmp_path / LEASE).write_bytes(
        msgspec.json.encode(msgspec.structs.replace(lease, process_started_s=leave_behind_started))
    )
    check_free(tmp_path)


def test_a_clock_that_is_set_right_kills_no_owner(tmp_path, monkeypatch):
    """Start times are told from the start of the machine; when that was is what a clock decides."""
    with hold_root(tmp_path):
        boot, created = psutil.boot_time(), psutil.Process.create_time
        monkeypatch.setattr(psutil, "boot_time", lambda: boot + 3600)
        monkeypatch.setattr(psutil.Process, "create_time", lambda process: created(process) + 3600)
        check_refused(tmp_path)


def test_the_run_of_another_host_is_displaced_by_request_only(tmp_path):
    lease = leave_behind(tmp_path, host="elsewhere", process=1)
    with pytest.raises(TryAgain, match="in use by process 1 on elsewhere since ") as error, hold_root(tmp_path):
        pass
    assert error.value.hint == "wait for it to end, or --take-over if that host is gone"
    assert owner_of(tmp_path) == lease
    with hold_root(tmp_path, take_over=True) as mine:
        assert owner_of(tmp_path) == mine
    assert list(tmp_path.iterdir()) == []


def test_a_container_with_the_same_host_name_is_another_host(tmp_path):
    lease = leave_behind(tmp_path, process_space="pid:[1]", process_started_s=-60.0)
    error = check_refused(tmp_path)
    assert "--take-over" in error.hint
    assert owner_of(tmp_path) == lease
    with hold_root(tmp_path, take_over=True) as mine:
        assert owner_of(tmp_path) == mine


@pytest.mark.parametrize(("space", "inherited"), [("pid:[4026531836]", True), ("pid:[1]", False)])
def test_a_restarted_machine_inherits_from_itself_but_a_container_cannot_know(tmp_path, monkeypatch, space, inherited):
    monkeypatch.setattr(core_lease, "_process_space", lambda: space)
    leave_behind(tmp_path, boot="an earlier start")
    if inherited:
        check_free(tmp_path)
    else:
        assert "--take-over" in check_refused(tmp_path).hint


@pytest.mark.parametrize("answer", [errno.EPERM, errno.ENOTSUP])
def test_without_hard_links_there_is_one_owner_too(tmp_path, monkeypatch, answer):
    def refuse(source, target):
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(os, "link", refuse)
    leave_behind(tmp_path, process_started_s=-60.0)
    with hold_root(tmp_path) as lease:
        assert owner_of(tmp_path) == lease
        check_refused(tmp_path, match=f"process {os.getpid()} on ")
        refuse_if_displaced()
    assert list(tmp_path.iterdir()) == []


def test_a_lost_answer_to_a_link_that_was_made_is_no_loss(tmp_path, monkeypatch):
    made = os.link

    def answer_lost(source, target):
        made(source, target)
        raise FileExistsError(errno.EEXIST, "as a network file system that repeats a request")

    monkeypatch.setattr(os, "link", answer_lost)
    with hold_root(tmp_path) as lease:
        assert owner_of(tmp_path) == lease


def test_a_displaced_run_leaves_its_successor_alone(tmp_path):
    successor = Lease(host="elsewhere", process=1, process_started_s=0.0, taken_at=0.0, token="successor")
    with hold_root(tmp_path):
        (tmp_path / LEASE).write_bytes(msgspec.json.encode(successor))
    assert owner_of(tmp_path) == successor


@pytest.mark.parametrize("content", [b"", b"{", b'{"host":"x"}', b"\x00" * 100])
def test_a_lease_torn_by_a_crash_is_nobodys(tmp_path, content):
    (tmp_path / LEASE).write_bytes(content)
    check_free(tmp_path)


def test_an_heir_that_died_while_inheriting_is_inherited_too(tmp_path):
    gone = leave_behind(tmp_path, process_started_s=-60.0)
    heir = msgspec.structs.replace(gone, token="heir")
    (tmp_path / f"{LEASE}.{gone.token}.heir").write_bytes(msgspec.json.encode(heir))
    check_free(tmp_path)


def test_a_living_heir_is_respected(tmp_path):
    gone = leave_behind(tmp_path, process_started_s=-60.0)
    with hold_root(tmp_path / "x") as living:
        pass
    (tmp_path / "x").rmdir()
    right = tmp_path / f"{LEASE}.{gone.token}.heir"
    right.write_bytes(msgspec.json.encode(living))
    with pytest.raises(TryAgain), hold_root(tmp_path):
        pass
    assert owner_of(tmp_path) == gone
    right.unlink()
    check_free(tmp_path)


def test_a_root_that_vanishes_takes_its_lease_with_it(tmp_path):
    root = tmp_path / "root"
    with hold_root(root):
        root.rename(tmp_path / "moved")
    assert not root.exists()


@pytest.mark.parametrize("left", [True, False])
def test_whenever_two_rivals_step_in_there_is_one_owner_at_the_end(tmp_path, left):
    """All ways in which two further runs can take the root between any two steps of the first."""
    first = second = 0
    while True:
        root = tmp_path / f"{first}-{second}"
        if left:
            leave_behind(root, process_started_s=-60.0)
        with contextlib.ExitStack() as stack:
            owners = []

            def run(stack=stack, owners=owners, root=root):
                context, held = contextvars.Context(), hold_root(root)
                with contextlib.suppress(TryAgain):
                    owners.append(context.run(held.__enter__))
                    stack.callback(context.run, held.__exit__, None, None, None)

            with before_operations(first, second, action=run) as operations:
                run()
            assert [owner_of(root)] == owners, (first, second)
        assert list(root.iterdir()) == []
        # Rivals after the last step come too late, and that has been tried when both do.
        if first > len(operations):
            break
        first, second = (first, second + 1) if second <= len(operations) else (first + 1, first + 1)
    assert first > 2


def test_a_run_killed_at_any_step_is_taken_over(tmp_path):
    for number in itertools.count():
        root = tmp_path / str(number)
        leave_behind(root, process_started_s=-60.0)
        with started(KILLED, root, number) as process:
            process.wait(PATIENCE_S)
        with hold_root(root) as lease:
            assert owner_of(root) == lease
        # What a run had laid ready before it was killed is buried with it; a torn file may be a rival's, for a minute.
        assert all(path.read_bytes() == b"" for path in root.iterdir())
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    assert number > 10


KILLED = """
import os, signal, sys
from pathlib import Path
from pile_toolkit.core.lease import hold_root
from tests.core.lease_making import before_operations

with before_operations(int(sys.argv[2]), action=lambda: os.kill(os.getpid(), signal.SIGKILL)):
    with hold_root(Path(sys.argv[1])):
        pass
"""
CONTENDER = """
import sys, time
from pathlib import Path
from pile_toolkit.core.errors import TryAgain
from pile_toolkit.core.lease import hold_root

for line in sys.stdin:
    root, start = line.split()
    while time.monotonic() < float(start):
        pass
    try:
        with hold_root(Path(root)):
            print("won", flush=True)
            sys.stdin.readline()
    except TryAgain:
        print("lost", flush=True)
        sys.stdin.readline()
    print("ready", flush=True)
"""


@pytest.mark.parametrize("left", ["nothing", "a dead run's lease", "a torn lease"])
def test_of_many_runs_at_once_exactly_one_wins(tmp_path, left):
    with contextlib.ExitStack() as stack:
        contenders = [stack.enter_context(started(CONTENDER)) for _ in range(8)]
        for number in range(10):
            root = tmp_path / str(number)
            root.mkdir()
            if left == "a dead run's lease":
                leave_behind(root, process_started_s=-60.0)
            elif left == "a torn lease":
                (root / LEASE).write_bytes(b"{")
            start = time.monotonic() + 0.02
            for contender in contenders:
                contender.stdin.write(f"{root} {start}\n")
            outcomes = [contender.stdout.readline() for contender in contenders]
            assert sorted(outcomes) == ["lost\n"] * 7 + ["won\n"]
            winner = contenders[outcomes.index("won\n")]
            assert owner_of(root).process == winner.pid
            for contender in contenders:
                contender.stdin.write("\n")
            assert [contender.stdout.readline() for contender in contenders] == ["ready\n"] * 8
            assert list(root.iterdir()) == []
