"""A recipe and token shards in, a trained run folder out; killed anywhere and run again, it ends with the same losses.

- runs/<name>/recipe.toml: all values, resolved
- runs/<name>/phases.json: which shards its samples are read from, and from which sample on
- runs/<name>/checkpoints/step-*: model and optimizer
- runs/<name>/metrics.jsonl: one row a step, and the validations; the same bytes for the same training
- runs/<name>/timings.jsonl: what the clock said
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import remove
from pile_toolkit.core.lease import hold_root
from shards.phases import PHASES, data_identity
from trainer.checkpoint import (
    CHECKPOINTS,
    find_checkpoints,
    load_checkpoint,
    prepare_optimizer,
    remove_old,
    training_state,
)
from trainer.checkpoint_writer import CheckpointWriter
from trainer.config import resolved
from trainer.data import BatchPlan, offered_phase, open_phases, refuse_other_end
from trainer.distributed import World, choose_device, deterministic_algorithms, join_world
from trainer.layout import layout_of
from trainer.loss_scale import first_scale
from trainer.metrics import (
    METRICS,
    TIMINGS,
    MetricsLog,
    StepMetrics,
    StepTiming,
    median_tokens_per_s,
    read_rows,
)
from trainer.model import initialize, parameter_count
from trainer.optim import build_optimizer
from trainer.phases import settle_phases
from trainer.pipeline import build_sharded
from trainer.preflight import PREFLIGHT, check_ranks
from trainer.resume import write_recipe
from trainer.track import TENSORBOARD, WANDB, Trackers, refuse_missing
from trainer.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shards.phases import Phases
    from trainer.checkpoint import Checkpoint
    from trainer.config import Recipe


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """A finished training; losses are in nats a token, `tokens_per_s` is the median over its steps."""

    steps: int
    tokens: int
    first_loss: float
    last_loss: float
    validation_loss: float | None
    validation_bits_per_byte: float | None
    tokens_per_s: float
    parameters: int
    checkpoint: str


def train(
    recipe: Recipe,
    *,
    shards: Path,
    run: Path,
    vocab_size: int,
    steps: int | None = None,
    resume: bool = True,
    on_step: Callable[[StepMetrics], None] | None = None,
    on_timing: Callable[[StepTiming], None] | None = None,
    tokenizer_hash: str = "",
    new_phase: bool = False,
    cache_dir: str | Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> TrainResult:
    """Trains on `shards/train.*`, validates on `shards/val.*`, and writes the run folder.

    Continues from the newest checkpoint of `run` that is whole to the last byte, of a finished run too, whose result
    is then returned at once; `say` gets a word on each that is not. `resume=False` deletes what the run folder holds
    and starts afresh. Under torchrun every rank calls this; `on_step`, `on_timing` and `say` are called on
    the first.

    Other shards than those that `run` has read are refused, unless `new_phase` says that they begin a phase after its
    newest checkpoint, which the order "stateless" allows. Sample indexes are kept in `cache_dir`.

    Losses are the same to the last digit on the same number of ranks, of torch threads (OMP_NUM_THREADS, which
    torchrun sets to 1) and on the same kind of processor: sums are cut differently elsewhere.

    Raises UsageError where `run` holds another training or the loss is no number (a file in `run` names the documents
    then), CorruptData where the shards hold ids outside the vocabulary, TryAgain where another process trains this run
    or one of the ranks has ended.
    """
    recipe = resolved(recipe, steps=steps, vocab_size=vocab_size)
    device = choose_device(recipe.train.device)
    shared = join_world(device, partial(layout_of, recipe))
    with shared as world, deterministic_algorithms(device), _first_rank_holds(run, world):
        world.first_says(lambda: refuse_missing(recipe))
        world.first_says(lambda: refuse_other_end(shards / "train", recipe.attention))
        if not resume:
            _discard(run, world)
        offered = world.first_says(lambda: offered_phase(shards / "train", recipe.data, steps=recipe.train.steps))
        training = {
            # As JSON gives it back, so that it can be compared with what a checkpoint holds.
            "recipe": msgspec.json.decode(msgspec.json.encode(recipe)),
            "shards": offered.shards,
            "tokenizer": tokenizer_hash,
        }
        phases, checkpoint = settle_phases(run, offered, training, world, say, new_phase=new_phase)
        if world.is_first:
            write_recipe(run, checkpoint, recipe)
        if checkpoint is None or checkpoint.step < recipe.train.steps:
            check_ranks(
                world,
                run=run,
                parameters=parameter_count(recipe.model),
                facts=lambda: {"token shards": data_identity(shards / "train"), "tokenizer": tokenizer_hash},
            )
            job = prepare(recipe, training, phases, checkpoint, run=run, world=world, cache_dir=cache_dir)
            _train_from(checkpoint, job, on_step, on_timing)
        elif world.is_first:
            # One that was killed after its last step has still to tidy up.
            remove_old(run / CHECKPOINTS, recipe.checkpoint, newest=checkpoint.step)
        return world.first_says(lambda: _result(run, recipe))


@contextlib.contextmanager
def _first_rank_holds(run: Path, world: World) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        world.first_says(lambda: stack.enter_context(hold_root(run)) and None)
        yield


def _discard(run: Path, world: World) -> None:
    if world.is_first:
        for name in (METRICS, TIMINGS, CHECKPOINTS, PHASES, PREFLIGHT, TENSORBOARD, WANDB):
            remove(run / name)
    world.barrier()


def _train_from(
    checkpoint: Checkpoint | None,
    job: Training,
    on_step: Callable[[StepMetrics], None] | None,
    on_timing: Callable[[StepTiming], None] | None,
) -> None:
    recipe = job.recipe
    start = checkpoint.step if checkpoint else 0
    if checkpoint is None:
        initialize(job.model, recipe.model, seed=recipe.train.seed)
    else:
        load_checkpoint(checkpoint, training_state(job.model, job.optimizer), world=job.world)
    try:
        if start == 0 and recipe.checkpoint.is_due(0, last=recipe.train.steps):
            job.save(0)
        for step in range(start + 1, recipe.train.steps + 1):
            job.step(step, on_step, on_timing)
        job.writer.wait()
    finally:
        job.writer.close()
        if job.log:
            job.log.close()
        if job.trackers:
            job.trackers.close()


def prepare(
    recipe: Recipe,
    training: dict[str, Any],
    phases: Phases,
    checkpoint: Checkpoint | None,
    *,
    run: Path,
    world: World,
    cache_dir: str | Path | None,
) -> Training:
    """A training that can go on after `checkpoint`: everything but its weights."""
    start, progress = (checkpoint.step, checkpoint.progress) if checkpoint else (0, None)
    updates = progress.updates if progress else 0
    plan = BatchPlan(
        global_batch=recipe.data.global_batch,
        micro_batch=recipe.data.micro_batch,
        rank=world.data_rank,
        ranks=world.layout.data,
    )
    loss_scale = progress.loss_scale if progress else None
    if recipe.train.precision == "fp16" and loss_scale is None:
        loss_scale = first_scale(recipe.loss_scale)
    model = build_sharded(recipe, world)
    optimizer = build_optimizer(model, recipe.optimizer)
    prepare_optimizer(model, optimizer, updates=updates)
    return Training(
        recipe=recipe,
        training=training,
        run=run,
        world=world,
        model=model,
        optimizer=optimizer,
        plan=plan,
        phases=phases,
        samples=open_phases(phases, samples=recipe.train.steps * recipe.data.global_batch, cache_dir=cache_dir),
        cache_dir=cache_dir,
        writer=CheckpointWriter(run / CHECKPOINTS, recipe.checkpoint, world),
        updates=updates,
        loss_scale=loss_scale,
        log=MetricsLog(run, step=start) if world.is_first else None,
        trackers=Trackers(run, recipe, step=start) if world.is_first else None,
    )


def _result(run: Path, recipe: Recipe) -> TrainResult:
    checkpoint = next(reversed(find_checkpoints(run / CHECKPOINTS)), None)
    rows = read_rows(run / METRICS)
    losses = [row["loss"] for row in rows if "loss" in row]
    if checkpoint is None or not losses:
        raise CorruptData(f"{run} has lost its checkpoint or its {METRICS}", hint="run the same command again")
    validation: dict[str, Any] = next((row for row in reversed(rows) if "validation_loss" in row), {})
    return TrainResult(
        steps=checkpoint.step,
        tokens=checkpoint.sample * recipe.data.sequence_length,
        first_loss=losses[0],
        last_loss=losses[-1],
        validation_loss=validation.get("validation_loss"),
        validation_bits_per_byte=validation.get("validation_bits_per_byte"),
        tokens_per_s=median_tokens_per_s(run),
        parameters=parameter_count(recipe.model),
        checkpoint=str(checkpoint.path),
    )
