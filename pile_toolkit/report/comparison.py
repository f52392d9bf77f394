"""A comparison of tokenizers in, one self-contained HTML page out: its tables, and a chart of ratios per component.

The page asks for nothing from outside and forbids itself scripts; all text that came from outside is escaped.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import pile_toolkit
from pile_toolkit.core.console import size
from pile_toolkit.core.files import write_bytes
from pile_toolkit.report.figures import Figure
from pile_toolkit.report.numbers import percent
from pile_toolkit.report.page import render_page
from pile_toolkit.report.plots import Bar, bars, shortened
from tokenizer.comparing.results import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from markupsafe import Markup

    from tokenizer.comparing.results import Comparison, ComparisonRow, TokenCounts

TEMPLATE = "comparison.html.j2"
# What a chart has room for; the tables have all components, and all of a name.
CHARTED_COMPONENTS = 40
KINDS = ("all tokens", "without white-space tokens")


def write_comparison(path: str | Path, comparison: Comparison) -> None:
    """Writes the page of a comparison to `path`, whole or not at all."""
    write_bytes(Path(path), page(comparison).encode())


def page(comparison: Comparison) -> str:
    """The whole HTML page."""
    return render_page(
        TEMPLATE,
        filters={"quotient": quotient, "size": size, "quoted": quoted},
        comparison=comparison,
        names=short_names(comparison.encoders),
        charts=charts(comparison),
        percent=percent,
        version=pile_toolkit.__version__,
    )


def charts(comparison: Comparison) -> list[Figure]:
    """For each tokenizer after the first its ratio to it per component; of one alone its bytes per token."""
    names = short_names(comparison.encoders)
    (of_first, first), *others = names.items()
    rows, note = _charted(comparison)
    if not others:
        chart = _bars(rows, lambda counts: counts.bytes_per_token[of_first], unit="bytes per token")
        return [Figure(title=f"Bytes per token of {first}", svg=chart, legend=KINDS, note=note)]
    return [
        Figure(
            title=f"Tokens of {short} over those of {first}",
            svg=_bars(rows, partial(_ratio, name), unit=f"tokens over those of {first}"),
            legend=KINDS,
            note=f"Below 1 a text has fewer tokens than under {first}. {note}".strip(),
        )
        for name, short in others
    ]


def _ratio(name: str, counts: TokenCounts) -> float | None:
    return counts.ratio[name]


def _charted(comparison: Comparison) -> tuple[list[ComparisonRow], str]:
    """The rows that a chart has room for, and what it says about the others."""
    if len(comparison.rows) == 1:
        return [comparison.total], ""
    places = sorted(range(len(comparison.rows)), key=lambda place: -comparison.rows[place].bytes)[:CHARTED_COMPONENTS]
    rows = [comparison.rows[place] for place in sorted(places)]
    every = len(rows) == len(comparison.rows)
    return [
        comparison.total,
        *rows,
    ], "" if every else f"The largest {len(rows)} of {len(comparison.rows):,} components."


def _bars(rows: Sequence[ComparisonRow], value: Callable[[TokenCounts], float | None], *, unit: str) -> Markup:
    drawn = []
    for row in rows:
        values = [value(row), value(row.without_white_space)]
        tooltips = [f"{row.component}: {quotient(number)}, {kind}" for number, kind in zip(values, KINDS, strict=True)]
        drawn.append(
            Bar(
                label=shortened(row.component),
                values=[number or 0.0 for number in values],
                tooltips=tooltips,
                text=" / ".join(map(quotient, values)),
            )
        )
    return bars(drawn, unit=unit, name=f"{unit} per component")


def short_names(files: Sequence[str]) -> dict[str, str]:
    """The last parts of the files' names, as few as tell them apart."""
    parts = [PurePath(file).parts for file in files]
    most = max(map(len, parts), default=1)
    for count in range(1, most + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return dict(zip(files, names, strict=True))
    return dict(zip(files, files, strict=True))


def quotient(value: float | None) -> str:
    """A ratio for people."""
    return "–" if value is None else f"{value:.3f}"
