"""Outcomes in, `docs/reliability.md` out: what was tried, what held, and what was found on the way."""

from __future__ import annotations

import os
import platform
import time
import tomllib
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil

from pile_toolkit.core.files import write_bytes
from tests.faults.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

FINDINGS = Path(__file__).with_name("findings.toml")
KINDS = {
    "kill": "`kill -9` of a run, of all its processes or of the parent alone, then run again",
    "disk": "the disk is full in mid-stage, then made larger",
    "worker": "schedulers, lost workers, damaged input, Ctrl-C, rival runs",
    "flip": "one bit of an output turned over (repair: three, then `pile verify --repair`)",
    "fuzz": "random bytes to a reader, with coverage as the guide",
}
INTRODUCTION = """# Reliability

Written by `make campaign` on {date}; nothing here is edited by hand. A case is drawn from its seed, and
`python -m tests.faults.campaign --only kind:seed` repeats it. What each kind of case demands stands in `tests/faults/`:
the same bytes and the same files as an undisturbed run leaves, no process alive, no manifest over half-written output,
the right exit code and one sentence.

- Machine: {cpus} CPUs, {memory_gib:.0f} GiB of memory, Python {python}, Linux {kernel}
- Command: `{command}`
- {cases:,} cases in {minutes:,.0f} minutes of work: {passed:,} passed, {failed:,} failed, {skipped:,} could not run
"""


def append(record: Path, outcome: Outcome) -> None:
    """Adds a line to the record at once: an interrupted campaign keeps what it has."""
    record.parent.mkdir(parents=True, exist_ok=True)
    with record.open("ab") as file:
        file.write(msgspec.json.encode(outcome) + b"\n")


def read(record: Path) -> list[Outcome]:
    """The outcomes recorded so far, of cases repeated the last; a line cut off by a kill is passed over."""
    found: dict[tuple[str, int], Outcome] = {}
    for line in record.read_bytes().splitlines() if record.exists() else ():
        try:
            outcome = msgspec.json.decode(line, type=Outcome)
        except msgspec.DecodeError:
            continue
        found[outcome.kind, outcome.seed] = outcome
    return [found[key] for key in sorted(found, key=lambda key: (list(KINDS).index(key[0]), key[1]))]


def write_page(path: Path, outcomes: Sequence[Outcome], command: str) -> None:
    """Renders the page from the record."""
    write_bytes(path, page(outcomes, command, date=time.strftime("%Y-%m-%d")).encode())


def page(outcomes: Sequence[Outcome], command: str, *, date: str) -> str:
    """The Markdown of the page."""
    head = INTRODUCTION.format(
        date=date,
        cpus=len(os.sched_getaffinity(0)),
        memory_gib=psutil.virtual_memory().total / (1 << 30),
        python=platform.python_version(),
        kernel=platform.release().partition("-")[0],
        command=command,
        cases=len(outcomes),
        minutes=sum(outcome.elapsed_s for outcome in outcomes) / 60,
        **_counts(outcomes),
    )
    return "\n".join([head, *_tables(outcomes), *_failures(outcomes), *_findings()])


def _counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    skipped = sum(outcome.skipped for outcome in outcomes)
    passed = sum(outcome.passed for outcome in outcomes)
    return {"passed": passed, "skipped": skipped, "failed": len(outcomes) - passed - skipped}


def _tables(outcomes: Sequence[Outcome]) -> list[str]:
    lines = []
    for kind, title in KINDS.items():
        mine = [outcome for outcome in outcomes if outcome.kind == kind]
        if not mine:
            continue
        lines += [f"## {kind}: {title}", "", "| case | tried | passed | failed | could not run | median s |"]
        lines.append("|---|---:|---:|---:|---:|---:|")
        ordered = sorted(mine, key=lambda outcome: [other.stage for other in mine].index(outcome.stage))
        for stage, group in groupby(ordered, key=lambda outcome: outcome.stage):
            lines.append(_row(stage, list(group)))
        lines += [_row("**all**", mine), ""]
        if kind == "fuzz":
            lines += [*(f"- {outcome.stage}: {outcome.fact}" for outcome in mine), ""]
    return lines


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    counts = _counts(outcomes)
    seconds = sorted(outcome.elapsed_s for outcome in outcomes)[len(outcomes) // 2]
    cells = (name, len(outcomes), counts["passed"], counts["failed"], counts["skipped"], f"{seconds:.1f}")
    return f"| {' | '.join(map(str, cells))} |"


def _failures(outcomes: Sequence[Outcome]) -> list[str]:
    bad = [outcome for outcome in outcomes if not outcome.passed]
    if not bad:
        return ["## Failed or could not run", "", "None.", ""]
    lines = ["## Failed or could not run", ""]
    for outcome in bad:
        fact = " ".join(outcome.fact.split())[:400]
        lines.append(f"- `--only {outcome.kind}:{outcome.seed}` ({outcome.stage}): {fact}")
    return [*lines, ""]


def _findings() -> list[str]:
    """What campaigns and the cases behind them have found so far, and how it was mended."""
    table = tomllib.loads(FINDINGS.read_text())["finding"]
    rows = [f"| {row['found']} | {row['mended']} |" for row in table]
    return ["## Found and mended", "", "| found | mended |", "|---|---|", *rows, ""]
