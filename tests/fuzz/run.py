"""A fuzz target's name and a time in, how many inputs it took and what failed out; for the tests and the campaign."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TARGETS = ("records", "index")
REPOSITORY = Path(__file__).resolve().parents[2]
# A target that fails at once would otherwise be started again a thousand times.
MOST_CRASHES = 10
# Each process is that old at most: atheris keeps some 130 bytes of every input for ever, 5 GB in a fast hour.
LONGEST_PROCESS_S = 300
# What atheris needs to start, and to finish the input it is at.
GRACE_S = 120
_INPUTS = re.compile(r"number_of_executed_units:\s*(\d+)")
_PULSE = re.compile(r"^#(\d+)\s", re.MULTILINE)
_KEPT = re.compile(r"Test unit written to ")
_PEAK = re.compile(r"peak_rss_mb:\s*(\d+)")


@dataclass(frozen=True)
class FuzzOutcome:
    """What a target did: inputs tried in how many seconds, and the files of those that failed, hung or took too much.

    `corpus_files` is how many inputs are kept because each of them reaches something new.
    """

    target: str
    seconds: float
    inputs: int
    crashes: tuple[Path, ...]
    corpus_files: int
    peak_rss_mb: int


def why_not() -> str | None:
    """Why nothing can be fuzzed here, None where it can."""
    if importlib.util.find_spec("atheris") is None:
        return "atheris is not installed: it has wheels for Python 3.11 to 3.13 on Linux x86_64 only"
    return None


def fuzz(target: str, *, seconds: int, seed: int, folder: Path) -> FuzzOutcome:
    """Runs `tests.fuzz.<target>` in processes of its own for `seconds`, each with the next seed; also after a failure.

    `folder` gets `corpus/`, read as well, so that a later call continues; `crashes/`, the inputs that failed, each to
    be checked again with `python -m tests.fuzz.<target> --input FILE`; and `log.txt`, all that was printed. Raises
    RuntimeError where the target does not even start.
    """
    corpus, crashes = folder / "corpus", folder / "crashes"
    for made in (corpus, crashes):
        made.mkdir(parents=True, exist_ok=True)
    started, inputs, peak_rss_mb, failures = time.monotonic(), 0, 0, 0
    while (left := seconds - int(time.monotonic() - started)) > 0 and failures < MOST_CRASHES:
        slice_s = min(left, LONGEST_PROCESS_S)
        status, output = _run_once(target, seconds=slice_s, seed=seed, corpus=corpus, crashes=crashes)
        seed += 1
        with (folder / "log.txt").open("a") as log:
            log.write(output)
        inputs += max((int(number) for number in _INPUTS.findall(output) or _PULSE.findall(output)), default=0)
        peak_rss_mb = max([peak_rss_mb, *map(int, _PEAK.findall(output))])
        if status != 0 and not _KEPT.search(output):
            raise RuntimeError(f"tests.fuzz.{target} ended with {status} and no input to blame:\n{output[-4000:]}")
        failures += status != 0
    return FuzzOutcome(
        target=target,
        seconds=round(time.monotonic() - started, 1),
        inputs=inputs,
        crashes=tuple(sorted(crashes.iterdir())),
        corpus_files=len(list(corpus.iterdir())),
        peak_rss_mb=peak_rss_mb,
    )


def _run_once(target: str, *, seconds: int, seed: int, corpus: Path, crashes: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", f"tests.fuzz.{target}", "--seconds", str(seconds), "--seed", str(seed)]
    command += ["--corpus", str(corpus.resolve()), "--crashes", str(crashes.resolve())]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    # A session of its own, so that nothing it started outlives it. Started by a shell, because the kernel counts the
    # peak memory of who starts a process as its own, and that of a whole test run is above the target's limit.
    process = subprocess.Popen(
        ["sh", "-c", '"$@"; exit $?', "sh", *command],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds + GRACE_S)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process.returncode, output
