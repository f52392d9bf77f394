"""A configuration in, what a run of it will make and need out, before anything runs.

Counts are measured where components are on this disk, estimated from the sizes of the files of a folder and of the
built-in sample, and published ones elsewhere; each row says which. Disk is estimated from the ratios below; memory is
the bound of chain/memory.py; hours are those of chain/calibration.py, which measures this machine.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import psutil

from pile_toolkit.chain.calibration import Calibrate, calibration, method_name
from pile_toolkit.chain.check import check, mixture_of
from pile_toolkit.chain.config import RunConfig, load_run_config
from pile_toolkit.chain.hours import stage_hours
from pile_toolkit.chain.needs import COMPRESSED_SHARE, TOKENS_PER_BYTE, shards_bytes, stage_needs, token_bytes
from pile_toolkit.core.components import downloaded_slugs, read_component
from pile_toolkit.core.console import SILENT, size
from pile_toolkit.core.errors import OutOfSpace
from pile_toolkit.core.files import existing_parent
from pile_toolkit.core.manifest import read_manifest
from pipelines.catalog import select
from pipelines.dedup.settings import resolve
from pipelines.sources import FolderSource, SampleSource, parse_sources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pile_toolkit.chain.calibration import Calibration
    from pile_toolkit.core.console import Reporter
    from pipelines.catalog import Component
    from pipelines.sources import Source

# Documents and bytes of text of the built-in sample under CPython 3.11; other versions differ by a few percent.
SAMPLE = {
    "pile-cc": (202, 1_060_000),
    "pubmed-central": (54, 850_000),
    "books3": (23, 850_000),
    "openwebtext2": (119, 350_000),
    "arxiv": (57, 740_000),
    "github": (381, 6_120_000),
    "freelaw": (54, 450_000),
    "stackexchange": (225, 700_000),
    "uspto-backgrounds": (95, 310_000),
    "pubmed-abstracts": (199, 270_000),
    "gutenberg-pg-19": (29, 470_000),
    "opensubtitles": (57, 180_000),
    "wikipedia-en": (123, 470_000),
    "dm-mathematics": (175, 1_400_000),
    "ubuntu-irc": (48, 240_000),
    "bookcorpus2": (25, 190_000),
    "europarl": (46, 220_000),
    "hackernews": (75, 190_000),
    "youtubesubtitles": (54, 260_000),
    "philpapers": (43, 240_000),
    "nih-exporter": (86, 100_000),
    "enron-emails": (115, 170_000),
}

Counted = Literal["on this disk", "estimated from the source", "published"]


class ComponentForecast(msgspec.Struct, frozen=True, kw_only=True):
    """One component: `effective_bytes` and `tokens` count copies; `counted` says where the figures are from."""

    slug: str
    documents: int
    bytes: int
    epochs: float
    effective_bytes: int
    tokens: int
    counted: Counted


class StageForecast(msgspec.Struct, frozen=True, kw_only=True):
    """One stage: whether its output is there, the disk it takes beside what is there, the memory of its peak.

    `hours` with so many jobs as were asked for; None where this machine was not measured.
    """

    stage: str
    present: bool
    disk_bytes: int
    memory_bytes: int
    hours: float | None


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a run will make and need; `materialized_disk_bytes` is what shards take in place of their stage's disk when
    copies are written out (`pile shards write --materialize`), which no run does by itself.
    """

    root: str
    components: list[ComponentForecast]
    stages: list[StageForecast]
    effective_bytes: int
    tokens: int
    materialized_disk_bytes: int
    free_disk_bytes: int
    free_memory_bytes: int
    # Of the stages that are to do.
    hours: float | None
    processor: str | None


def plan(
    config: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    jobs: int = 1,
    calibrate: Calibrate = "never",
    reporter: Reporter = SILENT,
) -> Forecast:
    """What `run(config, jobs=jobs)` would make; nothing is written below its root.

    Hours need a measurement of this machine: `calibrate` "once" makes it where none is kept and takes half a minute.
    Raises UsageError for what a stage would refuse, SourceUnavailable for a component that a folder does not have.
    """
    resolved = load_run_config(config, overrides)
    check(resolved)
    root = Path(resolved.root)
    components = _components(resolved, root)
    measured = calibration(calibrate, reporter=reporter)
    hours = None if measured is None else _hours(resolved, components, measured, jobs)
    stages = _stages(resolved, root, components, jobs, hours)
    return Forecast(
        root=str(root),
        components=components,
        stages=stages,
        effective_bytes=sum(row.effective_bytes for row in components),
        tokens=sum(row.tokens for row in components),
        materialized_disk_bytes=round(shards_bytes(root, components, token_bytes(resolved), materialize=True)),
        free_disk_bytes=shutil.disk_usage(existing_parent(root.resolve())).free,
        free_memory_bytes=psutil.virtual_memory().available,
        hours=None if hours is None else sum(hours[row.stage] for row in stages if not row.present),
        processor=None if measured is None else measured.processor,
    )


