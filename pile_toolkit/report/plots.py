"""Numbers in, inline SVG out: bars and histograms, without a script and without colours of their own; `curves` beside.

An SVG here is the area of the plot alone: across, everything is in percent of it, so that a chart takes the width that
it is given while its text keeps its size; labels of axes overflow into the margin that the style sheet leaves. Colours
are classes (`series-0`, `series-1`, ...). All text is escaped where it is put in.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROW_PIXELS = 25
BAR_PIXELS = 15
LABEL_PIXELS = 8
LABEL_CHARACTERS = 20
LEAST_PIXELS = 1.5
LEAST_SPAN = 1e-9


class Bar(NamedTuple):
    """One row of a bar chart: a value and a tooltip per series, and what stands behind the longest bar."""

    label: str
    values: Sequence[float]
    tooltips: Sequence[str]
    text: str


class Bin(NamedTuple):
    """One column of a histogram: a value per series, stacked; `tick` stands below its left edge."""

    values: Sequence[float]
    tooltip: str
    tick: str | None = None


def element(name: str, content: str = "", **attributes: Any) -> Markup:
    """One element; underscores in attribute names are hyphens, a trailing one is for Python's keywords."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _number(value))
        for key, value in attributes.items()
        if value is not None
    )
    # The name is ours; the content is escaped unless it is an element already.
    return Markup(f"<{name}{{}}>{{}}</{name}>").format(written, content)


def shortened(name: str | None) -> str:
    """A name as it stands beside a bar, its end cut off where it is too long."""
    name = name or ""
    return name if len(name) <= LABEL_CHARACTERS else f"{name[: LABEL_CHARACTERS - 1]}…"


def bars(rows: Sequence[Bar], *, unit: str, name: str, stacked: bool = False) -> Markup:
    """Horizontal bars from zero: of each row one per series below each other, or one behind the other if `stacked`."""
    reach = sum if stacked else max
    ticks = nice_ticks(0, max((reach(row.values) for row in rows), default=0), most=5)
    height = len(rows) * ROW_PIXELS
    parts = list(_vertical_grid(ticks, ticks[-1], height, unit))
    for number, row in enumerate(rows):
        middle = number * ROW_PIXELS + ROW_PIXELS / 2
        parts.append(text(row.label, x=-LABEL_PIXELS, y=middle, anchor="end", class_="label"))
        parts += _stacked_bar(row, middle, ticks[-1]) if stacked else _grouped_bar(row, middle, ticks[-1])
        end = _percent(reach(row.values), ticks[-1])
        parts.append(text(row.text, x=end, y=middle, dx=6, class_="value"))
    return chart(name, height, parts, class_="bars")


def _grouped_bar(row: Bar, middle: float, end: float) -> Iterable[Markup]:
    # The first series is what the chart is about; the others, thinner, are what it is compared with.
    shares = [0.62, *[0.38 / max(len(row.values) - 1, 1)] * (len(row.values) - 1)] if len(row.values) > 1 else [1.0]
    top = middle - BAR_PIXELS / 2
    for series, (value, tooltip, share) in enumerate(zip(row.values, row.tooltips, shares, strict=True)):
        thickness = BAR_PIXELS * share
        yield _rect(0, top, _percent(value, end), thickness - 1, f"series-{series}", tooltip)
        top += thickness


def _stacked_bar(row: Bar, middle: float, end: float) -> Iterable[Markup]:
    start = 0.0
    for series, (value, tooltip) in enumerate(zip(row.values, row.tooltips, strict=True)):
        if value:
            width = _percent(value, end)
            yield _rect(_percent(start, end), middle - BAR_PIXELS / 2, width, BAR_PIXELS, f"series-{series}", tooltip)
        start += value


def histogram(
    bins: Sequence[Bin], *, x_unit: str, y_unit: str, name: str, height: int = 200, grid: bool = True
) -> Markup:
    """Columns from zero, series stacked; without `grid` the largest fills the height, for small charts side by side."""
    largest = max((sum(item.values) for item in bins), default=0)
    ticks = nice_ticks(0, largest, most=5) if grid else [0, largest or 1]
    parts = list(horizontal_grid(ticks, height, y_unit)) if grid else []
    width = 100 / max(len(bins), 1)
    for number, item in enumerate(bins):
        columns = _columns(item.values, (number + 0.06) * width, 0.88 * width, height / ticks[-1], height)
        parts.append(hover(number * width, width, height, item.tooltip, *columns))
        if item.tick is not None:
            parts.append(text(item.tick, x=f"{number * width:.3f}%", y=height + 14, anchor="middle"))
    parts += baseline(height, x_unit)
    return chart(name, height, parts, class_="columns" if grid else "small columns")


