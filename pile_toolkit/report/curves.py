"""Points in, inline SVG out: curves on common axes, as `plots` draws bars; on request a file that stands alone."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from pile_toolkit.report.plots import (
    baseline,
    chart,
    element,
    horizontal_grid,
    hover,
    nice_ticks,
    text,
    tick_label,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Labels of marks begin this far, in percent, from the left: what the axis counts stands there.
LABELS_FROM = 28
WIDTH, MARGIN = 760, 56
# The colours of the page's style sheet, of a chart that is a file of its own; lines that coincide are both seen.
COLOURS = """
svg { --ink: #1d2329; --soft: #5a646e; --grid: #e8eaeb; --page: #fcfcfa; --s0: #2c6fad; --s1: #d08a1d; --s2: #7a5aa6; }
@media (prefers-color-scheme: dark) {
svg { --ink: #e3e7ea; --soft: #9aa5af; --grid: #2a3138; --page: #14181c; --s0: #69aee8; --s1: #e6ab4c; --s2: #b49be0; }
}
text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg svg { overflow: visible; }
.sheet { fill: var(--page); } .grid { stroke: var(--grid); } .axis { stroke: var(--soft); }
.level { stroke: var(--soft); stroke-dasharray: 4 4; } .strip { fill: transparent; }
polyline { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
.line-1 { stroke: var(--s1); } .line-2 { stroke: var(--s2); }
.line-0 { stroke: var(--s0); stroke-width: 5; opacity: .5; }
.swatch-0 { fill: var(--s0); } .swatch-1 { fill: var(--s1); } .swatch-2 { fill: var(--s2); }
.dot-1 { fill: var(--s1); stroke: var(--page); }
"""


class Point(NamedTuple):
    """One place of a curve."""

    x: float
    y: float
    tooltip: str


class Axes(NamedTuple):
    """From numbers to places: the range of each axis, and the height in pixels."""

    first: float
    last: float
    low: float
    high: float
    height: int

    def across(self, x: float) -> float:
        """Percent from the left."""
        return 100 * (x - self.first) / ((self.last - self.first) or 1.0)

    def down(self, y: float) -> float:
        """Pixels from the top."""
        return self.height * (self.high - y) / (self.high - self.low)


def curve(
    line: Sequence[Point],
    dots: Sequence[Point] = (),
    *,
    others: Sequence[Sequence[Point]] = (),
    x_unit: str,
    y_unit: str,
    name: str,
    height: int = 240,
    from_zero: bool = False,
    level: Point | None = None,
    marks: Sequence[Point] = (),
    whole: bool = True,
) -> Markup:
    """A line, `others` and dots on the same axes, one point at least, and a dashed `level` labelled by its tooltip.

    `marks` are levels across: dashed lines at their x. Without `whole` there are ticks between whole numbers of x.
    """
    lines = [line, *others]
    points = [*itertools.chain(*lines), *dots]
    values = [point.y for point in (*points, *([level] if level else []))]
    y_ticks = nice_ticks(0 if from_zero else min(values), max(values), most=6)
    places = [point.x for point in (*points, *marks)]
    axes = Axes(min(places), max(places), y_ticks[0], y_ticks[-1], height)
    parts = list(horizontal_grid(y_ticks, height, y_unit))
    if level is not None:
        y = axes.down(level.y)
        parts.append(element("line", x1=0, x2="100%", y1=y, y2=y, class_="level"))
        parts.append(text(level.tooltip, x="100%", y=y - 8, anchor="end", class_="unit"))
    parts += _marks(marks, axes)
    parts += (_line(points, axes, series) for series, points in enumerate(lines) if points)
    parts += _strips(lines, axes)
    for point in dots:
        title = element("title", point.tooltip)
        x = f"{axes.across(point.x):.3f}%"
        parts.append(element("circle", title, cx=x, cy=axes.down(point.y), r=4.5, class_="dot-1"))
    for tick in nice_ticks(axes.first, axes.last, most=6, whole=whole):
        if axes.first <= tick <= axes.last:
            parts.append(text(tick_label(tick), x=f"{axes.across(tick):.3f}%", y=height + 14, anchor="middle"))
    parts += baseline(height, x_unit)
    return chart(name, height, parts, class_="curve")


def small_curve(line: Sequence[Point], *, low: float, high: float, name: str, height: int = 64) -> Markup:
    """A line of at least one point without numbers, between `low` and `high`, for small charts side by side."""
    axes = Axes(line[0].x, line[-1].x, low, high if high > low else low + 1, height)
    last = f"{axes.across(line[-1].x):.3f}%"
    parts = [_line(line, axes, 0), element("circle", cx=last, cy=axes.down(line[-1].y), r=2.5, class_="dot-0")]
    parts += [*_strips([line], axes), *baseline(height, "")]
    return chart(name, height, parts, class_="small curve")


def standalone(svg: Markup, *, legend: Sequence[str] = (), height: int = 240) -> str:
    """A chart of this height as an SVG file with its own colours, by the names of its lines."""
    keys, left = [], MARGIN
    for series, name in enumerate(legend):
        keys.append(element("rect", x=left, y=12, width=10, height=10, class_=f"swatch-{series}"))
        keys.append(text(name, x=left + 16, y=17))
        # Letters are some seven pixels wide.
        left += 40 + 7 * len(name)
    whole = height + 2 * MARGIN + 24
    sheet = element("rect", width="100%", height="100%", class_="sheet")
    placed = element("svg", svg, x=MARGIN, y=MARGIN + 14, width=WIDTH - 2 * MARGIN, height=height)
    content = Markup("").join([Markup("<style>{}</style>").format(Markup(COLOURS)), sheet, *keys, placed])
    attributes = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {WIDTH} {whole}", "width": WIDTH}
    return f"{element('svg', content, **attributes, height=whole)}\n"


def _marks(marks: Sequence[Point], axes: Axes) -> Iterable[Markup]:
    for mark in marks:
        x, title = f"{axes.across(mark.x):.3f}%", element("title", mark.tooltip)
        yield element("line", title, x1=x, x2=x, y1=0, y2=axes.height, class_="level")
        if axes.across(mark.x) >= LABELS_FROM:
            yield text(mark.tooltip, x=x, y=-8, anchor="middle", class_="unit")


def _line(points: Sequence[Point], axes: Axes, series: int) -> Markup:
    """A line, stretched to the width that there is."""
    path = " ".join(f"{axes.across(point.x):.3f},{axes.down(point.y):.2f}" for point in points)
    drawn = element("polyline", points=path, class_=f"line-{series}", vector_effect="non-scaling-stroke")
    box = f"0 0 100 {axes.height}"
    return element("svg", drawn, viewBox=box, preserveAspectRatio="none", width="100%", height=axes.height)


def _strips(lines: Sequence[Sequence[Point]], axes: Axes) -> Iterable[Markup]:
    """At every x what all lines are there; a strip reaches half way to the next ones."""
    said: dict[float, list[str]] = {}
    for point in itertools.chain(*lines):
        said.setdefault(point.x, []).append(point.tooltip)
    places = sorted(said)
    middles = [(axes.across(one) + axes.across(other)) / 2 for one, other in itertools.pairwise(places)]
    for place, left, right in zip(places, [0.0, *middles], [*middles, 100.0], strict=True):
        yield hover(left, right - left, axes.height, "\n".join(said[place]))