def refuse_what_does_not_fit(forecast: Forecast) -> None:
    """Raises OutOfSpace for the first stage whose disk or memory is more than is free."""
    needed = 0
    for row in forecast.stages:
        needed += 0 if row.present else row.disk_bytes
        if needed > forecast.free_disk_bytes:
            raise OutOfSpace(
                f"stage {row.stage} will not fit: {size(needed)} of disk are needed up to there, "
                f"{size(forecast.free_disk_bytes)} are free in {forecast.root}",
                hint="another --root, fewer components, or build.write_corpus = false",
            )
        if row.memory_bytes > forecast.free_memory_bytes:
            raise OutOfSpace(
                f"stage {row.stage} will not fit: {size(row.memory_bytes)} of memory are needed, "
                f"{size(forecast.free_memory_bytes)} are available",
                hint="fewer --jobs, fewer components, or a larger build.train_shards",
            )


def _components(config: RunConfig, root: Path) -> list[ComponentForecast]:
    present = set(downloaded_slugs(root))
    chosen = select(config.download.components)
    source_of = parse_sources(config.download.source)
    found: dict[str, tuple[int, int, Counted]] = {}
    for component in chosen:
        if component.slug in present:
            measured = read_component(root, component.slug)
            found[component.slug] = measured.documents, measured.text_bytes, "on this disk"
        else:
            found[component.slug] = _expected(component, source_of(component.slug))
    # Targets are of the train split; what deduplication will remove is not known yet.
    train_share = 1.0 - config.build.val_share - config.build.test_share
    train = {slug: round(text_bytes * train_share) for slug, (_, text_bytes, _) in found.items()}
    epochs = mixture_of(config, list(found)).epochs(train)
    return [_component(slug, *counts, epochs[slug]) for slug, counts in found.items()]


def _component(slug: str, documents: int, text_bytes: int, counted: Counted, epochs: float) -> ComponentForecast:
    effective_bytes = round(text_bytes * epochs)
    return ComponentForecast(
        slug=slug,
        documents=documents,
        bytes=text_bytes,
        epochs=epochs,
        effective_bytes=effective_bytes,
        tokens=round(effective_bytes * TOKENS_PER_BYTE),
        counted=counted,
    )


def _expected(component: Component, source: Source) -> tuple[int, int, Counted]:
    """(documents, bytes of text, where the figures are from) of a component that is not here yet."""
    if isinstance(source, SampleSource):
        return *SAMPLE[component.slug], "estimated from the source"
    if isinstance(source, FolderSource):
        files = source.fetch(component, source.path, SILENT)
        text_bytes = round(sum(path.stat().st_size for path in files) / COMPRESSED_SHARE)
        return round(text_bytes / component.mean_document_bytes), text_bytes, "estimated from the source"
    return component.documents, component.raw_bytes, "published"


def _hours(
    config: RunConfig, components: list[ComponentForecast], measured: Calibration, jobs: int
) -> dict[str, float]:
    return stage_hours(
        measured,
        documents=sum(row.documents for row in components),
        text_bytes=sum(row.bytes for row in components),
        copied_bytes=sum(row.effective_bytes for row in components) if config.build.write_corpus else 0,
        method=method_name(config.dedup.method, resolve(config.dedup).verify),
        sample_bytes=config.tokenizer.sample_bytes,
        jobs=jobs,
    )


def _stages(
    config: RunConfig, root: Path, components: list[ComponentForecast], jobs: int, hours: Mapping[str, float] | None
) -> list[StageForecast]:
    return [
        StageForecast(
            stage=stage,
            present=_present(root, stage, components),
            disk_bytes=round(need.disk_bytes),
            memory_bytes=round(need.memory_bytes),
            hours=None if hours is None else hours[stage],
        )
        for stage, need in stage_needs(config, root, components, jobs).items()
    ]


def _present(root: Path, stage: str, components: list[ComponentForecast]) -> bool:
    if stage == "download":
        return all(row.counted == "on this disk" for row in components)
    return read_manifest(root / stage) is not None
