"""One run at a time on a root: the living are respected, the dead are not, and of many heirs one inherits."""

import contextlib
import contextvars
import errno
import itertools
import os
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psutil
import pytest

from pile_toolkit.core import lease as core_lease
from pile_toolkit.core.errors import TryAgain
from pile_toolkit.core.files import write_bytes
from pile_toolkit.core.held import held_leases, refuse_if_displaced, writing_under
from pile_toolkit.core.lease import LEASE, Lease, hold_root, holding_root, living_owner
from tests.making import REPOSITORY

PATIENCE_S = 60.0
HOLDER = """
import sys
from pathlib import Path
from pile_toolkit.core.lease import hold_root

with hold_root(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def started(script, *arguments):
    """A process of this script; killed if it is still there at the end."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, cwd=REPOSITORY, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def another_run(root):
    """Another process that holds `root`."""
    with started(HOLDER, root) as process:
        assert process.stdout.readline() == "held\n"
        yield process


def owner_of(root):
    return msgspec.json.decode((root / LEASE).read_bytes(), type=Lease)


def leave_behind(root, **changes):
    """The lease of this very process with some changes, as if another run had left it."""
    with hold_root(root):
        lease = msgspec.structs.replace(owner_of(root), token="left", **changes)
    (root / LEASE).write_bytes(msgspec.json.encode(lease))
    return lease


def by_another_run(call, *arguments, **options):
    """Calls a function as if it were not called from within the blocks that this thread is in."""
    return contextvars.Context().run(call, *arguments, **options)


def check_refused(root, *, take_over=False, match=None):
    """Another run cannot have `root`; returns the error."""

    def refused():
        with pytest.raises(TryAgain, match=match) as error, hold_root(root, take_over=take_over):
            pass
        return error.value

    return by_another_run(refused)


def check_free(root):
    with hold_root(root) as lease:
        assert owner_of(root) == lease
        assert lease.process == os.getpid()
    assert list(root.iterdir()) == []


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


def displaced_by(root, **changes):
    lease = msgspec.structs.replace(owner_of(root), token="another", **changes)
    (root / LEASE).write_bytes(msgspec.json.encode(lease))
    return lease


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


@contextlib.contextmanager
def before_operations(*numbers, action):
    """Calls `action` just before the operations on files with these numbers, counted from 0; yields their count."""
    counted, acting = [], False

    def watched(operation):
        def run(*arguments, **options):
            nonlocal acting
            if not acting:
                counted.append(operation)
                acting = True
                for _ in range(numbers.count(len(counted) - 1)):
                    action()
                acting = False
            return operation(*arguments, **options)

        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", watched(os.link))
        patch.setattr(core_lease, "read_lease", watched(core_lease.read_lease))
        for name in ("write_bytes", "unlink"):
            patch.setattr(Path, name, watched(getattr(Path, name)))
        yield counted


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
from tests.core.test_lease import before_operations

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
