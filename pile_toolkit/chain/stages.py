"""The stages that join packages: shards need an encoder, training needs shards; both are handed what they need here."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.console import SILENT, speaks
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import StageKey, current_manifest, describe, is_of_key, publish, read_manifest, withdraw
from pile_toolkit.core.stages import StageResult, stage_result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.manifest import Manifest
    from shards.stage import ShardsResult

TRAIN_FORMAT = 1
# What of a run folder depends on the training alone; timings and locks are left out.
OUTPUTS = ("checkpoints", "metrics.jsonl", "recipe.toml")


class TrainStageResult(StageResult, frozen=True, kw_only=True):
    """Figures of a finished run; losses are nats per token."""

    recipe: str
    parameters: int
    steps: int
    tokens: int
    first_loss: float
    last_loss: float
    validation_loss: float | None
    validation_bits_per_byte: float | None


def write_shards(
    root: str | Path,
    *,
    tokenizer: str | Path | None = None,
    jobs: int = 1,
    scheduler: str = "process",
    reporter: Reporter = SILENT,
) -> ShardsResult:
    """Encodes the plan of `root` into `shards/{train,val,test}.bin/.idx` with a tokenizer, default the root's own."""
    from shards.stage import write_shards_of_plan
    from tokenizer.encoder import Encoder

    root = Path(root)
    encoder = Encoder.load(tokenizer or root / "tokenizer" / "tokenizer.json")
    return write_shards_of_plan(root, encoder, jobs=jobs, scheduler=scheduler, reporter=reporter)


def require_torch() -> None:
    """Raises UsageError where torch is not installed: before a chain that ends in training runs for hours."""
    if importlib.util.find_spec("torch") is None:
        raise UsageError(
            "training needs torch, which is not installed",
            hint="pip install 'pile-toolkit[train]', or leave out the [train] table",
        )


def shards_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of shards or of a mix. Raises UsageError where there are none."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise UsageError(f"{folder} holds no token shards yet", hint="pile shards write, or pile shards mix NAME")
    return manifest


def train(
    recipe: str | Path = "debug",
    *,
    root: str | Path,
    steps: int | None = None,
    name: str | None = None,
    mix: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    reporter: Reporter = SILENT,
) -> TrainStageResult:
    """Trains a recipe on the shards of `root` into `runs/<name>/`; a run that was cut off continues at its checkpoint.

    `overrides` replace dotted keys of the recipe; `mix` is the name of one of the root's mixes. Under torchrun
    every process calls this. Raises UsageError where torch is missing or the recipe contradicts shards or checkpoint.
    """
    require_torch()
    from trainer.config import load_recipe

    root = Path(root)
    started_at = time.time()
    loaded = load_recipe(recipe, overrides)
    steps = steps or loaded.train.steps
    shards = root / "mixes" / mix if mix else root / "shards"
    data = shards_manifest(shards)
    folder = root / "runs" / (name or Path(recipe).stem)
    parameters = {"recipe": msgspec.to_builtins(loaded), "steps": steps}
    key = StageKey(stage="train", format=TRAIN_FORMAT, inputs={"shards": data.digest()}, parameters=parameters)
    if manifest := current_manifest(folder, key):
        return stage_result(TrainStageResult, folder, manifest, up_to_date=True)
    # torch takes seconds to import: not before there is something to train.
    from trainer.train import train as train_run

    if speaks() and is_of_key(folder, key):
        # Damaged outputs of this very training; those of another one are refused by the trainer, and stay.
        withdraw(folder)
    with reporter.progress(f"train {folder.name}", total=steps, unit="steps") as advance:
        result = train_run(
            loaded,
            shards=shards,
            run=folder,
            vocab_size=data.counts["vocab_size"],
            tokenizer_hash=data.counts["tokenizer"],
            steps=steps,
            on_step=lambda metrics: advance(1),
        )
    fields = ("parameters", "steps", "tokens", "first_loss", "last_loss", "validation_loss", "validation_bits_per_byte")
    counts = {"recipe": str(recipe), **{field: getattr(result, field) for field in fields}}
    if speaks():
        files = sorted(
            path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] in OUTPUTS
        )
        outputs = [describe(folder, path) for path in files]
        publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    return TrainStageResult(folder=str(folder), up_to_date=False, **counts)


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """The files of an exported model."""

    folder: str
    files: list[str]


def export(
    checkpoint: str | Path, target: str | Path, *, to: str = "hf", tokenizer: str | Path | None = None
) -> ExportResult:
    """A run folder, or one checkpoint of it, as what `transformers.AutoModelForCausalLM.from_pretrained` loads.

    `tokenizer` is a tokenizer.json to put beside it. Raises UsageError for another format or without a checkpoint.
    """
    require_torch()
    if to != "hf":
        raise UsageError(f"there is no export format {to!r}", hint="--to hf")
    from trainer.convert import export_huggingface, load_model

    model = load_model(checkpoint)
    path = Path(tokenizer) if tokenizer is not None and Path(tokenizer).exists() else None
    files = export_huggingface(model, model.config, Path(target), path)
    return ExportResult(folder=str(target), files=[str(file) for file in files])
