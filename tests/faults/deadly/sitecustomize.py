"""Read by every Python that finds this folder on its path: does something fatal at a chosen file operation.

FAULT_FOLDER   operations on files below it count, in the first process; each adds a line to FAULT_LOG where that is set
FAULT_AT       at the operation of this number, from 1, before it is done, FAULT_KILLS (process or group) is killed
FAULT_LIMIT_BYTES   in place of the kill: from there on the system ends the process that makes a file longer than this
FAULT_OPENED   a worker that opens a file whose path contains this ends as FAULT_DOES says: kill, or eat all memory
FAULT_ONCE     only the worker that could remove this file ends so
"""

from __future__ import annotations

import os
import resource
import signal
import sys

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.link", "os.mkdir"}
FOLDER = os.environ.get("FAULT_FOLDER")
OPENED = os.environ.get("FAULT_OPENED")
EATEN_BLOCK_BYTES = 16 << 20


def _path_of(event: str, arguments: tuple) -> str | None:
    """The absolute path that an operation changes, None where it changes none."""
    if event == "open":
        path, _, flags = arguments
        return os.path.abspath(path) if isinstance(path, str) and flags & WRITES else None
    if event not in CHANGES:
        return None
    path = os.fsdecode(arguments[0])
    # Trees are removed by names relative to an open folder, which is the last argument.
    if not path.startswith("/") and isinstance(arguments[-1], int) and arguments[-1] >= 0:
        return os.path.join(os.readlink(f"/proc/self/fd/{arguments[-1]}"), path)
    return os.path.abspath(path)


def _count_operations(folder: str) -> None:
    log, fatal = os.environ.get("FAULT_LOG"), int(os.environ.get("FAULT_AT", "0"))
    done = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal done
        if event != "open" and event not in CHANGES:
            return
        path = _path_of(event, arguments)
        if path is None or not path.startswith(folder):
            return
        done += 1
        if log:
            descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, f"{event} {path}\n".encode())
            os.close(descriptor)
        if done == fatal and (limit := os.environ.get("FAULT_LIMIT_BYTES")):
            # Python does not want to hear of this signal; left to the system it ends a process like SIGKILL.
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
        elif done == fatal:
            (os.killpg if os.environ["FAULT_KILLS"] == "group" else os.kill)(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _is_first() -> bool:
    if once := os.environ.get("FAULT_ONCE"):
        try:
            os.remove(once)
        except FileNotFoundError:
            return False
    return True


def _die_on_opening(part: str) -> None:
    def hook(event: str, arguments: tuple) -> None:
        if event != "open" or part not in str(arguments[0]) or not _is_first():
            return
        eaten = []
        while os.environ["FAULT_DOES"] == "eat":
            eaten.append(b"\1" * EATEN_BLOCK_BYTES)
        os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


# Workers inherit the variable that the first process sets here.
FIRST = int(os.environ.setdefault("FAULT_FIRST", str(os.getpid()))) == os.getpid()
if FIRST and FOLDER:
    _count_operations(FOLDER)
if not FIRST and OPENED:
    _die_on_opening(OPENED)
