"""docs/errors.md is what the exception tree says, and what commands really say when they end so."""

from __future__ import annotations

import re
import resource
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from pile_toolkit.core.errors import error_tree, outcomes, page
from pile_toolkit.core.lease import hold_root
from tests.chain.small_chain import pile_command, process_environment
from tests.making import REPOSITORY, small_disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OUTCOMES = {outcome.name: outcome for outcome in outcomes()}


def test_the_page_is_what_the_exception_tree_says():
    written = (REPOSITORY / "docs" / "errors.md").read_text()
    assert written == page(), "python -m pile_toolkit.core.errors > docs/errors.md"
    made = subprocess.run(
        [sys.executable, "-m", "pile_toolkit.core.errors"], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert made.stdout == written


def test_every_class_has_its_row_with_its_exit_code():
    rows = re.findall(r"^\| (\d+) \| (?:&emsp;)*`(\w+)` \|", page(), re.MULTILINE)
    assert {name: int(code) for code, name in rows} == {kind.__name__: kind.exit_code for kind in error_tree()}


@pytest.fixture
def call(tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """Runs `pile` in the test's folder."""

    def run(*arguments: str | Path, env: dict[str, str] | None = None, **options) -> subprocess.CompletedProcess:
        command = pile_command(arguments)
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=process_environment() | (env or {}),
            **options,
        )

    return run


@pytest.fixture
def copied(undisturbed, tmp_path) -> Path:
    """A finished root that a test may change."""
    return shutil.copytree(undisturbed / "root", tmp_path / "root", symlinks=True)


def usage(call, tmp_path, request) -> subprocess.CompletedProcess:
    return call("build", "--root", "new")


def no_source(call, tmp_path, request) -> subprocess.CompletedProcess:
    (tmp_path / "empty-folder").mkdir()
    return call("download", "arxiv", "--from", "./empty-folder", "--root", "root")


def cut_off(call, tmp_path, request) -> subprocess.CompletedProcess:
    whole = (request.getfixturevalue("source") / "ubuntu-irc.jsonl.zst").read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "arxiv.jsonl.zst").write_bytes(whole[:-100])
    return call("download", "arxiv", "--from", "./folder", "--root", "root")


def no_memory(call, tmp_path, request) -> subprocess.CompletedProcess:
    root = request.getfixturevalue("undisturbed") / "root"
    limit = 1 << 30
    with open("/dev/zero", "rb") as endless:
        return call(
            *("tokenizer", "encode", "--root", root),
            stdin=endless,
            env={"OPENBLAS_NUM_THREADS": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )


def full_disk(call, tmp_path, request) -> subprocess.CompletedProcess:
    with small_disk(tmp_path / "small-disk", size_bytes=128 << 10):
        return call("download", "--all", "--root", "small-disk")


def killed_worker(call, tmp_path, request) -> subprocess.CompletedProcess:
    root = request.getfixturevalue("copied")
    command = pile_command(["dedup", "--method", "none", "--jobs", "2", "--root", root])
    run = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=process_environment()
    )
    while not (
        workers := [child for child in psutil.Process(run.pid).children() if "spawn_main" in str(child.cmdline())]
    ):
        assert run.poll() is None
    workers[0].kill()
    said, wrong = run.communicate()
    return subprocess.CompletedProcess(command, run.returncode, said, wrong)


def second_run(call, tmp_path, request) -> subprocess.CompletedProcess:
    with hold_root(tmp_path / "root"):
        return call("dedup", "--root", "root")


def broken_library(call, tmp_path, request) -> subprocess.CompletedProcess:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "psutil.py").write_text("raise RuntimeError('this library does not load')\n")
    return call("dedup", "--root", "root", env={"PYTHONPATH": str(tmp_path / "broken")})


def command_line(call, tmp_path, request) -> subprocess.CompletedProcess:
    return call("build", "--sead", "1")


def interrupted(call, tmp_path, request) -> subprocess.CompletedProcess:
    config = request.getfixturevalue("configure")(tmp_path)
    command = pile_command(["run", config, "--jobs", "1"])
    run = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=process_environment()
    )
    while not (tmp_path / "root" / "dedup").exists():
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    said, wrong = run.communicate()
    return subprocess.CompletedProcess(command, run.returncode, said, wrong)


SITUATIONS = {
    "UsageError": usage,
    "SourceUnavailable": no_source,
    "CorruptData": cut_off,
    "OutOfSpace": no_memory,
    "DiskFull": full_disk,
    "WorkerKilled": killed_worker,
    "TryAgain": second_run,
    "anything else": broken_library,
    "command line": command_line,
    "interrupted": interrupted,
}


def test_every_outcome_but_success_is_provoked_here():
    assert SITUATIONS.keys() == OUTCOMES.keys() - {"fine"}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_command_ends_as_the_page_says(name, call, tmp_path, request):
    promised = OUTCOMES[name]
    done = SITUATIONS[name](call, tmp_path, request)
    assert done.returncode == promised.exit_code, done.stderr
    lines = done.stderr.splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    error, _, hint = "\n".join(lines[first:]).removeprefix("error: ").partition("\n  try: ")
    assert re.fullmatch(pattern(promised.example.error), error, re.DOTALL), done.stderr
    assert re.fullmatch(pattern(promised.example.hint), hint, re.DOTALL), done.stderr
    assert hint
    assert "Traceback" not in done.stderr


def pattern(example: str) -> str:
    return ".*".join(map(re.escape, example.split("…")))
