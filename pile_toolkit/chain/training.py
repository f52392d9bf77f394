"""The recipe of a run in, what its training takes on this machine out: tokens, parameters, hours, disk, memory.

A token costs 6 (N - Vh) + 12 L h T FLOPs, N parameters of which the embedding's Vh cost none; how many of them this
machine does in a second is measured on the recipe's model cut to a few layers (trainer/speed.py), once for each recipe,
and kept as chain/calibration.py keeps what it measures. No torch here: without it the hours are not known.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import xxhash

from pile_toolkit import __version__
from pile_toolkit.chain.calibration import Calibrate, processor
from pile_toolkit.core.caches import NAME, user_cache_folders
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import CorruptData, PileError
from pile_toolkit.core.files import write_bytes
from pile_toolkit.core.jsonfile import RECORD_LIMIT_BYTES, read_json
from trainer.config import Recipe, load_recipe

if TYPE_CHECKING:
    from pile_toolkit.chain.config import RunConfig
    from pile_toolkit.core.console import Reporter
    from trainer.config import CheckpointConfig, ModelConfig

# Raised when what is measured changes.
FORMAT = 1
# Weights and the two moments of the optimizer, in 32 bits.
CHECKPOINT_PARAMETER_BYTES = 12
_HOUR = 3600.0
NO_TORCH = "there is no torch: pip install 'pile-toolkit[train]'"
NOT_MEASURED = "this machine was not measured: pile plan"


class TrainingSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """What one process does; `layers` and `hidden_size` are those of the model that was measured."""

    format: int = FORMAT
    device: str
    gpus: int
    flop_per_s: float
    update_s_per_parameter: float
    layers: int
    hidden_size: int


class TrainingForecast(msgspec.Struct, frozen=True, kw_only=True):
    """A training by one process of `pile run`: `gpus` are those that torchrun could share it among, 0 on a processor.

    `hours` and `tokens_per_s` are None where `unknown` says why.
    """

    recipe: str
    run: str
    steps: int
    tokens: int
    parameters: int
    flops_per_token: int
    disk_bytes: int
    logits_bytes: int
    device: str | None = None
    gpus: int = 0
    measured: str = ""
    tokens_per_s: float | None = None
    hours: float | None = None
    unknown: str | None = None


def training_forecast(
    config: RunConfig, *, calibrate: Calibrate, reporter: Reporter = SILENT
) -> TrainingForecast | None:
    """The training of a configuration, None without a [train] table."""
    if config.train is None:
        return None
    recipe = load_recipe(config.train.recipe, config.train.set)
    model = msgspec.structs.replace(recipe.model, vocab_size=recipe.model.vocab_size or config.tokenizer.vocab_size)
    recipe = msgspec.structs.replace(recipe, model=model)
    data, steps = recipe.data, config.train.steps or recipe.train.steps
    parameters = parameter_count(model)
    forecast = TrainingForecast(
        recipe=config.train.recipe,
        run=config.train.run_name,
        steps=steps,
        tokens=steps * data.global_batch * data.sequence_length,
        parameters=parameters,
        flops_per_token=flops_per_token(model, sequence_length=data.sequence_length),
        disk_bytes=most_checkpoints(recipe.checkpoint, steps=steps) * CHECKPOINT_PARAMETER_BYTES * parameters,
        logits_bytes=4 * data.micro_batch * data.sequence_length * model.padded_vocab_size,
    )
    if importlib.util.find_spec("torch") is None:
        return msgspec.structs.replace(forecast, unknown=NO_TORCH)
    try:
        speed = training_speed(recipe, calibrate, reporter=reporter)
    except PileError as error:
        return msgspec.structs.replace(forecast, unknown=error.message)
    return with_speed(forecast, speed)


def with_speed(forecast: TrainingForecast, speed: TrainingSpeed | None) -> TrainingForecast:
    """The hours: every token at the measured rate, and an update for every step."""
    if speed is None:
        return msgspec.structs.replace(forecast, unknown=NOT_MEASURED)
    passes_s = forecast.tokens * forecast.flops_per_token / speed.flop_per_s
    seconds = passes_s + forecast.steps * forecast.parameters * speed.update_s_per_parameter
    return msgspec.structs.replace(
        forecast,
        device=speed.device,
        gpus=speed.gpus,
        measured=f"{speed.layers} layers of width {speed.hidden_size:,}",
        tokens_per_s=forecast.tokens / seconds,
        hours=seconds / _HOUR,
    )


def parameter_count(model: ModelConfig) -> int:
    """Parameters of a model of this shape; what trainer.model counts, without torch."""
    h, f = model.hidden_size, model.feed_forward_size
    block = 4 * h * h + 4 * h + 2 * h * f + f + h + 4 * h
    return 2 * model.padded_vocab_size * h + model.layers * block + 2 * h


def flops_per_token(model: ModelConfig, *, sequence_length: int) -> int:
    """Forward and backward: 6 (N - Vh) + 12 L h T; what trainer.utilization counts, without torch."""
    embedding = model.padded_vocab_size * model.hidden_size
    attention = 12 * model.layers * model.hidden_size * sequence_length
    return 6 * (parameter_count(model) - embedding) + attention


def most_checkpoints(settings: CheckpointConfig, *, steps: int) -> int:
    """How many stand on the disk at the most: a new one is written before an old one goes."""
    due = [step for step in range(steps + 1) if settings.is_due(step, last=steps)]
    newest = due if settings.keep_last is None else due[-settings.keep_last - 1 :]
    return len({*newest, *filter(settings.stays, due)})


def training_speed(recipe: Recipe, when: Calibrate, *, reporter: Reporter = SILENT) -> TrainingSpeed | None:
    """What was measured of this recipe on this machine, as `calibration` has it of the stages."""
    path = _kept(recipe)
    if path is not None and path.exists() and when != "again":
        with contextlib.suppress(CorruptData, OSError):
            return read_json(path, TrainingSpeed, limit_bytes=RECORD_LIMIT_BYTES)
    if when == "never":
        return None
    reporter.say("measuring how fast this machine trains, once: some 5 s")
    measured = measure(recipe)
    if path is not None:
        with contextlib.suppress(OSError, PileError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, msgspec.json.format(msgspec.json.encode(measured), indent=2))
    return measured


def measure(recipe: Recipe) -> TrainingSpeed:
    """Runs a few steps in this process."""
    # torch takes seconds to import: only where something is measured.
    from trainer.speed import measure_speed

    return TrainingSpeed(**measure_speed(recipe, vocab_size=recipe.model.vocab_size or 1)._asdict())


@functools.cache
def has_gpu() -> bool:
    """Whether the system has a driver for one; torch, which knows for certain, is not imported for that."""
    return Path("/proc/driver/nvidia/version").exists()


def _kept(recipe: Recipe) -> Path | None:
    folders = user_cache_folders()
    if not folders:
        return None
    torch = importlib.metadata.version("torch")
    shape = msgspec.json.encode((recipe.model, recipe.data, recipe.train)).decode()
    of = f"{FORMAT} {processor()} {has_gpu()} {__version__} {torch} {shape}"
    return folders[0] / NAME / f"training-{xxhash.xxh3_64_hexdigest(of.encode())}.json"