def log_histogram(bins: Sequence[Bin], *, x_unit: str, y_unit: str, name: str, height: int = 200) -> Markup:
    """Columns of one series on a scale of powers of ten, which begins at a half so that a single one is seen."""
    powers = max(math.ceil(math.log10(max((item.values[0] for item in bins), default=1) or 1)), 1)
    pixels, below = height / (powers - math.log10(0.5)), math.log10(0.5)
    parts = [text(y_unit, x=-40, y=-16, anchor="start", class_="unit")]
    for power in range(powers + 1):
        y = height - (power - below) * pixels
        parts.append(element("line", x1=0, x2="100%", y1=y, y2=y, class_="grid"))
        parts.append(text(tick_label(10**power), x=-LABEL_PIXELS, y=y, anchor="end"))
    width = 100 / max(len(bins), 1)
    for number, item in enumerate(bins):
        tall = [math.log10(value) - below if value else 0.0 for value in item.values]
        columns = _columns(tall, (number + 0.06) * width, 0.88 * width, pixels, height)
        parts.append(hover(number * width, width, height, item.tooltip, *columns))
        if item.tick is not None:
            parts.append(text(item.tick, x=f"{(number + 0.5) * width:.3f}%", y=height + 14, anchor="middle"))
    parts += baseline(height, x_unit)
    return chart(name, height, parts, class_="columns")


def _columns(values: Sequence[float], left: float, width: float, pixels: float, height: int) -> Iterable[Markup]:
    """The series of one column on top of each other; one that is there is seen, however small."""
    top = float(height)
    for series, value in enumerate(values):
        top -= value * pixels
        if value:
            y, tall = min(top, height - LEAST_PIXELS), max(value * pixels, LEAST_PIXELS)
            yield element("rect", x=f"{left:.3f}%", y=y, width=f"{width:.3f}%", height=tall, class_=f"series-{series}")


def baseline(height: int, unit: str) -> Iterable[Markup]:
    """The horizontal axis and what it counts."""
    yield element("line", x1=0, x2="100%", y1=height, y2=height, class_="axis")
    if unit:
        yield text(unit, x="50%", y=height + 32, anchor="middle", class_="unit")


def nice_ticks(low: float, high: float, *, most: int, whole: bool = False) -> list[float]:
    """At least two round numbers, evenly apart, the first at or below `low` and the last at or above `high`."""
    largest = max(abs(low), abs(high))
    # Values that differ by rounding only are one value, and zero alone has an axis too.
    span = high - low if high - low > LEAST_SPAN * max(largest, LEAST_SPAN) else largest
    span = span if span > LEAST_SPAN else 1.0
    raw = span / most
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10, 20) if factor * magnitude >= raw * (1 - 1e-9))
    if whole:
        step = max(round(step), 1)
    start = math.floor(low / step + 1e-9)
    stop = max(math.ceil(high / step - 1e-9), start + 1)
    # 3 * 0.1 is not 0.3; no step has more than two digits.
    digits = 1 - math.floor(math.log10(step))
    return [round(number * step, digits) for number in range(start, stop + 1)]


def _vertical_grid(ticks: Sequence[float], end: float, height: float, unit: str) -> Iterable[Markup]:
    for tick in ticks:
        x = _percent(tick, end)
        yield element("line", x1=x, x2=x, y1=0, y2=height, class_="axis" if tick == 0 else "grid")
        yield text(tick_label(tick), x=x, y=height + 13, anchor="middle")
    yield text(unit, x="50%", y=height + 31, anchor="middle", class_="unit")


def horizontal_grid(ticks: Sequence[float], height: float, unit: str) -> Iterable[Markup]:
    """A line at every tick with its number, and what they count."""
    yield text(unit, x=-40, y=-16, anchor="start", class_="unit")
    for tick in ticks:
        y = height * (ticks[-1] - tick) / (ticks[-1] - ticks[0])
        yield element("line", x1=0, x2="100%", y1=y, y2=y, class_="grid")
        yield text(tick_label(tick), x=-LABEL_PIXELS, y=y, anchor="end")


def chart(name: str, height: float, parts: Iterable[Markup], *, class_: str) -> Markup:
    """The area of a plot with its parts; `name` is for who cannot see it."""
    content = Markup("").join(parts)
    return element("svg", content, role="img", aria_label=name, class_=class_, width="100%", height=height)


def _rect(x: Any, y: float, width: str, height: float, class_: str, tooltip: str) -> Markup:
    return element("rect", element("title", tooltip), x=x, y=y, width=width, height=height, class_=class_)


def hover(left: float, width: float, height: float, tooltip: str, *marks: Markup) -> Markup:
    """A strip over the whole height that says what stands there: small marks are hard to hit."""
    strip = element("rect", x=f"{left:.3f}%", y=0, width=f"{width:.3f}%", height=height, class_="strip")
    return element("g", Markup("").join((element("title", tooltip), strip, *marks)), class_="hover")


def text(content: str, *, x: Any, y: float, anchor: str | None = None, **attributes: Any) -> Markup:
    """A line of text around the height `y`."""
    # 0.32 em puts the middle of digits at y; the attribute that says so is not understood everywhere.
    return element("text", content, x=x, y=y, dy="0.32em", text_anchor=anchor, **attributes)


def _percent(value: float, whole: float) -> str:
    return f"{100 * value / whole:.3f}%"


def tick_label(value: float) -> str:
    """A number beside an axis."""
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:,g}M"
    return f"{value:,.0f}" if value == round(value) else f"{value:.6g}"


def _number(value: Any) -> str | Markup:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else escape(value)
