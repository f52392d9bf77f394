"""The report's data in, its charts out: which numbers are drawn, and what a mark says when one points at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pile_toolkit.core.console import size
from pile_toolkit.report.plots import Bar, Bin, bars, histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from pile_toolkit.report import data

PREFIXES = ("", "Ki", "Mi", "Gi", "Ti")


class Figure(NamedTuple):
    """A chart with its title, what its colours mean, by number of the series, and a sentence on how to read it."""

    title: str
    svg: Markup
    legend: Sequence[str] = ()
    note: str = ""


def mixture(build: data.Mixture) -> Figure:
    """Share of the corpus per component, ours beside the published."""
    rows = []
    for row in build.components:
        ours, published = 100 * row.bytes / max(build.bytes, 1), row.published_percent
        rows.append(
            Bar(
                label=row.slug,
                values=(ours, published or 0.0),
                tooltips=(
                    f"{row.slug}: {ours:.2f}% here, {row.bytes:,} bytes in {row.copies:,} copies",
                    f"{row.slug}: {published:.2f}% of the Pile" if published else f"{row.slug} is not in the Pile",
                ),
                text=f"{ours:.1f} / {published:.1f}%" if published else f"{ours:.1f}%",
            )
        )
    return Figure(
        title="Mixture",
        svg=bars(rows, unit="share of text bytes, copies counted, %", name="Share of the mixture per component"),
        legend=("this corpus", "the Pile as published"),
        note="Figures are this corpus / the Pile.",
    )


def contaminated(found: data.Contamination) -> Figure | None:
    """Share of the searched documents that went or were cut, of the components with any; None where there are none."""
    rows = []
    for row in found.components:
        if not row.dropped + row.cut:
            continue
        shares = [100 * count / row.searched for count in (row.dropped, row.cut)]
        kinds = zip(("go", "are cut"), (row.dropped, row.cut), shares, strict=True)
        texts = [
            f"{row.slug}: {count:,} of {row.searched:,} documents {kind} ({share:.2f}%)" for kind, count, share in kinds
        ]
        rows.append(Bar(label=row.slug, values=tuple(shares), tooltips=tuple(texts), text=f"{sum(shares):.2f}%"))
    if not rows:
        return None
    others = len(found.components) - len(rows)
    return Figure(
        title="Contaminated",
        svg=bars(rows, unit="share of documents, %", name="Contaminated documents per component", stacked=True),
        legend=("removed", "cut"),
        note=f"The other {others} share nothing." if others else "",
    )


def duplicates(dedup: data.Dedup) -> Figure | None:
    """Share of the documents that were removed, of the components that lost any; None where nothing was removed."""
    rows = []
    for row in dedup.components:
        if not row.exact + row.near:
            continue
        exact, near = (100 * count / max(row.documents, 1) for count in (row.exact, row.near))
        rows.append(
            Bar(
                label=row.slug,
                values=(exact, near),
                tooltips=(
                    f"{row.slug}: {row.exact:,} of {row.documents:,} documents are exact duplicates ({exact:.2f}%)",
                    f"{row.slug}: {row.near:,} of {row.documents:,} documents are near duplicates ({near:.2f}%)",
                ),
                text=f"{exact + near:.2f}%",
            )
        )
    if not rows:
        return None
    others = len(dedup.components) - len(rows)
    return Figure(
        title="Removed as duplicates",
        svg=bars(rows, unit="share of documents, %", name="Duplicates per component", stacked=True),
        legend=("exact duplicates", "near duplicates") if dedup.method == "minhash" else ("exact duplicates",),
        note=f"The other {others} lost none." if others else "",
    )


def lengths(buckets: Sequence[data.LengthBucket]) -> Figure:
    """How long documents are, all components together."""
    bins = _length_bins(buckets, buckets, tick_bits=4)
    return Figure(
        title="Document lengths",
        svg=histogram(bins, x_unit="UTF-8 bytes of a document", y_unit="documents", name="Document lengths"),
        legend=("kept", "removed as duplicates") if any(bucket.removed for bucket in buckets) else (),
        note="Each column spans a doubling of length.",
    )


def lengths_by_component(dedup: data.Dedup) -> list[Figure]:
    """The same per component, each on its own scale, all on the same lengths."""
    return [
        Figure(
            title=row.slug,
            svg=histogram(
                _length_bins(row.lengths, dedup.lengths, tick_bits=10),
                x_unit="",
                y_unit="",
                name=f"Document lengths of {row.slug}",
                height=64,
                grid=False,
            ),
            note=f"{row.documents:,} documents\nmedian {size(row.median_bytes)}",
        )
        for row in dedup.components
        if row.documents
    ]


def _length_bins(
    buckets: Sequence[data.LengthBucket], scale: Sequence[data.LengthBucket], *, tick_bits: int
) -> list[Bin]:
    """The buckets on the lengths of `scale`, a tick at every power of two to the `tick_bits`."""
    present = {bucket.least_bytes: bucket for bucket in buckets}
    bins = []
    for place in scale:
        bucket, power = present.get(place.least_bytes), place.least_bytes.bit_length() - 1
        kept, removed = (bucket.kept, bucket.removed) if bucket else (0, 0)
        gone = f", {removed:,} removed" if removed else ""
        bins.append(
            Bin(
                values=(kept, removed),
                tooltip=f"{_range(place.least_bytes, place.most_bytes)} bytes: {kept:,} documents kept{gone}",
                tick=power_of_two(place.least_bytes) if power >= 0 and power % tick_bits == 0 else None,
            )
        )
    return bins


def power_of_two(value: int, unit: str = "B") -> str:
    """A power of two, or 0, in as few characters as can be: `64 KiB`."""
    bits = max(value.bit_length() - 1, 0)
    return (f"{value >> bits // 10 * 10} {PREFIXES[bits // 10]}{unit}" if bits < 50 else f"2^{bits} {unit}").rstrip()


def _range(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def token_lengths(vocabulary: data.Vocabulary) -> Figure:
    """How many bytes the merged tokens of a vocabulary stand for."""
    counted = {row.bytes: row.tokens for row in vocabulary.lengths}
    longest = max(counted, default=1)
    every = -(-longest // 8)
    bins = [
        Bin(
            values=(counted.get(length, 0),),
            tooltip=f"{length} bytes: {counted.get(length, 0):,} tokens",
            tick=str(length) if length % every == 0 else None,
        )
        for length in range(1, longest + 1)
    ]
    return Figure(
        title="Merged tokens by length",
        svg=histogram(bins, x_unit="bytes of a token", y_unit="tokens", name="Tokens by length"),
    )


def sequence_lengths(split: data.SplitShards) -> Figure:
    """How many tokens sequences have, copies counted."""
    buckets = split.stats.length_histogram
    first = next((number for number, bucket in enumerate(buckets) if bucket.sequences), 0)
    bins = [
        Bin(
            values=(bucket.sequences,),
            tooltip=f"{_range(bucket.least, bucket.most)} tokens: {bucket.sequences:,} sequences",
            tick=f"{bucket.least:,}" if bucket.least and (bucket.least.bit_length() - 1) % 4 == 0 else None,
        )
        for bucket in buckets[first:]
    ]
    return Figure(
        title=f"Sequence lengths, {split.split}",
        svg=histogram(bins, x_unit="tokens of a sequence", y_unit="sequences, copies counted", name="Sequence lengths"),
        note="Each column spans a doubling of length.",
    )


def bytes_per_token(split: data.SplitShards) -> Figure | None:
    """How much text a token of each component carries."""
    rows = [
        Bar(
            label=row.slug,
            values=(row.bytes / row.tokens,),
            tooltips=(f"{row.slug}: {row.bytes:,} bytes in {row.tokens:,} tokens",),
            text=f"{row.bytes / row.tokens:.2f}",
        )
        for row in split.stats.components
        if row.tokens
    ]
    if not rows:
        return None
    return Figure(
        title=f"Bytes per token, {split.split}",
        svg=bars(rows, unit="UTF-8 bytes per token, end-of-text counted", name="Bytes per token per component"),
    )
