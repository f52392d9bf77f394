"""The schedule and AdamW equal their definitions, written out in plain Python."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trainer.config import ModelConfig, OptimizerConfig
from trainer.model import GPTNeoX
from trainer.optim import build_optimizer, clip_gradients, learning_rate, set_learning_rate


def gpt_neox_rate(update: int, *, steps: int, warmup: float, high: float, low: float) -> float:
    iteration = update - 1
    if iteration <= warmup * steps:
        return high * max(1, iteration) / (warmup * steps)
    return low + (high - low) / 2 * (1 + math.cos(math.pi * (iteration - warmup * steps) / (steps - warmup * steps)))


def test_the_schedule_is_gpt_neoxs_over_2000_steps():
    config = OptimizerConfig(learning_rate=0.97e-4, min_learning_rate=0.97e-5)
    for update in range(1, 2001):
        expected = gpt_neox_rate(update, steps=2000, warmup=0.01, high=0.97e-4, low=0.97e-5)
        assert learning_rate(config, update=update, steps=2000) == pytest.approx(expected, rel=1e-12)


def test_the_20b_schedule_has_its_known_points():
    config = OptimizerConfig(learning_rate=0.97e-4, min_learning_rate=0.97e-5)
    rate = {k: learning_rate(config, update=k, steps=150_000) for k in (1, 2, 3, 1501, 1502, 75_751, 150_000, 150_001)}
    assert rate[1] == rate[2] == pytest.approx(0.97e-4 / 1500)
    assert rate[3] == pytest.approx(2 * rate[2])
    assert rate[1501] == pytest.approx(0.97e-4)
    assert rate[1502] < rate[1501]
    assert rate[75_751] == pytest.approx((0.97e-4 + 0.97e-5) / 2)  # Half way between 1,500 and 150,000.
    assert rate[150_000] == pytest.approx(0.97e-5, rel=1e-6)
    assert rate[150_001] == 0.97e-5


@pytest.mark.parametrize("steps", [1, 2, 50, 99])
def test_a_warmup_shorter_than_a_step_never_exceeds_the_highest_rate(steps):
    for fraction in (0.0, 0.01, 1.0):
        config = OptimizerConfig(learning_rate=1e-3, min_learning_rate=1e-4, warmup_fraction=fraction)
        rates = [learning_rate(config, update=update, steps=steps) for update in range(1, steps + 1)]
        assert all(0 < rate <= 1e-3 for rate in rates)


class PlainAdamW:
    """Loshchilov and Hutter, algorithm 2, one number at a time."""

    def __init__(self, values: list[float], *, decay: float, betas: tuple[float, float], eps: float) -> None:
        self.values, self.decay, self.betas, self.eps = values, decay, betas, eps
        self.first, self.second, self.count = [0.0] * len(values), [0.0] * len(values), 0

    def step(self, gradients: list[float], rate: float) -> None:
        self.count += 1
        b1, b2 = self.betas
        for i, gradient in enumerate(gradients):
            self.values[i] -= rate * self.decay * self.values[i]
            self.first[i] = b1 * self.first[i] + (1 - b1) * gradient
            self.second[i] = b2 * self.second[i] + (1 - b2) * gradient * gradient
            mean = self.first[i] / (1 - b1**self.count)
            square = self.second[i] / (1 - b2**self.count)
            self.values[i] -= rate * mean / (math.sqrt(square) + self.eps)


def test_fifty_clipped_updates_equal_plain_python():
    config = OptimizerConfig(learning_rate=0.1, min_learning_rate=0.01, weight_decay=0.1, clip_norm=1.0)
    torch.manual_seed(1)
    model = nn.Linear(3, 2, dtype=torch.float64)
    optimizer = build_optimizer(model, config)
    twins = [
        PlainAdamW(p.flatten().tolist(), decay=decay, betas=config.betas, eps=config.eps)
        for p, decay in ((model.weight, 0.1), (model.bias, 0.0))
    ]
    norms = []
    for update in range(1, 51):
        rate = learning_rate(config, update=update, steps=50)
        size = 0.1 if update % 2 else 1.0
        gradients = [size * torch.randn_like(parameter) for parameter in (model.weight, model.bias)]
        for parameter, gradient in zip((model.weight, model.bias), gradients, strict=True):
            parameter.grad = gradient.clone()
        flat = [gradient.flatten().tolist() for gradient in gradients]
        norm = math.sqrt(sum(value * value for values in flat for value in values))
        assert clip_gradients(model.parameters(), config.clip_norm) == pytest.approx(norm, rel=1e-12)
        scale = min(1.0, 1.0 / (norm + 1e-6))
        set_learning_rate(optimizer, rate)
        optimizer.step()
        for twin, values in zip(twins, flat, strict=True):
            twin.step([value * scale for value in values], rate)
        norms.append(norm)
    assert min(norms) < 1.0 < max(norms)  # Both branches of clipping were taken.
    assert model.weight.flatten().tolist() == pytest.approx(twins[0].values, rel=1e-9)
    assert model.bias.flatten().tolist() == pytest.approx(twins[1].values, rel=1e-9)


def test_weight_decay_spares_layer_norms_and_biases():
    config = ModelConfig(layers=1, hidden_size=32, heads=2, feed_forward_size=64, vocab_size=10)
    model = GPTNeoX(config)
    optimizer = build_optimizer(model, OptimizerConfig(learning_rate=1e-3, min_learning_rate=0, weight_decay=0.1))
    decayed, spared = optimizer.param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert {names[id(p)] for p in spared["params"]} == {
        name for name in names.values() if name.endswith(".bias") or "ln" in name or name.startswith("norm.")
    }
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_without_a_limit_gradients_stay_as_they_are():
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([30.0, 40.0])
    assert clip_gradients([parameter], None) == pytest.approx(50.0)
    assert parameter.grad.tolist() == [30.0, 40.0]


@pytest.mark.parametrize(("gradient", "norm"), [([0.3, 0.4], 0.5), ([math.inf, 1.0], math.inf)])
def test_gradients_that_are_short_enough_or_no_numbers_are_not_touched(gradient, norm):
    parameter, without = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor(gradient)
    version = parameter.grad._version
    assert clip_gradients(iter([parameter, without]), 1.0) == pytest.approx(norm)
    assert parameter.grad._version == version
    assert parameter.grad.tolist() == torch.tensor(gradient).tolist()


@pytest.mark.parametrize("length", [0.5, 1.0 - 2e-6, 1.0 - 5e-7, 1.0, 3.0])
def test_clipping_is_torchs_to_the_last_bit(length):
    found, expected = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    for one in (found, expected):
        one.grad = torch.tensor([0.6, 0.0, 0.8]) * length
    norm = clip_gradients([found], 1.0)
    assert norm == nn.utils.clip_grad_norm_([expected], 1.0).item()
    assert torch.equal(found.grad, expected.grad)
