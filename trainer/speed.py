"""A recipe in, how fast this machine trains out: real steps of its model, cut to a few layers and a small width.

What is measured is FLOP/s of the forward and backward pass, by 6 (N - Vh) + 12 L h T a token as everywhere here, and
the seconds that an update takes for a parameter, as it is done once for all micro-batches of a step. A model cut so is
not as large as its matrices would be: of wide models the whole may be somewhat faster than this says.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import torch

from pile_toolkit.core.errors import OutOfSpace
from trainer.config import ParallelConfig, resolved
from trainer.distributed import choose_device, join_world
from trainer.model import initialize, parameter_count
from trainer.optim import build_optimizer, clip_gradients
from trainer.pipeline import build_sharded
from trainer.utilization import model_flops_per_token

if TYPE_CHECKING:
    from trainer.config import Recipe

LAYERS = 2
# (widest model, most positions, most tokens of a micro-batch): a step takes about a second or less.
CPU_LIMITS = (512, 512, 512)
GPU_LIMITS = (2048, 2048, 16_384)
STEPS = 3
# Of a device so slow that a single step takes longer the first one has to do.
LONGEST_STEP_S = 3.0


class Speed(NamedTuple):
    """What one process does on its device, and how many such devices this machine has (0 GPUs: it is the processor)."""

    device: str
    gpus: int
    flop_per_s: float
    update_s_per_parameter: float
    layers: int
    hidden_size: int


def measure_speed(recipe: Recipe, *, vocab_size: int) -> Speed:
    """Trains a few steps on drawn ids. Raises OutOfSpace where the device has not the memory even for that."""
    device = choose_device(recipe.train.device)
    on_gpu = device.type == "cuda"
    recipe = cut(resolved(recipe, steps=None, vocab_size=vocab_size), *(GPU_LIMITS if on_gpu else CPU_LIMITS))
    try:
        passes_s, update_s = _steps(recipe, device)
    except torch.OutOfMemoryError as error:
        raise OutOfSpace(f"{device} has no memory for a few steps of a small model: {error}") from error
    tokens = recipe.data.micro_batch * recipe.data.sequence_length
    flops = model_flops_per_token(recipe.model, sequence_length=recipe.data.sequence_length)
    return Speed(
        device=torch.cuda.get_device_name(device) if on_gpu else "cpu",
        gpus=torch.cuda.device_count() if on_gpu else 0,
        flop_per_s=tokens * flops / passes_s,
        update_s_per_parameter=update_s / parameter_count(recipe.model),
        layers=recipe.model.layers,
        hidden_size=recipe.model.hidden_size,
    )


def cut(recipe: Recipe, widest: int, longest: int, tokens: int) -> Recipe:
    """The recipe with a model of LAYERS layers at most, bounded in width by whole heads, and in its micro-batches."""
    model, data = recipe.model, recipe.data
    heads = max(1, min(model.heads, widest // model.head_size))
    hidden_size = heads * model.head_size
    length = min(data.sequence_length, longest)
    batch = max(1, min(data.micro_batch, tokens // length))
    return msgspec.structs.replace(
        recipe,
        model=msgspec.structs.replace(
            model,
            layers=min(model.layers, LAYERS),
            heads=heads,
            hidden_size=hidden_size,
            feed_forward_size=max(1, model.feed_forward_size * hidden_size // model.hidden_size),
        ),
        data=msgspec.structs.replace(data, sequence_length=length, micro_batch=batch, global_batch=batch),
        parallel=ParallelConfig(),
        # Compiling takes longer than all that is measured here.
        train=msgspec.structs.replace(recipe.train, compile=False),
    )


def _steps(recipe: Recipe, device: torch.device) -> tuple[float, float]:
    """Median seconds of forward and backward, and of an update; the first step only warms up where there is time."""
    draw = torch.Generator().manual_seed(1)
    shape = recipe.data.micro_batch, recipe.data.sequence_length + 1
    passes, updates = [], []
    with join_world(device) as world:
        model = build_sharded(recipe, world)
        initialize(model, recipe.model, seed=1)
        optimizer = build_optimizer(model, recipe.optimizer)
        for _ in range(STEPS + 1):
            ids = torch.randint(0, recipe.model.vocab_size or 1, shape, generator=draw).to(device)
            started = _now(device)
            model(ids[:, :-1].contiguous(), ids[:, 1:].contiguous()).backward()
            passed = _now(device)
            clip_gradients(model.parameters(), recipe.optimizer.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            ended = _now(device)
            passes.append(_between(started, passed, device))
            updates.append(_between(passed, ended, device))
            if passes[-1] + updates[-1] > LONGEST_STEP_S:
                break
    return tuple(statistics.median(times[1:] or times) for times in (passes, updates))  # type: ignore[return-value]


def _now(device: torch.device) -> tuple[float, float]:
    """The clock, and the time of the processor that this process has had."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter(), time.process_time()


def _between(start: tuple[float, float], end: tuple[float, float], device: torch.device) -> float:
    """Seconds that it takes where nothing else runs: on a processor never longer than its threads have worked."""
    elapsed_s, worked_s = (later - before for before, later in zip(start, end, strict=True))
    return elapsed_s if device.type == "cuda" else min(elapsed_s, worked_s)
