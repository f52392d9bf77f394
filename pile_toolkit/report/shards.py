"""Statistics of shards in, one self-contained HTML page out: components, lengths, and how the vocabulary is used.

The page asks for nothing from outside and forbids itself scripts; all text that came from outside is escaped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pile_toolkit
from pile_toolkit.core.console import size
from pile_toolkit.core.files import write_bytes
from pile_toolkit.report.figures import Figure
from pile_toolkit.report.numbers import compact, percent, quantile
from pile_toolkit.report.page import render_page
from pile_toolkit.report.plots import Bar, Bin, bars, histogram, shortened
from shards.run_study import RunStudy
from tokenizer.comparing.results import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shards.stats import ShardStudy, TokenRow

TEMPLATE = "shards.html.j2"
CHARTED_TOKENS = 25


def write_shard_page(path: str | Path, study: ShardStudy) -> None:
    """Writes the page to `path`, whole or not at all."""
    write_bytes(Path(path), shard_page(study).encode())


def shard_page(study: ShardStudy) -> str:
    """The whole HTML page."""
    return render_page(
        TEMPLATE,
        filters={"size": size, "quoted": quoted, "compact": compact},
        study=study,
        figures=charts(study),
        epochs={row.slug: row.epochs for row in study.run.components} if study.run else {},
        read=study.documents if isinstance(study, RunStudy) else None,
        run_tables=_run_tables(study),
        percent=percent,
        quantile=quantile,
        version=pile_toolkit.__version__,
    )


def _run_tables(study: ShardStudy) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """(caption, columns, rows): the phases of a run, and how often it reads documents."""
    if not isinstance(study, RunStudy) or study.documents is None:
        return []
    phases = [(f"{one.first_sample:,}", f"{one.samples:,}", one.prefix, one.index) for one in study.phases]
    times = [(quantile(share), f"{count:.3f}") for share, count in study.documents.quantiles.items()]
    most = [(one.document, f"{one.tokens:,}", f"{one.read:,}", f"{one.times:.3f}") for one in study.documents.most]
    return [
        ("Phases: which shards the samples are read from", ("from sample", "samples", "shards", "index"), [*phases]),
        ("How often documents are read", ("share of documents", "at most, times"), [*times]),
        ("Documents read most often", ("document", "tokens", "read", "times"), [*most]),
    ]


def charts(study: ShardStudy) -> dict[str, list[Figure]]:
    """The charts of each section, those that there is something to draw for."""
    found: dict[str, list[Figure | None]] = {
        "components": [_shares(study), _bytes_per_token(study), _epochs(study)],
        "lengths": [_lengths(study)],
        "tokens": [_most(study.token_use.most, with_tokens=study.token_use.white_space is not None)],
    }
    return {section: [figure for figure in figures if figure] for section, figures in found.items()}


def _shares(study: ShardStudy) -> Figure | None:
    if not study.components:
        return None
    rows = []
    for row in study.components:
        documents = f"{row.stored_tokens:,} in {row.documents:,} documents"
        read, stored = 100 * row.tokens / max(study.tokens, 1), 100 * row.stored_tokens / max(study.stored_tokens, 1)
        rows.append(
            Bar(
                label=shortened(row.slug),
                values=(read, stored),
                tooltips=(
                    f"{row.slug}: {read:.2f}% of the tokens read, {row.tokens:,} in {row.copies:,} sequences",
                    f"{row.slug}: {stored:.2f}% of the tokens stored, {documents}",
                ),
                text=f"{read:.1f} / {stored:.1f}%",
            )
        )
    return Figure(
        title="Tokens per component",
        svg=bars(rows, unit="share of tokens, %", name="Share of tokens per component"),
        legend=("read in one epoch, copies counted", "stored"),
    )


def _bytes_per_token(study: ShardStudy) -> Figure | None:
    rows = [
        Bar(
            label=shortened(row.slug),
            values=(row.bytes / row.tokens,),
            tooltips=(f"{row.slug}: {row.bytes:,} bytes, {row.tokens:,} tokens",),
            text=f"{row.bytes / row.tokens:.3f}",
        )
        for row in study.components
        if row.tokens
    ]
    if not rows:
        return None
    chart = bars(rows, unit="bytes of text per token", name="Bytes per token and component")
    return Figure(title="Bytes per token", svg=chart, note="The end-of-text of each document is counted.")


def _epochs(study: ShardStudy) -> Figure | None:
    if study.run is None or not study.run.components:
        return None
    rows = [
        Bar(
            label=shortened(row.slug),
            values=(row.epochs,),
            tooltips=(f"{row.slug}: {row.tokens:,} tokens of the run",),
            text=f"{row.epochs:.3f}",
        )
        for row in study.run.components
    ]
    return Figure(
        title="Epochs of the run",
        svg=bars(rows, unit="times that each stored document is read", name="Epochs per component"),
        note=f"{study.run.samples:,} samples of {study.run.sequence_length:,} tokens.",
    )


def _lengths(study: ShardStudy) -> Figure | None:
    buckets = study.length_histogram
    if not buckets:
        return None
    first = next((place for place, bucket in enumerate(buckets) if bucket.sequences), 0)
    bins = [
        Bin(
            values=(bucket.sequences,),
            tooltip=f"{bucket.least:,} to {bucket.most:,} tokens: {bucket.sequences:,} sequences",
            tick=f"{bucket.least:,}" if bucket.least.bit_length() % 4 == 1 else None,
        )
        for bucket in buckets[first:]
    ]
    chart = histogram(bins, x_unit="tokens", y_unit="sequences", name="Lengths of sequences")
    return Figure(title="Lengths of sequences", svg=chart, note="Each column spans a doubling of length.")


def _most(rows: Sequence[TokenRow], *, with_tokens: bool) -> Figure | None:
    if not rows:
        return None
    drawn = [
        Bar(
            label=shortened(quoted(row.token or "")) if with_tokens else str(row.id),
            values=(100 * row.share,),
            tooltips=(f"id {row.id}: read {row.read:,} times, stored {row.stored:,}",),
            text=f"{100 * row.share:.2f}%",
        )
        for row in rows[:CHARTED_TOKENS]
    ]
    chart = bars(drawn, unit="share of tokens read, %", name="Most frequent tokens")
    return Figure(title="Most frequent tokens", svg=chart)
