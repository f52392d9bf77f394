"""Fifty steps in each precision are those of a plain loop: rounded weights, float32 sums, clipping, AdamW, skips."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.distributed.tensor import DTensor
from torch.nn import functional

from shards.phases import Phases
from tests.trainer.test_loss_scale import Twin
from tests.trainer.test_optim import PlainAdamW
from trainer.config import resolved
from trainer.data import load_batch, offered_phase
from trainer.distributed import deterministic_algorithms, join_world
from trainer.model import GPTNeoX, initialize
from trainer.optim import learning_rate
from trainer.train import prepare

VOCAB_SIZE, STEPS = 300, 50
CPU = torch.device("cpu")
SHAPE = {"model.hidden_size": 8, "model.heads": 1, "model.feed_forward_size": 16, "model.layers": 1}
# 2^26 overflows at once, and a window of 5 makes the scale come back to where it does.
SCALE = {"loss_scale.initial_scale_power": 26, "loss_scale.window": 5}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.fixture
def job(request, tiny_recipe, token_shards, tmp_path):
    """A training of 50 steps in the precision of the test, ready for its first step."""
    recipe = tiny_recipe(SHAPE | SCALE | {"train.precision": request.param, "train.steps": STEPS})
    recipe = resolved(recipe, steps=None, vocab_size=VOCAB_SIZE)
    phases = Phases(phases=(offered_phase(token_shards / "train", recipe.data, steps=STEPS),))
    with join_world(CPU) as world, deterministic_algorithms(CPU):
        made = prepare(recipe, {}, phases, None, run=tmp_path, world=world, cache_dir=tmp_path)
        initialize(made.model, recipe.model, seed=1)
        yield made
        made.writer.close()
        made.log.close()


def weights(job) -> dict[str, torch.Tensor]:
    return {name: whole(p.detach()).clone() for name, p in job.model.named_parameters()}


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor that one rank may have sharded: in float32 it has not."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def plain_gradients(job, step: int, scale: float) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and scaled gradients by torch alone: weights rounded once, micro-batches summed in float32."""
    model = GPTNeoX(job.recipe.model)
    model.load_state_dict(weights(job))
    model.to(TYPES[job.recipe.train.precision])
    sums = {name: torch.zeros(p.shape) for name, p in model.named_parameters()}
    losses = []
    for numbers in job.plan.micro_batches(step):
        inputs, targets = load_batch(job.samples, numbers, vocab_size=VOCAB_SIZE)
        loss = functional.cross_entropy(model(inputs).flatten(0, 1).float(), targets.flatten())
        model.zero_grad()
        (loss * (scale / 4)).backward()
        losses.append(loss.item())
        for name, parameter in model.named_parameters():
            sums[name] += parameter.grad.float()
    return sum(losses) / 4, sums


@pytest.mark.parametrize("job", ["fp32", "bf16", "fp16"], indirect=True)
def test_fifty_steps_are_those_of_a_plain_loop(job):
    optimizer, precision = job.recipe.optimizer, job.recipe.train.precision
    scaler = Twin(power=26, window=5, hysteresis=2, lowest=1.0, steps=STEPS)
    start = weights(job)
    twins = {
        name: PlainAdamW(value.flatten().tolist(), decay=0.01 * (value.ndim > 1), betas=optimizer.betas, eps=1e-8)
        for name, value in start.items()
    }
    taken: dict[str, torch.Tensor] = {}

    def take(*_):
        taken.update({name: whole(p.grad).clone() for name, p in job.model.named_parameters()})

    job.optimizer.register_step_pre_hook(take)
    updates, skipped = 0, []
    tolerance = {"fp32": 1e-5, "bf16": 2e-3, "fp16": 1e-3}[precision]
    for step in range(1, STEPS + 1):
        scale = scaler.scale if precision == "fp16" else 1.0
        loss, gradients = plain_gradients(job, step, scale)
        before = copy.deepcopy(weights(job))
        taken.clear()
        metrics = job.update(step)
        overflow = precision == "fp16" and any(not g.isfinite().all() for g in gradients.values())
        assert metrics.skipped == overflow
        assert metrics.loss_scale == (scale if precision == "fp16" else None)
        assert metrics.loss == pytest.approx(loss, rel=tolerance)
        rate = learning_rate(optimizer, update=updates + 1, steps=STEPS)
        assert metrics.learning_rate == rate
        scaler.step(overflow=overflow)
        if overflow:
            skipped.append(step)
            assert not taken
            assert all(torch.equal(value, before[name]) for name, value in weights(job).items())
            continue
        updates += 1
        flat = torch.cat([gradients[name].flatten() for name in twins]).double() / scale
        norm = math.sqrt(math.fsum(value * value for value in flat.tolist()))
        assert metrics.grad_norm == pytest.approx(norm, rel=tolerance)
        clipped = min(1.0, 1.0 / (norm + 1e-6)) / scale
        for name, twin in twins.items():
            allowed = tolerance * max(gradients[name].abs().max().item() * clipped, 1e-4)
            torch.testing.assert_close(taken[name], gradients[name] * clipped, rtol=tolerance, atol=allowed)
            # By the gradients that were taken: noise in a tiny one would become a whole step of AdamW.
            twin.step(taken[name].flatten().tolist(), rate)
    assert job.updates == updates == STEPS - len(skipped)
    assert bool(skipped) == (precision == "fp16")
    for name, value in weights(job).items():
        assert value.dtype == torch.float32
        assert value.flatten().tolist() == pytest.approx(twins[name].values, rel=1e-4, abs=1e-6)
        assert not torch.equal(value, start[name])
    if precision == "fp16":
        assert len(skipped) > 4
        assert min(skipped) == 1
        # The scale came back to where it overflows.
        assert max(skipped) > 10
