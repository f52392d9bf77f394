"""Other runs on a root: living, dead, displaced, and stepping in at a given operation on files."""

import contextlib
import contextvars
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pile_toolkit.core import lease as core_lease
from pile_toolkit.core.errors import TryAgain
from pile_toolkit.core.lease import LEASE, Lease, hold_root
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


def displaced_by(root, **changes):
    lease = msgspec.structs.replace(owner_of(root), token="another", **changes)
    (root / LEASE).write_bytes(msgspec.json.encode(lease))
    return lease


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
