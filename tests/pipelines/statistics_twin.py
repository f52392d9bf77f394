"""The statistics of documents in plain Python: lists of all lengths, and the definitions as they are written down."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

PERCENTILES = (1, 10, 25, 50, 75, 90, 99)


def quantiles(lengths: Sequence[int]) -> dict[str, int]:
    """Each is the length at place ceil(n * p / 100) of all in order."""
    in_order = sorted(lengths)
    if not in_order:
        return {}
    found = {f"p{p}": in_order[max(-(-len(in_order) * p // 100), 1) - 1] for p in PERCENTILES}
    return {**found, "max": in_order[-1]}


def histogram(lengths: Sequence[int]) -> list[tuple[int, int, int]]:
    """(least, most, documents) of 0, 1, 2-3, 4-7 ... from the first to the last that is not empty."""
    edges, least = [(0, 0)], 1
    while least <= max(lengths, default=-1):
        edges.append((least, 2 * least - 1))
        least *= 2
    rows = [(low, high, sum(low <= length <= high for length in lengths)) for low, high in edges]
    while rows and not rows[0][2]:
        rows.pop(0)
    while rows and not rows[-1][2]:
        rows.pop()
    return rows


def group(texts: Sequence[str], tokens: Sequence[int] | None = None) -> dict[str, Any]:
    """Figures of documents, each as often as it is given."""
    lengths = {"bytes": [len(text.encode()) for text in texts], "characters": [len(text) for text in texts]}
    if tokens is not None:
        lengths["tokens"] = list(tokens)
    return {
        "copies": len(texts),
        "bytes": sum(lengths["bytes"]),
        "characters": sum(lengths["characters"]),
        "quantiles": {unit: quantiles(values) for unit, values in lengths.items()},
        "histograms": {unit: histogram(values) for unit, values in lengths.items()},
    }


def shown(row: Any) -> dict[str, Any]:
    """A group of the library in the same form."""
    return {
        "copies": row.copies,
        "bytes": row.bytes,
        "characters": row.characters,
        "quantiles": {unit: lengths.quantiles for unit, lengths in row.lengths.items()},
        "histograms": {
            unit: [(bucket.least, bucket.most, bucket.documents) for bucket in lengths.histogram]
            for unit, lengths in row.lengths.items()
        },
    }


def is_inverted_cdf(lengths: Sequence[int], found: dict[str, int]) -> bool:
    """Whether each quantile is the smallest length that its share of all do not exceed: numpy's definition."""
    return all(
        sum(length <= value for length in lengths) >= ceil(len(lengths) * int(name[1:]) / 100)
        and sum(length < value for length in lengths) < max(ceil(len(lengths) * int(name[1:]) / 100), 1)
        for name, value in found.items()
        if name != "max"
    )
