"""A finished training in, what the report says of it out: its curves, averaged to as many points as a chart shows."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.report import run_data
from pile_toolkit.report.finished import counts_of, elapsed_s
from trainer.metrics import METRICS, TIMINGS, median_tokens_per_s, read_rows
from trainer.result import TrainStageResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pile_toolkit.report.finished import Finished

    Row = dict[str, Any]

# More points than a curve on a screen has pixels for are averaged.
CURVE_POINTS = 300


def run(stage: Finished) -> run_data.Run:
    """One finished training with its curves."""
    rows = read_rows(stage.folder / METRICS)
    recipe = stage.folder / "recipe.toml"
    counts = msgspec.structs.asdict(counts_of(TrainStageResult, stage))
    return run_data.Run(
        name=stage.folder.name,
        recipe_toml=recipe.read_text(encoding="utf-8") if recipe.exists() else "",
        tokens_per_s=median_tokens_per_s(stage.folder),
        elapsed_s=elapsed_s(stage),
        losses=[_loss_point(some) for some in _parts([row for row in rows if "loss" in row])],
        validations=[_validation_point(row) for row in rows if "validation_loss" in row],
        epochs=[
            run_data.EpochPoint(step=row["step"], epochs=row["epochs_finished"])
            for row in rows
            if "epochs_finished" in row
        ],
        timings=[_timing_point(some) for some in _parts(_timed(read_rows(stage.folder / TIMINGS)))],
        **{name: value for name, value in counts.items() if name not in ("folder", "up_to_date")},
    )


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    at_once = -(-len(rows) // CURVE_POINTS) or 1
    for start in range(0, len(rows), at_once):
        yield rows[start : start + at_once]


def _loss_point(some: Sequence[Row]) -> run_data.LossPoint:
    norms = _numbers(some, "grad_norm")
    return run_data.LossPoint(
        first_step=some[0]["step"],
        last_step=some[-1]["step"],
        loss=statistics.fmean(row["loss"] for row in some) if len(some) > 1 else some[0]["loss"],
        learning_rate=some[-1]["learning_rate"],
        grad_norm=statistics.fmean(norms) if norms else None,
        loss_scale=some[-1].get("loss_scale"),
        skipped=sum(bool(row.get("skipped")) for row in some),
    )


def _validation_point(row: Row) -> run_data.ValidationPoint:
    return run_data.ValidationPoint(
        step=row["step"],
        loss=row["validation_loss"],
        bits_per_byte=row.get("validation_bits_per_byte"),
        mixture_loss=row.get("mixture_loss"),
        mixture_bits_per_byte=row.get("mixture_bits_per_byte"),
        mixture_share=row.get("mixture_share"),
        components={
            name: run_data.ComponentPoint(
                loss=found["loss"], tokens=found["tokens"], bits_per_byte=found.get("bits_per_byte")
            )
            for name, found in row.get("components", {}).items()
        },
    )


def _timed(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if "tokens_per_s" in row]


def _timing_point(some: Sequence[Row]) -> run_data.TimingPoint:
    shares = [_numbers(some, name) for name in ("mfu", "hardware_utilisation")]
    mfu, hardware = (statistics.median(values) if values else None for values in shares)
    return run_data.TimingPoint(
        first_step=some[0]["step"],
        last_step=some[-1]["step"],
        tokens_per_s=statistics.median(row["tokens_per_s"] for row in some),
        mfu=mfu,
        hardware_utilisation=hardware,
        memory_bytes=max(_numbers(some, "memory_bytes"), default=None),
    )


def _numbers(rows: Iterable[Row], name: str) -> list[Any]:
    """The values that are there: a norm is null where the step was skipped, utilisation absent without a peak."""
    return [row[name] for row in rows if row.get(name) is not None]
