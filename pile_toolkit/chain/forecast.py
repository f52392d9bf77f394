"""A configuration in, what a run of it will make and need out, before anything runs.

Documents, bytes and epochs are those of chain/sizes.py, each row says how they are known; disk is estimated from them,
memory is the bound of chain/memory.py; hours are those of chain/calibration.py and chain/training.py, which measure
this machine.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psutil

from pile_toolkit.chain.calibration import Calibrate, calibration, method_name
from pile_toolkit.chain.check import check
from pile_toolkit.chain.config import RunConfig, load_run_config
from pile_toolkit.chain.hours import stage_hours
from pile_toolkit.chain.needs import shards_bytes, stage_needs, token_bytes
from pile_toolkit.chain.sizes import ComponentForecast, forecast_components
from pile_toolkit.chain.training import TrainingForecast, training_forecast
from pile_toolkit.core.console import SILENT, size
from pile_toolkit.core.errors import OutOfSpace
from pile_toolkit.core.files import existing_parent
from pile_toolkit.core.manifest import read_manifest
from pipelines.dedup.settings import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pile_toolkit.chain.calibration import Calibration
    from pile_toolkit.core.console import Reporter


class StageForecast(msgspec.Struct, frozen=True, kw_only=True):
    """One stage: whether its output is there, the disk it takes beside what is there, the memory of its peak.

    `hours` with so many jobs as were asked for; None where they are not known. Of a training that has a GPU the memory
    is 0: what the GPU has is not looked at.
    """

    stage: str
    present: bool
    disk_bytes: int
    memory_bytes: int
    hours: float | None


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a run will make and need; `materialized_disk_bytes` is what shards take in place of their stage's disk when
    copies are written out (`pile shards write --materialize`), which no run does by itself. `warnings` say what seems
    not to work out, but by estimates only. `training` is None without a [train] table.
    """

    root: str
    components: list[ComponentForecast]
    stages: list[StageForecast]
    effective_bytes: int
    tokens: int
    materialized_disk_bytes: int
    free_disk_bytes: int
    free_memory_bytes: int
    # Of the stages that are to do and whose hours are known.
    hours: float | None
    processor: str | None
    warnings: list[str] = []
    training: TrainingForecast | None = None


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
    Raises UsageError for what a stage would certainly refuse, SourceUnavailable for a component that a folder does not
    have; what by estimated sizes seems out of reach is a warning.
    """
    resolved = load_run_config(config, overrides)
    check(resolved)
    root = Path(resolved.root)
    components, warnings = forecast_components(resolved, root, config_path=config)
    measured = calibration(calibrate, reporter=reporter)
    training = training_forecast(resolved, calibrate=calibrate, reporter=reporter)
    hours = {} if measured is None else _hours(resolved, components, measured, jobs)
    hours |= {"train": training.hours} if training else {}
    stages = _stages(resolved, root, components, jobs, hours, training)
    to_do = [row.hours for row in stages if not row.present and row.hours is not None]
    return Forecast(
        root=str(root),
        components=components,
        stages=stages,
        effective_bytes=sum(row.effective_bytes for row in components),
        tokens=sum(row.tokens for row in components),
        materialized_disk_bytes=round(shards_bytes(root, components, token_bytes(resolved), materialize=True)),
        free_disk_bytes=shutil.disk_usage(existing_parent(root.resolve())).free,
        free_memory_bytes=psutil.virtual_memory().available,
        hours=None if measured is None else sum(to_do),
        processor=None if measured is None else measured.processor,
        warnings=warnings,
        training=training,
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


def _hours(
    config: RunConfig, components: list[ComponentForecast], measured: Calibration, jobs: int
) -> dict[str, float | None]:
    hours = stage_hours(
        measured,
        documents=sum(row.documents for row in components),
        text_bytes=sum(row.bytes for row in components),
        copied_bytes=sum(row.effective_bytes for row in components) if config.build.write_corpus else 0,
        method=method_name(config.dedup.method, resolve(config.dedup).verify),
        sample_bytes=config.tokenizer.sample_bytes,
        jobs=jobs,
    )
    return {**hours}


def _stages(
    config: RunConfig,
    root: Path,
    components: list[ComponentForecast],
    jobs: int,
    hours: Mapping[str, float | None],
    training: TrainingForecast | None,
) -> list[StageForecast]:
    return [
        StageForecast(
            stage=stage,
            present=_present(root, stage, components, training),
            disk_bytes=round(need.disk_bytes),
            memory_bytes=round(need.memory_bytes),
            hours=hours.get(stage),
        )
        for stage, need in stage_needs(config, root, components, jobs, training).items()
    ]


def _present(root: Path, stage: str, components: list[ComponentForecast], training: TrainingForecast | None) -> bool:
    if stage == "download":
        return all(row.counted == "on this disk" for row in components)
    folder = f"runs/{training.run}" if stage == "train" and training else stage
    return read_manifest(root / folder) is not None
