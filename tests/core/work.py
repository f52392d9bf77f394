"""Functions that test workers run in processes of their own: small, and quick to import there."""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import signal
import socket
from pathlib import Path

from pile_toolkit.core.errors import CorruptData


def squared(number: int) -> int:
    return number * number


def fail_with(kind: type[Exception], message: str) -> None:
    raise kind(message)


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash_this_process() -> None:
    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)


def note(log: str, text: str) -> None:
    """Adds a line to a file that several processes write to."""
    with open(log, "a") as file:
        file.write(f"{text}\n")


def write_square(folder: Path, number: int, log: str) -> dict:
    """A task with a file and a result, which leaves a line in `log` for every time it ran."""
    note(log, str(number))
    (folder / "square.txt").write_text(str(number**2))
    return {"number": number, "pair": (number, number**2)}


def write_square_unless(folder: Path, number: int, log: str, bad: int, fault: str) -> dict:
    """The same, but for one number there is a half-written file and no result, until the file `fault` is gone."""
    if number == bad and Path(fault).exists():
        (folder / "half.txt").write_text("ha")
        match Path(fault).read_text():
            case "kill":
                kill_this_process()
            case "corrupt":
                raise CorruptData("it is damaged", hint="mend it")
            case "memory":
                raise MemoryError
            case "value":
                raise ValueError("no such value")
    return write_square(folder, number, log)


def die_the_first_time(folder: Path, number: int, log: str) -> dict:
    """The same, but the process that comes first to number 1 dies."""
    note(log, f"start {number}")
    if number == 1 and Path(log).read_text().splitlines().count("start 1") == 1:
        kill_this_process()
    return write_square(folder, number, log)


def finish_twice(folder: Path, number: int, log: str) -> dict:
    """The same, but while it runs another worker finishes the same task."""
    result = write_square(folder, number, log)
    other = folder.with_name(folder.name.partition(".partial-")[0])
    shutil.copytree(folder, other)
    (other / "result.json").write_text(json.dumps(result))
    return result


def wait_for_the_other(folder: Path, pipe: str, number: int) -> int:
    """Number 0 ends only after number 1 is at work: two of these end in the reverse of their order."""
    with open(pipe, "rb" if number == 0 else "wb") as file:
        if number == 0:
            file.read()
    return number


def report_and_wait(port: int | None) -> None:
    """Tells the test its process number and waits: the connection ends when this process does."""
    if port is None:
        return
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{os.getpid()}\n".encode())
        connection.recv(1)
