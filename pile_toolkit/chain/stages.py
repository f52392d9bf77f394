"""The stages that join packages: shards need an encoder, training needs shards; both are handed what they need here."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.console import SILENT, speaks
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.lease import hold_root
from pile_toolkit.core.manifest import (
    MANIFEST,
    StageKey,
    current_manifest,
    describe,
    is_of_key,
    publish,
    read_manifest,
    withdraw,
)
from pile_toolkit.core.stages import stage_result
from trainer.result import TrainStageResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.manifest import Manifest, OutputFile
    from shards.stage import ShardsResult
    from trainer.config import Recipe
    from trainer.metrics import StepMetrics, StepTiming
    from trainer.train import TrainResult

TRAIN_FORMAT = 4


def write_shards(
    root: str | Path,
    *,
    tokenizer: str | Path | None = None,
    materialize: bool = False,
    jobs: int = 1,
    scheduler: str = "process",
    reporter: Reporter = SILENT,
) -> ShardsResult:
    """Encodes the plan of `root` into `shards/{train,val,test}.bin/.idx` with a tokenizer, default the root's own.

    `materialize` writes copies out, for readers that ignore the pointers of the index.
    """
    from shards.stage import write_shards_of_plan
    from tokenizer.encoder import Encoder

    root = Path(root)
    encoder = Encoder.load(tokenizer or root / "tokenizer" / "tokenizer.json")
    return write_shards_of_plan(
        root, encoder, materialize=materialize, jobs=jobs, scheduler=scheduler, reporter=reporter
    )


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
    if manifest is None and folder.parent.name == "mixes":
        command = f"pile shards mix {folder.name} --weights FILE --root {folder.parent.parent}"
        raise UsageError(f"there is no mix {folder}", hint=command)
    if manifest is None:
        raise UsageError(f"{folder} holds no token shards yet", hint=f"pile shards write --root {folder.parent}")
    return manifest


def train(
    recipe: str | Path = "debug",
    *,
    root: str | Path,
    steps: int | None = None,
    name: str | None = None,
    mix: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    new_phase: bool = False,
    cache_dir: str | Path | None = None,
    take_over: bool = False,
    reporter: Reporter = SILENT,
) -> TrainStageResult:
    """Trains a recipe on the shards of `root` into `runs/<name>/`; a run that was cut off continues at its checkpoint.

    `overrides` replace dotted keys of the recipe; `mix` is the name of one of the root's mixes. With `new_phase` a run
    of the order "stateless" goes on with other shards than before. Sample indexes are kept in `cache_dir`, by default
    in the user's cache folder. Under torchrun every process calls this. Raises UsageError where torch is missing or
    the recipe contradicts shards or checkpoint.
    """
    require_torch()
    from trainer.config import load_recipe

    root = Path(root)
    started_at = time.time()
    loaded = load_recipe(recipe, overrides)
    steps = loaded.train.steps if steps is None else steps
    shards = root / "mixes" / _one_word(mix, "a mix") if mix else root / "shards"
    data = shards_manifest(shards)
    folder = root / "runs" / _one_word(name or Path(recipe).stem, "a run")
    parameters = {"recipe": msgspec.to_builtins(loaded), "steps": steps}
    with contextlib.ExitStack() as stack:
        first_says = stack.enter_context(_first_process_says(loaded.train.device))
        key = first_says(lambda: _train_key(folder, data, parameters))
        if manifest := first_says(lambda: current_manifest(folder, key)):
            return stage_result(TrainStageResult, folder, manifest, up_to_date=True)
        first_says(lambda: stack.enter_context(hold_root(folder, take_over=take_over)) and None)
        if speaks() and is_of_key(folder, key):
            # Damaged outputs of this very training; those of another one are refused by the trainer, and stay.
            withdraw(folder)
        options: dict[str, Any] = {"steps": steps, "new_phase": new_phase, "cache_dir": cache_dir}
        result = _train(loaded, data, shards=shards, folder=folder, reporter=reporter, options=options)
        fields = TrainStageResult.__struct_fields__
        counts = {"recipe": str(recipe)} | {field: getattr(result, field) for field in fields if hasattr(result, field)}
        if speaks():
            outputs = _run_outputs(folder, reporter)
            # Anew: the training may have recorded a phase.
            key = _train_key(folder, data, parameters)
            publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    return TrainStageResult(folder=str(folder), up_to_date=False, **counts)


def _train_key(folder: Path, data: Manifest, parameters: dict[str, Any]) -> StageKey:
    """What a run over these shards depends on; of one whose last phase they are, also the phases before."""
    from shards.phases import PHASES, read_phases, summary

    if (folder / PHASES).is_file():
        phases = read_phases(folder).phases
        if len(phases) > 1 and phases[-1].shards == data.digest():
            parameters = parameters | {"phases": summary(phases)}
    return StageKey(stage="train", format=TRAIN_FORMAT, inputs={"shards": data.digest()}, parameters=parameters)


def _one_word(name: str, of: str) -> str:
    # Deeper folders would be found by neither `verify` nor the report, and `..` leaves the root.
    if not name or Path(name).name != name or name.startswith("."):
        raise UsageError(f"{name!r} is no name for {of}", hint="one word, such as first-try")
    return name


@contextlib.contextmanager
def _first_process_says(device: str | None) -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Yields a function that gives every process of torchrun what a call returns in the first.

    Of several that look at the disk themselves one may find a training finished where another, a moment earlier or at
    its own copy of a network folder, finds it not, and waits for the rest. A single process only looks, without torch.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield lambda call: call()
        return
    from trainer.distributed import choose_device, join_world

    with join_world(choose_device(device)) as world:
        yield world.first_says


def _train(
    recipe: Recipe, data: Manifest, *, shards: Path, folder: Path, reporter: Reporter, options: dict[str, Any]
) -> TrainResult:
    # torch takes seconds to import: not before there is something to train.
    from trainer.train import train as train_run

    done, said = 0, ""
    with reporter.progress(f"train {folder.name}", total=options["steps"], unit="steps") as advance:

        def on_step(metrics: StepMetrics) -> None:
            nonlocal said
            said = metrics.line()

        def on_timing(timing: StepTiming) -> None:
            nonlocal done
            # The first of a continued run is not step 1.
            advance(timing.step - done, note=f"{said}, {timing.line()}")
            done = timing.step

        return train_run(
            recipe,
            shards=shards,
            run=folder,
            vocab_size=data.counts["vocab_size"],
            tokenizer_hash=data.counts["tokenizer"],
            on_step=on_step,
            on_timing=on_timing,
            say=reporter.say,
            **options,
        )


def _run_outputs(folder: Path, reporter: Reporter) -> list[OutputFile]:
    """What of a run folder depends on the training alone: no times, no locks, and no checkpoint that has been damaged.

    Checkpoints keep the hashes that they were written with; hashing them anew would declare any damage sound.
    """
    from trainer.checkpoint import CHECKPOINTS, damage, written_checkpoints

    outputs = [describe(folder, folder / name) for name in ("metrics.jsonl", "phases.json", "recipe.toml")]
    for checkpoint in written_checkpoints(folder / CHECKPOINTS):
        if fault := damage(checkpoint):
            reporter.say(f"{fault}: step {checkpoint.step} can be neither loaded nor exported")
            continue
        place = checkpoint.path.relative_to(folder)
        outputs.append(describe(folder, checkpoint.path / MANIFEST))
        outputs += [msgspec.structs.replace(file, path=str(place / file.path)) for file in checkpoint.files]
    return outputs


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """The files of an exported model."""

    folder: str
    files: list[str]


def export(
    checkpoint: str | Path,
    target: str | Path,
    *,
    to: str = "hf",
    tokenizer: str | Path | None = None,
    recipe: str | Path | None = None,
) -> ExportResult:
    """A run folder, or one checkpoint of it, as what `transformers.AutoModelForCausalLM.from_pretrained` loads.

    `tokenizer` is the tokenizer.json to put beside it, default that of the root in which the run lies. `checkpoint` may
    be one of gpt-neox's own, then of the shape of `recipe`. Raises UsageError for another format, without a checkpoint,
    and for another tokenizer than the model was trained with.
    """
    require_torch()
    if to != "hf":
        raise UsageError(f"there is no export format {to!r}", hint="--to hf")
    from trainer.convert import export_huggingface, load_model

    path = Path(tokenizer) if tokenizer is not None else _tokenizer_of(Path(checkpoint))
    model = load_model(checkpoint, recipe=recipe)
    if path is not None:
        _refuse_other_tokenizer(Path(checkpoint), path)
    files = export_huggingface(model, model.config, Path(target), path)
    return ExportResult(folder=str(target), files=[str(file) for file in files])


def _tokenizer_of(checkpoint: Path) -> Path | None:
    """The tokenizer.json of the root whose `runs/` a checkpoint lies in."""
    roots = [folder.parent for folder in checkpoint.absolute().parents if folder.name == "runs"]
    return next((path for root in roots if (path := root / "tokenizer" / "tokenizer.json").exists()), None)


def _refuse_other_tokenizer(checkpoint: Path, tokenizer: Path) -> None:
    """Ids of another tokenizer would be noise to the model. A checkpoint from elsewhere does not say which was its."""
    from tokenizer.encoder import Encoder
    from trainer.convert import tokenizer_of

    given, trained = Encoder.load(tokenizer).hash, tokenizer_of(checkpoint)
    if trained and trained != given:
        raise UsageError(
            f"{checkpoint} was trained with the tokenizer {trained}, {tokenizer} is {given}",
            hint="--tokenizer with the tokenizer.json of its shards",
        )
