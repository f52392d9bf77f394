"""What a run has to say: progress bars on a terminal, plain timed lines elsewhere, nothing for library callers.

Progress goes to stderr, results to stdout, so that `--json` output can be piped.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    Advance = Callable[[int], None]

LINE_INTERVAL_S = 5.0
# Wide enough that no table is cut where there is no terminal to fit.
PLAIN_WIDTH = 160


class Reporter(Protocol):
    """Where a stage says what it does."""

    def say(self, text: str) -> None:
        """One line."""

    def progress(self, label: str, *, total: int, unit: str) -> AbstractContextManager[Advance]:
        """A task of `total` units; call what it yields with the units done since the last call."""


class Silent:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    @contextlib.contextmanager
    def progress(self, label: str, *, total: int, unit: str) -> Iterator[Advance]:
        """Counts nothing."""
        yield lambda units: None


class Lines:
    """Plain lines with the seconds since the start, for logs: one at most every few seconds per task."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """One timed line."""
        print(f"[{time.monotonic() - self._started:7.1f} s] {text}", file=sys.stderr, flush=True)  # noqa: T201

    @contextlib.contextmanager
    def progress(self, label: str, *, total: int, unit: str) -> Iterator[Advance]:
        """A line now and then; short tasks print none."""
        done, last = 0, time.monotonic()

        def advance(units: int) -> None:
            nonlocal done, last
            done += units
            if (now := time.monotonic()) - last >= LINE_INTERVAL_S:
                last = now
                self.say(f"{label}: {amount(done, unit)} of {amount(total, unit)}")

        yield advance


class Bars:
    """Rich progress bars on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    def say(self, text: str) -> None:
        """One line above the bars."""
        self._console.print(text, highlight=False, markup=False)

    @contextlib.contextmanager
    def progress(self, label: str, *, total: int, unit: str) -> Iterator[Advance]:
        """One bar that goes away when its task is done."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description:<24}"),
            BarColumn(),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(label, total=total or None, amount="")
            done = 0

            def advance(units: int) -> None:
                nonlocal done
                done += units
                bars.update(task, completed=done, amount=f"{amount(done, unit)} of {amount(total, unit)}")

            yield advance


SILENT = Silent()


def speaks() -> bool:
    """Whether this process talks to people: the only one, or the first of those that torchrun starts."""
    return os.environ.get("RANK", "0") == "0"


def reporter() -> Reporter:
    """Bars where a person watches, lines elsewhere."""
    if not speaks():
        return SILENT
    return Bars() if sys.stderr.isatty() else Lines()


def amount(value: float, unit: str) -> str:
    """A number with its unit: bytes in powers of 1024, all else with thousands separated."""
    return size(value) if unit == "bytes" else f"{value:,.0f} {unit}"


def size(value: float) -> str:
    """Bytes for people: `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.2f} {unit}"
        value /= 1024
    raise ValueError(f"not a size: {value}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """A table on stdout; columns whose name starts with '>' stand to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    for row in rows:
        # As text, not markup: a document may contain square brackets.
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False).print(table)
