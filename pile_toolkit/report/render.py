"""A root folder in, `reports/index.html` and `reports/report.json` out: one page that needs nothing else, ever.

The page of `pile stats` lies beside it where there are statistics of this root as it is.

The page is made anew when any stage's manifest changed. Whatever came from outside (texts, names, reasons) is escaped,
and the page forbids itself scripts and requests besides.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.console import SILENT, size
from pile_toolkit.core.files import hash_file, write_bytes
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import MANIFEST, StageKey, describe, publish, withdraw
from pile_toolkit.core.stages import StageResult, finished
from pile_toolkit.report import figures, run_charts
from pile_toolkit.report.current import current_statistics
from pile_toolkit.report.finished import finished_stages
from pile_toolkit.report.gather import STATISTICS_PAGE, gather
from pile_toolkit.report.numbers import compact, duration, percent
from pile_toolkit.report.page import render_page
from pile_toolkit.report.statistics import key_figures, write_statistics_page
from pipelines.dedup.stage import PAGE as DEDUP_PAGE
from pipelines.stats.stage import FOLDER as STATISTICS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pile_toolkit.core.console import Reporter
    from pile_toolkit.report import data
    from pipelines.stats import StatisticsResult

FORMAT = 4
PAGE = "index.html"
FIGURES = "report.json"
TEMPLATE = "report.html.j2"


class ReportResult(StageResult, frozen=True, kw_only=True):
    """Where the page is, and which stages it tells of."""

    path: str
    stages: list[str]


@holding_root
def write_report(root: str | Path, *, reporter: Reporter = SILENT) -> ReportResult:
    """Writes the page about everything that is finished under `root`, and the same figures as JSON beside it.

    Raises UsageError where nothing is finished, CorruptData where an output is not what its manifest promises.
    """
    root = Path(root)
    started_at = time.time()
    found = finished_stages(root)
    folder = root / "reports"
    inputs = {stage.name: hash_file(stage.folder / MANIFEST) for stage in found}
    # The page about duplicates is linked where it is.
    shown: dict[str, Any] = {"dedup_page": True} if (root / DEDUP_PAGE).exists() else {}
    counted = current_statistics(root, found)
    shown |= {"statistics": hash_file(root / STATISTICS / MANIFEST)} if counted is not None else {}
    key = StageKey(stage="report", format=FORMAT, inputs=inputs, parameters=shown)
    manifest = finished(folder, key)
    up_to_date = manifest is not None
    if manifest is None:
        withdraw(folder)
        report = gather(root, found, statistics=counted, reporter=reporter)
        encoded = msgspec.json.encode(report, order="deterministic")
        write_bytes(folder / FIGURES, msgspec.json.format(encoded, indent=1) + b"\n")
        written = [*_statistics_page(folder, counted), folder / FIGURES, folder / PAGE]
        write_bytes(folder / PAGE, page(report).encode())
        counts = {"stages": list(dict.fromkeys(stage.stage for stage in report.stages))}
        outputs = [describe(folder, path) for path in written]
        manifest = publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    # The path is no count: a moved root has its report elsewhere.
    return ReportResult(
        folder=str(folder), up_to_date=up_to_date, path=str(folder / PAGE), stages=manifest.counts["stages"]
    )


def _statistics_page(folder: Path, counted: StatisticsResult | None) -> list[Path]:
    """The page of `pile stats` beside the report, which links it; none of statistics that are not of this root now."""
    path = folder / STATISTICS_PAGE
    if counted is None:
        path.unlink(missing_ok=True)
        return []
    write_statistics_page(path, counted)
    return [path]


def page(report: data.Report) -> str:
    """The whole HTML page."""
    filters: dict[str, Callable] = {
        "size": size,
        "percent": percent,
        "mean": lambda total, count: f"{round(total / count):,}" if count else "–",
        "duration": duration,
        "excerpt": excerpt,
        "loss": lambda value: "–" if value is None else f"{value:.4f}",
        "token": token,
        "pretty": lambda value: msgspec.json.format(msgspec.json.encode(value), indent=1).decode(),
    }
    stages: dict[str, list[data.Stage]] = {}
    for stage in report.stages:
        stages.setdefault(stage.stage, []).append(stage)
    return render_page(
        TEMPLATE,
        filters=filters,
        report=report,
        stages=stages,
        headline=headline(report),
        figures=figures,
        run_charts=run_charts,
        statistics=key_figures(report.statistics.groups) if report.statistics is not None else None,
    )


def headline(report: data.Report) -> list[tuple[str, str, str]]:
    """(label, figure, detail) of what one wants to know first."""
    tiles: list[tuple[str, str, str]] = []
    if (download := report.download) is not None:
        components = len(download.components)
        kept = f"{compact(report.dedup.kept)} kept" if report.dedup else f"{components} components"
        tiles.append(("Documents", compact(download.documents), kept))
        upsampled = f"{size(report.build.bytes)} upsampled" if report.build else f"{download.text_bytes:,} bytes"
        tiles.append(("Text", size(download.text_bytes), upsampled))
    if (shards := report.shards) is not None:
        for trained in (split.stats for split in shards.splits if split.split == "train"):
            tiles.append(("Training tokens", compact(trained.tokens), f"{compact(trained.stored_tokens)} stored"))
    if (vocabulary := report.tokenizer) is not None:
        tiles.append(("Vocabulary", f"{vocabulary.vocab_size:,}", f"{vocabulary.merges:,} merges"))
    for run in report.runs[:2]:
        tiles.append(("Parameters", compact(run.parameters), run.name))
        last = run.validation_loss if run.validation_loss is not None else run.last_loss
        label = "Validation loss" if run.validation_loss is not None else "Training loss"
        bits = run.validation_bits_per_byte
        tiles.append((label, f"{last:.3f}", f"{bits:.3f} bits per byte" if bits else f"from {run.first_loss:.3f}"))
    return tiles


def excerpt(text: str) -> str:
    """Text as a page can show it: control characters, which browsers drop or obey, are written as `\\x00`."""
    plain = text.replace("\r\n", "\n")
    return "".join(char if char in "\n\t" or char.isprintable() or ord(char) > 0x9F else _code(char) for char in plain)


def token(text: str) -> str:
    """A token on one line: a space is a middle dot, whatever does not print is written as its code."""
    return "".join("·" if char == " " else char if char.isprintable() else _code(char) for char in text)


def _code(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
