"""Statistics of a corpus in, one self-contained HTML page out: sizes, lengths, tokens, duplicates, compression.

The page asks for nothing from outside and forbids itself scripts; all text that came from outside is escaped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pile_toolkit
from pile_toolkit.core.console import size
from pile_toolkit.core.files import write_bytes
from pile_toolkit.report.figures import Figure, power_of_two
from pile_toolkit.report.numbers import compact, percent
from pile_toolkit.report.page import render_page
from pile_toolkit.report.plots import Bar, Bin, bars, histogram, shortened
from pipelines.stats.counting import UNITS
from pipelines.stats.tables import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipelines.stats import GroupStatistics, StatisticsResult
    from pipelines.stats.lengths import LengthBucket

TEMPLATE = "statistics.html.j2"
SHOWN_LANGUAGES = 8
SMALL_HEIGHT = 64


class Table(NamedTuple):
    """A table of the page; cells are text already."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


class KeyFigures(NamedTuple):
    """A table and small charts of lengths in `unit`s for the report; cells are text already."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str]
    unit: str
    lengths: Sequence[Figure]


def write_statistics_page(path: str | Path, result: StatisticsResult) -> None:
    """Writes the page to `path`, whole or not at all."""
    write_bytes(Path(path), statistics_page(result).encode())


def statistics_page(result: StatisticsResult) -> str:
    """The whole HTML page."""
    whole = [row for row in result.groups if row.of == "components"]
    planned = [row for row in result.groups if row.of == "plan"]
    main = whole or [row for row in planned if row.split == "all"]
    return render_page(
        TEMPLATE,
        filters={"compact": compact, "size": size},
        result=result,
        total=main[-1],
        planned=result.total("plan", "all"),
        components=_components(whole),
        splits=_splits(planned),
        figures=charts(main, planned),
        multiples=small_histograms(main),
        quantiles=[table for unit in UNITS if (table := _quantiles(main, unit))],
        languages=_languages(main),
        percent=percent,
        version=pile_toolkit.__version__,
    )


def key_figures(groups: Sequence[GroupStatistics]) -> KeyFigures:
    """What the report of a root tells of its components; of statistics of the plan alone, what that has of them."""
    main = [row for row in groups if row.of == "components"] or [row for row in groups if row.split == "all"]
    unit = "tokens" if "tokens" in main[-1].lengths else "bytes"
    head = (
        "component",
        "documents",
        "text, bytes",
        "tokens",
        "bytes a token",
        "mean, bytes",
        "median, bytes",
        "99% up to",
    )
    known = any(row.compression is not None for row in main)
    return KeyFigures(
        caption="Components as they are" if main[-1].of == "components" else "Components in the plan, copies counted",
        columns=(*head, *(("compression", "at zstd 3") if known else ())),
        rows=[_key_figures(row, compression=known) for row in main[:-1]],
        total=_key_figures(main[-1], compression=known),
        unit=unit,
        lengths=small_histograms(main, unit),
    )


def _key_figures(row: GroupStatistics, *, compression: bool) -> tuple[str, ...]:
    name, documents, text, _, mean, tokens, per_token = _figures(row)
    quantiles = row.lengths["bytes"].quantiles
    middle, long = (f"{quantiles[key]:,}" if key in quantiles else "–" for key in ("p50", "p99"))
    return (name, documents, text, tokens, per_token, mean, middle, long, *(_more(row)[-2:] if compression else ()))


def charts(main: Sequence[GroupStatistics], planned: Sequence[GroupStatistics]) -> dict[str, list[Figure]]:
    """The charts of each section, those that there is something to draw for."""
    *rows, total = main
    mixed = {row.component: row for row in planned if row.split == "all"}
    found: dict[str, list[Figure | None]] = {
        "shares": [_shares(rows, mixed), _bytes_per_token(rows)],
        "lengths": [_lengths(total, unit) for unit in UNITS if unit in total.lengths],
        "waste": [_duplicates(rows), _compression(rows)],
    }
    return {section: [figure for figure in figures if figure] for section, figures in found.items()}


def _shares(rows: Sequence[GroupStatistics], mixed: dict[str | None, GroupStatistics]) -> Figure:
    """Share of the text per component, as it is and as the plan has it."""
    text_bytes = max(sum(row.bytes for row in rows), 1)
    copied = mixed[None].bytes if None in mixed else 0
    drawn = []
    for row in rows:
        share = 100 * row.bytes / text_bytes
        values, tips = [share], [f"{row.component}: {share:.2f}% of the text, {row.bytes:,} bytes"]
        if copied and row.of == "components":
            in_plan = mixed.get(row.component)
            share = 100 * in_plan.bytes / copied if in_plan else 0.0
            values.append(share)
            tips.append(f"{row.component}: {share:.2f}% of the plan, {in_plan.bytes if in_plan else 0:,} bytes")
        text = " / ".join(f"{value:.1f}" for value in values)
        drawn.append(Bar(label=shortened(row.component), values=values, tooltips=tips, text=f"{text}%"))
    return Figure(
        title="Shares of text",
        svg=bars(drawn, unit="share of text bytes, %", name="Share of text per component"),
        legend=("as it is", "in the plan, copies counted") if copied else (),
    )


def _bytes_per_token(rows: Sequence[GroupStatistics]) -> Figure | None:
    known = [row for row in rows if row.tokens_from != "estimate" and row.bytes_per_token]
    return _simple_bars(
        known,
        value=lambda row: row.bytes_per_token or 0.0,
        title="Bytes per token",
        unit="UTF-8 bytes per token",
        form="{:.3f}",
        note="The end-of-text of each document is counted.",
    )


def _duplicates(rows: Sequence[GroupStatistics]) -> Figure | None:
    drawn = []
    for row in rows:
        if row.duplicates is None or not row.duplicates.removed:
            continue
        removed, share = row.duplicates, 100 * row.duplicates.documents_share
        counts = (removed.exact, removed.near + removed.contaminated)
        values = tuple(100 * count / row.documents for count in counts)
        said = (f"{removed.exact:,} exact", f"{removed.near:,} near, {removed.contaminated:,} contaminated")
        tips = [f"{row.component}: {what} of {row.documents:,} documents" for what in said]
        drawn.append(Bar(label=shortened(row.component), values=values, tooltips=tips, text=f"{share:.2f}%"))
    if not drawn:
        return None
    chart = bars(drawn, unit="share of documents, %", name="Duplicates per component", stacked=True)
    return Figure(title="Removed by deduplication", svg=chart, legend=("exact", "near, or contaminated"))


def _compression(rows: Sequence[GroupStatistics]) -> Figure | None:
    drawn = []
    for row in rows:
        found = row.compression
        if found is None or found.ratio is None or found.zstd3_ratio is None:
            continue
        sample = f"{found.sample_documents:,} documents, {found.sample_bytes:,} bytes"
        tips = [
            f"{row.component}: {row.bytes:,} bytes of text in files of {found.file_bytes:,}",
            f"{row.component}: {sample} of text in {found.zstd3_bytes:,} bytes",
        ]
        values = (found.ratio, found.zstd3_ratio)
        text = f"{found.ratio:.2f} / {found.zstd3_ratio:.2f}"
        drawn.append(Bar(label=shortened(row.component), values=values, tooltips=tips, text=text))
    if not drawn:
        return None
    return Figure(
        title="Compression",
        svg=bars(drawn, unit="bytes of text per byte of file", name="Compression per component"),
        legend=("the files as they are", "zstd level 3, a sample"),
    )


def _simple_bars(
    rows: Sequence[GroupStatistics],
    *,
    value: Callable[[GroupStatistics], float],
    title: str,
    unit: str,
    form: str,
    note: str,
) -> Figure | None:
    if not rows:
        return None
    drawn = [
        Bar(
            label=shortened(row.component),
            values=(value(row),),
            tooltips=(f"{row.component}: {row.bytes:,} bytes, {row.tokens:,} tokens ({row.tokens_from})",),
            text=form.format(value(row)),
        )
        for row in rows
    ]
    return Figure(title=title, svg=bars(drawn, unit=unit, name=f"{title} per component"), note=note)


def _lengths(total: GroupStatistics, unit: str) -> Figure:
    buckets = total.lengths[unit].histogram
    bins = _bins(buckets, buckets, unit, tick_bits=4)
    chart = histogram(bins, x_unit=f"{unit} of a document", y_unit="documents", name=f"Lengths in {unit}")
    return Figure(title=f"Lengths in {unit}", svg=chart, note="Each column spans a doubling of length.")


def small_histograms(main: Sequence[GroupStatistics], unit: str = "bytes") -> list[Figure]:
    """Lengths per component, each on its own height, all on the same lengths."""
    *rows, total = main
    scale = total.lengths[unit].histogram
    return [
        Figure(
            title=row.component or "",
            svg=histogram(
                _bins(row.lengths[unit].histogram, scale, unit, tick_bits=10),
                x_unit="",
                y_unit="",
                name=f"Lengths of {row.component} in {unit}",
                height=SMALL_HEIGHT,
                grid=False,
            ),
            note=f"{row.copies:,} documents\nmedian {_length(row.lengths[unit].quantiles['p50'], unit)}",
        )
        for row in rows
        if row.copies and unit in row.lengths
    ]


def _length(length: int, unit: str) -> str:
    return size(length) if unit == "bytes" else f"{length:,} {unit}"


def _bins(buckets: Sequence[LengthBucket], scale: Sequence[LengthBucket], unit: str, *, tick_bits: int) -> list[Bin]:
    present = {bucket.least: bucket.documents for bucket in buckets}
    bins = []
    for place in scale:
        count, power = present.get(place.least, 0), place.least.bit_length() - 1
        span = f"{place.least:,}" if place.least == place.most else f"{place.least:,} to {place.most:,}"
        tick = None
        if power >= 0 and power % tick_bits == 0:
            tick = power_of_two(place.least) if unit == "bytes" else f"{place.least:,}"
        bins.append(Bin(values=(count,), tooltip=f"{span} {unit}: {count:,} documents", tick=tick))
    return bins


def _components(whole: Sequence[GroupStatistics]) -> Table | None:
    if not whole:
        return None
    head = ("component", "documents", "text, bytes", "characters", "mean, bytes", "tokens", "bytes a token")
    more = ("duplicates", "of their text", "files, bytes", "ratio", "zstd 3")
    return Table("Components as they are", (*head, *more), [(*_figures(row), *_more(row)) for row in whole])


def _splits(planned: Sequence[GroupStatistics]) -> Table | None:
    if not planned:
        return None
    head = ("component", "split", "documents", "copies", "text, bytes", "characters", "mean, bytes", "tokens")
    rows = []
    for row in planned:
        name, copies, *rest = _figures(row)
        rows.append((name, row.split or "", f"{row.documents:,}", copies, *rest))
    return Table("The plan, copies counted", (*head, "bytes a token"), rows)


def _figures(row: GroupStatistics) -> tuple[str, ...]:
    about = "~" if row.tokens_from == "estimate" else ""
    return (
        row.component or "total",
        f"{row.copies:,}",
        f"{row.bytes:,}",
        f"{row.characters:,}",
        "–" if row.mean_bytes is None else f"{row.mean_bytes:,.0f}",
        f"{about}{row.tokens:,}",
        "–" if row.bytes_per_token is None else f"{about}{row.bytes_per_token:.3f}",
    )


def _more(row: GroupStatistics) -> tuple[str, ...]:
    removed, packed = row.duplicates, row.compression
    shares = ("–", "–") if removed is None else (percent(removed.documents_share, 1), percent(removed.bytes_share, 1))
    if packed is None:
        return (*shares, "–", "–", "–")
    ratios = ("–" if value is None else f"{value:.2f}" for value in (packed.ratio, packed.zstd3_ratio))
    return (*shares, f"{packed.file_bytes:,}", *ratios)


def _quantiles(main: Sequence[GroupStatistics], unit: str) -> Table | None:
    rows = [
        (row.component or "total", *(f"{row.lengths[unit].quantiles[name]:,}" for name in QUANTILES))
        for row in main
        if unit in row.lengths and row.lengths[unit].quantiles
    ]
    return Table(f"Quantiles of lengths in {unit}", ("component", *QUANTILES), rows) if rows else None


def _languages(main: Sequence[GroupStatistics]) -> Table | None:
    total = main[-1].languages
    if not total:
        return None
    shown = [item.language for item in total[:SHOWN_LANGUAGES]]
    rows = []
    for row in main:
        found = {item.language: item.bytes for item in row.languages or ()}
        others = sum(found.values()) - sum(found.get(name, 0) for name in shown)
        cells = [percent(found.get(name, 0), row.bytes) for name in shown]
        rows.append((row.component or "total", *cells, percent(others, row.bytes)))
    return Table("Share of text by language", ("component", *shown, "others"), rows)
