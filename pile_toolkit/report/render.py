"""A root folder in, `reports/index.html` and `reports/report.json` out: one page that needs nothing else, ever.

The page is made anew when any stage's manifest changed. Whatever came from outside (texts, names, reasons) is escaped,
and the page forbids itself scripts and requests besides.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.console import SILENT, size
from pile_toolkit.core.files import hash_file, write_bytes
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import MANIFEST, StageKey, describe, publish, withdraw
from pile_toolkit.core.stages import StageResult, finished
from pile_toolkit.report import figures
from pile_toolkit.report.finished import finished_stages
from pile_toolkit.report.gather import gather
from pile_toolkit.report.page import render_page
from pipelines.dedup.stage import PAGE as DEDUP_PAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pile_toolkit.core.console import Reporter
    from pile_toolkit.report import data

FORMAT = 2
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
    linked = {"dedup_page": True} if (root / DEDUP_PAGE).exists() else {}
    key = StageKey(stage="report", format=FORMAT, inputs=inputs, parameters=linked)
    manifest = finished(folder, key)
    up_to_date = manifest is not None
    if manifest is None:
        withdraw(folder)
        report = gather(root, found, reporter=reporter)
        encoded = msgspec.json.encode(report, order="deterministic")
        write_bytes(folder / FIGURES, msgspec.json.format(encoded, indent=1) + b"\n")
        write_bytes(folder / PAGE, page(report).encode())
        counts = {"stages": list(dict.fromkeys(stage.stage for stage in report.stages))}
        outputs = [describe(folder, folder / name) for name in (PAGE, FIGURES)]
        manifest = publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    # The path is no count: a moved root has its report elsewhere.
    return ReportResult(
        folder=str(folder), up_to_date=up_to_date, path=str(folder / PAGE), stages=manifest.counts["stages"]
    )


def page(report: data.Report) -> str:
    """The whole HTML page."""
    filters: dict[str, Callable] = {
        "size": size,
        "percent": percent,
        "mean": lambda total, count: f"{round(total / count):,}" if count else "–",
        "duration": duration,
        "excerpt": excerpt,
        "token": token,
        "pretty": lambda value: msgspec.json.format(msgspec.json.encode(value), indent=1).decode(),
    }
    stages: dict[str, list[data.Stage]] = {}
    for stage in report.stages:
        stages.setdefault(stage.stage, []).append(stage)
    return render_page(
        TEMPLATE, filters=filters, report=report, stages=stages, headline=headline(report), figures=figures
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


def compact(count: int) -> str:
    """A count for people, in full below ten million: `38.8 M`. The tables have all digits."""
    for unit, letter in ((10**9, "G"), (10**6, "M")):
        if count >= 10 * unit or (letter == "G" and count >= unit):
            return f"{count / unit:,.1f} {letter}"
    return f"{count:,}"


def percent(part: float, whole: float) -> str:
    """A share for people."""
    return f"{100 * part / whole:.2f}%" if whole else "–"


def duration(seconds: float) -> str:
    """A time for people: `4.1 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def excerpt(text: str) -> str:
    """Text as a page can show it: control characters, which browsers drop or obey, are written as `\\x00`."""
    plain = text.replace("\r\n", "\n")
    return "".join(char if char in "\n\t" or char.isprintable() or ord(char) > 0x9F else _code(char) for char in plain)


def token(text: str) -> str:
    """A token on one line: a space is a middle dot, whatever does not print is written as its code."""
    return "".join("·" if char == " " else char if char.isprintable() else _code(char) for char in text)


def _code(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
