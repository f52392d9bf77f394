"""What is known of duplicates in, the charts of their page out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pile_toolkit.report.curves import Point, curve
from pile_toolkit.report.dedup_study import SIMILARITY_BINS
from pile_toolkit.report.figures import Figure, power_of_two
from pile_toolkit.report.plots import Bar, Bin, bars, histogram, log_histogram, shortened
from pipelines.lsh.quality import s_curve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pile_toolkit.report.dedup_pairs import CurvePoint, PairStudy
    from pile_toolkit.report.dedup_study import ComponentShare, DedupStudy

CURVE_STEPS = 100
CHARTED_COMPONENTS = 40


def charts(study: DedupStudy, pairs: PairStudy) -> dict[str, list[Figure]]:
    """The charts of each section, those that there is something to draw for."""
    found: dict[str, list[Figure | None]] = {
        "components": [
            _shares(study.components, "documents", near=study.result.method == "minhash"),
            _shares(study.components, "bytes", near=study.result.method == "minhash"),
        ],
        "clusters": [_sizes(study.sizes)],
        "similarity": [_similarities(study, pairs), _s_curve(study, pairs.points)],
    }
    return {section: [figure for figure in figures if figure] for section, figures in found.items()}


def _shares(components: Sequence[ComponentShare], unit: str, *, near: bool) -> Figure | None:
    rows: list[Bar] = []
    lost = 0
    for row in components:
        whole, counts = (
            (row.documents, (row.exact, row.near))
            if unit == "documents"
            else (row.bytes, (row.exact_bytes, row.near_bytes))
        )
        lost += any((row.exact, row.near))
        if not any(counts) or len(rows) == CHARTED_COMPONENTS:
            continue
        shares = [100 * count / whole for count in counts]
        rows.append(
            Bar(
                label=shortened(row.slug),
                values=shares,
                tooltips=[
                    f"{row.slug}: {count:,} of {whole:,} {unit} went as {kind} duplicates ({share:.2f}%)"
                    for count, share, kind in zip(counts, shares, ("exact", "near"), strict=True)
                ],
                text=f"{sum(shares):.2f}%",
            )
        )
    if not rows:
        return None
    note = "" if lost == len(rows) else f"The first {len(rows)} of {lost} that lost any."
    others = len(components) - lost
    return Figure(
        title=f"Share of {unit} removed",
        svg=bars(rows, unit=f"share of {unit}, %", name=f"Share of {unit} removed per component", stacked=True),
        legend=("exact duplicates", "near duplicates") if near else ("exact duplicates",),
        note=note or (f"The other {others} lost none." if others else ""),
    )


def _sizes(sizes: Mapping[int, int]) -> Figure | None:
    if not sizes:
        return None
    bins = []
    for least, most in _spans(max(sizes)):
        count = sum(number for size, number in sizes.items() if least <= size <= most)
        name = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        tick = name.replace(" to ", "–") if most < 100 else f"{power_of_two(least, '')}–"
        bins.append(Bin(values=(count,), tooltip=f"{name} documents: {count:,} clusters", tick=tick))
    svg = log_histogram(bins, x_unit="documents of a cluster", y_unit="clusters", name="Clusters by their size")
    return Figure(
        title="Sizes of clusters",
        svg=svg,
        note="Both scales are logarithmic: from 4 documents on, each column spans a doubling.",
    )


def _spans(largest: int) -> list[tuple[int, int]]:
    """2, 3, 4 to 7, 8 to 15 and so on."""
    spans = [(2, 2), (3, 3)][: largest - 1]
    while spans[-1][1] < largest:
        least = spans[-1][1] + 1
        spans.append((least, 2 * least - 1))
    return spans


def _similarities(study: DedupStudy, pairs: PairStudy) -> Figure | None:
    counted, of = list(study.similarities), "all near duplicates whose shingles were compared"
    if not any(counted):
        of = "a random choice of near duplicates"
        for similarity in pairs.measured:
            counted[min(int(similarity * SIMILARITY_BINS + 1e-9), SIMILARITY_BINS - 1)] += 1
    if not any(counted):
        return None
    first = min(place for place, count in enumerate(counted) if count) // 5 * 5
    bins = [
        Bin(
            values=(counted[place],),
            tooltip=f"similarity from {place / SIMILARITY_BINS:.2f} to {(place + 1) / SIMILARITY_BINS:.2f}: "
            f"{counted[place]:,} documents",
            tick=f"{place / SIMILARITY_BINS:.1f}" if place % 5 == 0 else None,
        )
        for place in range(first, SIMILARITY_BINS)
    ]
    x_unit = "Jaccard similarity to the kept document"
    return Figure(
        title="Similarity of what went",
        svg=histogram(bins, x_unit=x_unit, y_unit="near duplicates", name="Near duplicates by similarity"),
        note=f"Exact, of shingle sets; {of}: {sum(counted):,}.",
    )


def _s_curve(study: DedupStudy, points: Sequence[CurvePoint]) -> Figure | None:
    given = study.parameters
    if "bands" not in given:
        return None
    bands, rows, threshold = given["bands"], given["rows"], given["threshold"]
    line = []
    for step in range(CURVE_STEPS + 1):
        similarity = step / CURVE_STEPS
        share = s_curve(bands=bands, rows=rows, similarity=similarity)
        line.append(Point(x=similarity, y=share, tooltip=f"similarity {similarity:.2f}: {100 * share:.2f}% found"))
    dots = [
        Point(
            x=point.similarity,
            y=point.found / point.trials,
            tooltip=f"similarity {point.similarity:.3f}: {point.found:,} of {point.trials:,} trials with "
            f"{point.pairs:,} pairs shared a bucket ({100 * point.found / point.trials:.2f}%), "
            f"{100 * point.expected:.2f}% expected",
        )
        for point in points
    ]
    svg = curve(
        line,
        dots,
        x_unit="Jaccard similarity of two documents",
        y_unit="share of such pairs that share a bucket",
        name="S-curve of the chosen bands",
        from_zero=True,
        marks=[Point(x=threshold, y=0, tooltip=f"threshold {threshold:g}")],
        whole=False,
    )
    return Figure(
        title=f"S-curve of {bands} bands of {rows} rows",
        svg=svg,
        legend=("expected", "measured") if dots else ("expected",),
    )
