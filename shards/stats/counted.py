"""An `.idx` in, counts out: tokens, documents and bytes, together and per component, and how long sequences are.

A few million rows at a time; the `.bin` itself is not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from shards.dataset import TokenDataset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from shards.provenance import Provenance

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_ROWS = 4 << 20


class ComponentStats(msgspec.Struct, frozen=True, kw_only=True):
    """One component: stored documents, sequences (copies counted), their tokens, UTF-8 bytes and share of tokens.

    `stored_tokens` count each stored document once.
    """

    slug: str
    documents: int
    copies: int
    tokens: int
    bytes: int
    share: float
    stored_tokens: int = 0


class LengthBucket(msgspec.Struct, frozen=True, kw_only=True):
    """Sequences of `least` to `most` tokens, both included."""

    least: int
    most: int
    sequences: int


class ShardStats(msgspec.Struct, frozen=True, kw_only=True):
    """What one epoch of a prefix holds; what needs provenance is None, or empty, where there is none.

    `sequences` and `tokens` count copies, `stored_documents` and `stored_tokens` do not. `length_quantiles` maps 0.5 to
    the median of tokens a sequence, copies counted.
    """

    prefix: str
    dtype: str
    sequences: int
    stored_documents: int
    tokens: int
    stored_tokens: int
    bytes: int | None
    bytes_per_token: float | None
    components: list[ComponentStats]
    length_quantiles: dict[str, int]
    length_histogram: list[LengthBucket]


def shard_stats(prefix: str | Path) -> ShardStats:
    """Counts one pair of files. Raises UsageError where they are absent, CorruptData where they do not fit together."""
    with TokenDataset(prefix) as dataset:
        provenance = dataset.provenance if dataset.has_provenance else None
        first_of_document = _first_entries(dataset.pointers)
        text_bytes = int(provenance.bytes.sum(dtype=np.int64)) if provenance else None
        tokens = dataset.total_tokens
        return ShardStats(
            prefix=dataset.prefix,
            dtype=dataset.dtype.name,
            sequences=len(dataset),
            stored_documents=int(np.count_nonzero(first_of_document)),
            tokens=tokens,
            stored_tokens=len(dataset.ids),
            bytes=text_bytes,
            bytes_per_token=text_bytes / tokens if text_bytes is not None and tokens else None,
            components=_components(dataset, provenance, first_of_document) if provenance else [],
            length_quantiles=_quantiles(dataset.sizes),
            length_histogram=_histogram(dataset.sizes),
        )


def _first_entries(pointers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Marks, of the entries that share a pointer, the first."""
    # Without copies the file is usually in order, and nothing has to be sorted.
    if len(pointers) < 2 or (pointers[1:] > pointers[:-1]).all():
        return np.ones(len(pointers), dtype=bool)
    order = np.argsort(pointers, kind="stable")
    marks = np.zeros(len(pointers), dtype=bool)
    marks[order[0]] = True
    for rows in _spans(len(pointers) - 1):
        earlier, later = order[rows], order[rows.start + 1 : rows.stop + 1]
        marks[later[pointers[later] != pointers[earlier]]] = True
    return marks


def _spans(rows: int) -> Iterator[slice]:
    return (slice(first, min(first + _ROWS, rows)) for first in range(0, rows, _ROWS))


def _components(dataset: TokenDataset, rows: Provenance, first_of_document: NDArray) -> list[ComponentStats]:
    totals = np.zeros((5, 256), dtype=np.int64)
    for span in _spans(len(dataset)):
        numbers = rows.component[span]
        # The sums of one span stay far below 2^53, so counting in doubles is exact.
        sizes, first = dataset.sizes[span], first_of_document[span]
        counted = (first, None, sizes, rows.bytes[span], sizes * first)
        for total, weights in zip(totals, counted, strict=True):
            total += np.bincount(numbers, weights=weights, minlength=256).astype(np.int64)
    return [
        ComponentStats(
            slug=slug,
            documents=int(totals[0, number]),
            copies=int(totals[1, number]),
            tokens=int(totals[2, number]),
            bytes=int(totals[3, number]),
            share=int(totals[2, number]) / dataset.total_tokens if dataset.total_tokens else 0.0,
            stored_tokens=int(totals[4, number]),
        )
        for number, slug in enumerate(rows.components)
    ]


def _quantiles(sizes: NDArray[np.int32]) -> dict[str, int]:
    if not len(sizes):
        return {}
    values = np.quantile(sizes, QUANTILES, method="inverted_cdf")
    return {f"{share:g}": int(value) for share, value in zip(QUANTILES, values, strict=True)}


def _histogram(sizes: NDArray[np.int32]) -> list[LengthBucket]:
    """Buckets of 0, 1, 2-3, 4-7 ... tokens, up to the last that is not empty."""
    counts = np.zeros(33, dtype=np.int64)
    for span in _spans(len(sizes)):
        counts += np.bincount(np.frexp(sizes[span])[1], minlength=33)
    return [
        LengthBucket(least=(1 << bits) >> 1, most=(1 << bits) - 1, sequences=int(counts[bits]))
        for bits in range(int(np.flatnonzero(counts).max(initial=-1)) + 1)
    ]
