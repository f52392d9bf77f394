"""What a run has to say: progress bars on a terminal, plain timed lines elsewhere, nothing for library callers.

Progress goes to stderr, results to stdout, so that `--json` output can be piped.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from rich.console import RenderableType
    from rich.table import Table

LINE_INTERVAL_S = 5.0
# The longest line of a log; a note that makes it longer stands below it.
LINE_WIDTH = 100
# What a time before a line takes, but for very long runs.
TIME_WIDTH = 12
# Wide enough that no table is cut where there is no terminal to fit.
PLAIN_WIDTH = 160
# Text in a table is broken between words down to this width.
NARROWEST_TEXT = 20
# Blanks between two columns.
GAP = 2


class Advance(Protocol):
    """Counts the units done since the last call; `note` is what else there is to say, such as a loss."""

    def __call__(self, units: int, *, note: str = "") -> None: ...


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
        yield _count_nothing


def _count_nothing(units: int, *, note: str = "") -> None:
    pass


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

        def advance(units: int, *, note: str = "") -> None:
            nonlocal done, last
            done += units
            if (now := time.monotonic()) - last >= LINE_INTERVAL_S:
                last = now
                text = f"{label}: {_done_of(done, total, unit)}"
                together = f"{text}, {note}" if note else text
                self.say(together if len(together) <= LINE_WIDTH - TIME_WIDTH else f"{text}\n  {note}")

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
        from rich.text import Text

        class WithNote(Progress):
            """The bar, and what else there is to say below it."""

            note = ""

            def get_renderables(self) -> Iterator[RenderableType]:
                yield from super().get_renderables()
                if self.note:
                    yield Text(f"  {self.note}")

        columns = (
            TextColumn("{task.description:<24}"),
            BarColumn(),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with WithNote(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(label, total=total or None, amount=_done_of(0, total, unit))
            done = 0

            def advance(units: int, *, note: str = "") -> None:
                nonlocal done
                done += units
                bars.note = note
                bars.update(task, completed=done, amount=_done_of(done, total, unit))

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


def _done_of(done: int, total: int, unit: str) -> str:
    """`1,000 of 3,000 files`; of an unknown total only what is done."""
    if not total:
        return amount(done, unit)
    return f"{size(done)} of {size(total)}" if unit == "bytes" else f"{done:,} of {amount(total, unit)}"


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


DAYS_OF_YEAR = 365.25


def duration(seconds: float) -> str:
    """Seconds for people: `40 s`, `12 min`, `3.4 h`, `2.1 days`, `37 years`."""
    for limit_s, unit_s, unit in ((90, 1, "s"), (5400, 60, "min")):
        if seconds < limit_s:
            return f"{seconds / unit_s:,.0f} {unit}" if seconds >= 1 or not seconds else "under 1 s"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:,.1f} h"
    days = seconds / 86400
    return f"{days:,.1f} days" if days < 2 * DAYS_OF_YEAR else f"{days / DAYS_OF_YEAR:,.0f} years"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """A table on stdout.

    Columns whose name starts with '>' stand to the right. Those that start with '?' are left out, the last first,
    where the terminal is too narrow. The first column and numbers are never broken, other text only between words.
    """
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
    widths = [_narrowest(name, [row[place] for row in rows], place) for place, name in enumerate(columns)]
    shown = list(range(len(columns)))
    while (needed := sum(widths[place] + GAP for place in shown) - GAP) > console.width and (
        optional := [place for place in shown if columns[place].startswith("?")]
    ):
        shown.remove(optional[-1])
    # A terminal that is narrower than that wraps the lines itself: nothing is cut.
    console.width = max(console.width, needed)
    with console.capture() as captured:
        console.print(_table(columns, rows, shown, widths, title))
    for line in captured.get().splitlines():
        print(line.rstrip())  # noqa: T201


def _is_text(name: str, place: int) -> bool:
    return place > 0 and ">" not in name[:2]


def _narrowest(name: str, cells: Sequence[str], place: int) -> int:
    longest = max(map(len, cells), default=0)
    title_length = len(name.lstrip("?>"))
    return max(title_length, min(longest, NARROWEST_TEXT) if _is_text(name, place) else longest)


def _table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    shown: Sequence[int],
    widths: Sequence[int],
    title: str | None,
) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True
    )
    for place in shown:
        name = columns[place]
        text = _is_text(name, place)
        justify: Literal["right", "left"] = "right" if ">" in name[:2] else "left"
        table.add_column(name.lstrip("?>"), justify=justify, no_wrap=not text, overflow="fold", min_width=widths[place])
    for row in rows:
        # As text, not markup: a document may contain square brackets.
        table.add_row(*(Text(row[place]) for place in shown))
    return table
