"""A case in, what became of it out: held, lost with the fact, or impossible here with the reason."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.ground import RunningPile


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one case; `fact` says what was done, and of a failed one what was found."""

    kind: str
    stage: str
    seed: int
    passed: bool
    fact: str
    elapsed_s: float = 0.0
    skipped: bool = False


class Lost(Exception):
    """A promise that did not hold: the fact, for the record of the campaign."""


def demand(holds: object, fact: str) -> None:
    """Raises Lost with the fact unless it holds."""
    if not holds:
        raise Lost(fact)


def demand_end(run: RunningPile, code: int, *patterns: str) -> None:
    """Raises Lost unless a run ends with this exit code, one sentence with these facts, and no process that goes on."""
    demand(run.ends(), f"the run does not end: {run.said()}")
    demand(run.process.returncode == code, f"exit code {run.process.returncode} and not {code}: {run.said()}")
    errors = [line for line in run.said().splitlines() if line.startswith("error: ")]
    demand(len(errors) == 1 and "Traceback" not in run.said(), f"not one sentence: {run.said()}")
    last_words = run.said()[run.said().index(errors[0]) :]
    for pattern in patterns:
        demand(re.search(pattern, last_words), f"{pattern!r} is not said: {last_words}")
    demand(not run.left_alive(), f"alive after the run: {run.left_alive()}")


def judged(kind: str, stage: str, seed: int, case: Callable[[], str]) -> Outcome:
    """Runs `case() -> fact` and says what became of it; what it promises not to do is raised as Lost."""
    started = time.monotonic()
    passed, skipped = False, False
    try:
        fact, passed = case(), True
    except pytest.skip.Exception as missing:
        fact, skipped = str(missing), True
    except Exception as error:  # One broken case must not end a campaign of hundreds; it is a failure of its own.
        fact = str(error) if isinstance(error, Lost) else f"{type(error).__name__}: {error}"
    elapsed_s = round(time.monotonic() - started, 2)
    return Outcome(kind=kind, stage=stage, seed=seed, passed=passed, fact=fact, elapsed_s=elapsed_s, skipped=skipped)


def require(outcome: Outcome) -> None:
    """For tests: fails with the fact of a case that failed, skips with the reason of one that cannot run here."""
    if outcome.skipped:
        pytest.skip(outcome.fact)
    repeat = f"python -m tests.faults.campaign --only {outcome.kind}:{outcome.seed}"
    assert outcome.passed, f"{outcome.kind} {outcome.stage}: {outcome.fact} ({repeat})"
