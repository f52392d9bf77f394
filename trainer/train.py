"""A recipe and token shards in, a trained run folder out; killed anywhere and run again, it ends with the same losses.

- runs/<name>/recipe.toml: all values, resolved
- runs/<name>/phases.json: which shards its samples are read from, and from which sample on
- runs/<name>/checkpoints/step-*: model and optimizer
- runs/<name>/metrics.jsonl: one row a step, and the validations; the same bytes for the same training
- runs/<name>/timings.jsonl: what the clock said
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import remove
from pile_toolkit.core.lease import hold_root
from shards.phases import PHASES
from trainer.checkpoint import (
    CHECKPOINTS,
    find_checkpoints,
    keep_last,
    load_checkpoint,
    prepare_optimizer,
    save_checkpoint,
    training_state,
)
from trainer.config import resolved
from trainer.data import BatchPlan, HeldOut, Samples, load_batch, offered_phase, open_held_out, open_phases
from trainer.distributed import World, choose_device, deterministic_algorithms, join_world
from trainer.evaluate import validate
from trainer.metrics import (
    METRICS,
    TIMINGS,
    MetricsLog,
    StepMetrics,
    median_tokens_per_s,
    read_rows,
)
from trainer.model import GPTNeoX, initialize, parameter_count
from trainer.optim import build_optimizer, clip_gradients, learning_rate, set_learning_rate
from trainer.parallel import accumulate, build_sharded, reshard
from trainer.phases import data_at, settle_phases
from trainer.resume import write_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    tokenizer_hash: str = "",
    new_phase: bool = False,
    cache_dir: str | Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> TrainResult:
    """Trains on `shards/train.*`, validates on `shards/val.*`, and writes the run folder.

    Continues from the newest checkpoint of `run` that is whole to the last byte, of a finished run too, whose result
    is then returned at once; `say` gets a word on each that is not. `resume=False` deletes what the run folder holds
    and starts afresh. Under torchrun every rank calls this; `on_step` and `say` are called on the first.

    Other shards than those that `run` has read are refused, unless `new_phase` says that they begin a phase after its
    newest checkpoint, which the order "stateless" allows. Sample indexes are kept in `cache_dir`.

    Losses are the same to the last digit on the same number of ranks, of torch threads (OMP_NUM_THREADS, which
    torchrun sets to 1) and on the same kind of processor: sums are cut differently elsewhere.

    Raises UsageError where `run` holds another training or the loss is no number, CorruptData where the shards hold
    ids outside the vocabulary, TryAgain where another process trains this run or one of the ranks has ended.
    """
    recipe = resolved(recipe, steps=steps, vocab_size=vocab_size)
    device = choose_device(recipe.train.device)
    with join_world(device) as world, deterministic_algorithms(device), _first_rank_holds(run, world):
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
            job = _prepare(recipe, training, phases, checkpoint, run=run, world=world, cache_dir=cache_dir)
            _train_from(checkpoint, job, on_step)
        elif world.is_first:
            # One that was killed after its last step has still to tidy up.
            keep_last(run / CHECKPOINTS, recipe.checkpoint.keep_last, newest=checkpoint.step)
        return world.first_says(lambda: _result(run, recipe))


@contextlib.contextmanager
def _first_rank_holds(run: Path, world: World) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        world.first_says(lambda: stack.enter_context(hold_root(run)) and None)
        yield


def _discard(run: Path, world: World) -> None:
    if world.is_first:
        for name in (METRICS, TIMINGS, CHECKPOINTS, PHASES):
            remove(run / name)
    world.barrier()


@dataclass(kw_only=True)
class Training:
    """All that one run of the loop holds."""

    recipe: Recipe
    training: dict[str, Any]
    run: Path
    world: World
    model: GPTNeoX
    optimizer: torch.optim.Optimizer
    plan: BatchPlan
    phases: Phases
    samples: Samples
    cache_dir: str | Path | None
    log: MetricsLog | None
    _opened: dict[str, HeldOut | None] = field(default_factory=dict)

    def update(self, step: int) -> StepMetrics:
        """One optimizer update over one global batch."""
        config, device = self.recipe, self.world.device
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        for micro, numbers in enumerate(self.plan.micro_batches(step), start=1):
            inputs, targets = load_batch(self.samples, numbers, vocab_size=_vocab_size(config))
            accumulate(self.model, last=micro == self.plan.accumulation)
            loss = self.model(inputs.to(device), targets.to(device)) / self.plan.accumulation
            loss.backward()
            loss_sum += loss.detach()
        (loss_of_all,) = self.world.sum(loss_sum.item())
        mean = loss_of_all / self.world.size
        norm = clip_gradients(self.model.parameters(), config.optimizer.clip_norm)
        self._stop_unless_finite(step, mean, norm)
        rate = learning_rate(config.optimizer, update=step, steps=config.train.steps)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.optimizer.zero_grad()
        tokens = step * config.data.global_batch * config.data.sequence_length
        return StepMetrics(step=step, loss=mean, learning_rate=rate, grad_norm=norm, tokens=tokens)

    def _stop_unless_finite(self, step: int, loss: float, norm: float) -> None:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            numbers = self.plan.samples_of(step)
            raise UsageError(
                f"step {step}: the loss is {loss}, the gradient norm {norm}, on samples {numbers[0]} to {numbers[-1]}; "
                f"the last checkpoint of {self.run} is from before that step",
                hint=self._lower_rate(),
            )

    def _lower_rate(self) -> str:
        return f"a lower optimizer.learning_rate (now {self.recipe.optimizer.learning_rate})"

    def validate(self, step: int) -> None:
        """Writes one row on the held-out samples, where there are any."""
        held_out = self._held_out(step)
        if held_out is None:
            return
        vocab_size, micro_batch = _vocab_size(self.recipe), self.recipe.data.micro_batch
        metrics = validate(self.model, held_out, self.world, step=step, micro_batch=micro_batch, vocab_size=vocab_size)
        reshard(self.model)
        if not math.isfinite(metrics.validation_loss):
            # Before the checkpoint, which would keep these weights and push out one that is still good.
            raise UsageError(f"step {step}: the validation loss is {metrics.validation_loss}", hint=self._lower_rate())
        if self.log:
            self.log.write(metrics)

    def _held_out(self, step: int) -> HeldOut | None:
        # Of the shards that the step reads: done again, a step before a phase is validated as it was the first time.
        phase, _ = self.phases.of(self.plan.samples_of(step)[-1])
        if phase.prefix not in self._opened:
            batches = self.recipe.validation.batches
            prefix = Path(phase.prefix).with_name("val")
            opened = open_held_out(prefix, self.recipe.data, batches=batches, cache_dir=self.cache_dir)
            self._opened[phase.prefix] = opened
        return self._opened[phase.prefix]

    def save(self, step: int) -> None:
        """A checkpoint after `step` updates; older ones go as the recipe says."""
        metrics = self.log.sync() if self.log else ""
        folder = self.run / CHECKPOINTS
        sample = step * self.recipe.data.global_batch
        save_checkpoint(
            folder,
            step=step,
            sample=sample,
            training=self.training | data_at(self.phases, sample),
            metrics=metrics,
            state=training_state(self.model, self.optimizer),
            world=self.world,
        )
        if self.world.is_first:
            keep_last(folder, self.recipe.checkpoint.keep_last, newest=step)


def _vocab_size(recipe: Recipe) -> int:
    # `resolved` has set it; padding rows have no token.
    return recipe.model.vocab_size or recipe.model.padded_vocab_size


def _train_from(checkpoint: Checkpoint | None, job: Training, on_step: Callable[[StepMetrics], None] | None) -> None:
    recipe = job.recipe
    if checkpoint is None:
        initialize(job.model, recipe.model, seed=recipe.train.seed)
    else:
        load_checkpoint(checkpoint, training_state(job.model, job.optimizer), world=job.world)
    start = checkpoint.step if checkpoint else 0
    try:
        if start == 0 and recipe.checkpoint.initial:
            job.save(0)
        for step in range(start + 1, recipe.train.steps + 1):
            _one_step(job, step, on_step)
    finally:
        if job.log:
            job.log.close()


def _one_step(job: Training, step: int, on_step: Callable[[StepMetrics], None] | None) -> None:
    recipe = job.recipe
    if job.log:
        job.log.restart_clock()
    metrics = job.update(step)
    if job.log:
        job.log.write(metrics)
        job.log.write_timing(step, tokens=recipe.data.global_batch * recipe.data.sequence_length)
        if on_step:
            on_step(metrics)
    last = step == recipe.train.steps
    if last or step % recipe.validation.interval == 0:
        job.validate(step)
    if last or step % recipe.checkpoint.interval == 0:
        job.save(step)


def _prepare(
    recipe: Recipe,
    training: dict[str, Any],
    phases: Phases,
    checkpoint: Checkpoint | None,
    *,
    run: Path,
    world: World,
    cache_dir: str | Path | None,
) -> Training:
    start = checkpoint.step if checkpoint else 0
    plan = BatchPlan(
        global_batch=recipe.data.global_batch,
        micro_batch=recipe.data.micro_batch,
        rank=world.rank,
        ranks=world.size,
    )
    model = build_sharded(recipe.model, world, precision=recipe.train.precision)
    optimizer = build_optimizer(model, recipe.optimizer)
    prepare_optimizer(model, optimizer, updates=start)
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
        log=MetricsLog(run, step=start) if world.is_first else None,
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
