"""The dynamic loss scale and the schedule under it are DeepSpeed's, over thousands of steps with overflows anywhere."""

from __future__ import annotations

import math
import random

import pytest

from pile_toolkit.core.errors import UsageError
from trainer.config import LossScaleConfig, OptimizerConfig
from trainer.loss_scale import first_scale, next_scale
from trainer.optim import learning_rate


class Twin:
    """DeepSpeed's DynamicLossScaler with its defaults for gpt-neox, and its engine's way with a scheduler.

    After an overflow neither the optimizer nor the scheduler of gpt-neox (AnnealingLR) moves on.
    """

    def __init__(self, *, power: int, window: int, hysteresis: int, lowest: float, steps: int) -> None:
        self.scale, self.window, self.shift, self.lowest = 2.0**power, window, hysteresis, lowest
        self.hysteresis, self.iteration, self.last_overflow = hysteresis, 0, -1
        self.steps, self.iterations_of_schedule = steps, 0

    def rate(self) -> float:
        warmup, iteration = 0.01 * self.steps, self.iterations_of_schedule
        if iteration <= warmup:
            return 0.97e-4 * max(1, iteration) / warmup
        done = (iteration - warmup) / (self.steps - warmup)
        return 0.97e-5 + (0.97e-4 - 0.97e-5) / 2 * (math.cos(math.pi * done) + 1)

    def step(self, *, overflow: bool) -> None:
        if overflow:
            if self.shift == 1 or self.hysteresis == 1:
                if self.scale == self.lowest:
                    raise RuntimeError("already at minimum")
                self.scale = max(self.scale / 2, self.lowest)
            else:
                self.hysteresis -= 1
            self.last_overflow = self.iteration
        else:
            self.iterations_of_schedule += 1
            if (self.iteration - self.last_overflow) % self.window == 0:
                self.hysteresis = self.shift
                self.scale *= 2
        self.iteration += 1


@pytest.mark.parametrize("seed", range(5))
def test_scale_and_schedule_are_deepspeeds_over_2000_steps(seed):
    choice = random.Random(seed)
    # As the 20B was trained in the first case; a short window, which is met often, in the others.
    window, hysteresis = (1000, 2) if seed == 0 else (choice.randint(1, 30), choice.randint(1, 4))
    chance = 0.002 if seed == 0 else 0.05
    config = LossScaleConfig(window=window, hysteresis=hysteresis)
    schedule = OptimizerConfig(learning_rate=0.97e-4, min_learning_rate=0.97e-5)
    twin = Twin(power=12, window=window, hysteresis=hysteresis, lowest=1.0, steps=2000)
    state, updates, seen = first_scale(config), 0, set()
    for _ in range(2000):
        assert state.scale == twin.scale
        assert learning_rate(schedule, update=updates + 1, steps=2000) == pytest.approx(twin.rate(), rel=1e-12)
        overflow = choice.random() < chance and twin.scale > 1.0
        state, updates = next_scale(state, config, overflow=overflow), updates + (not overflow)
        twin.step(overflow=overflow)
        seen.add(overflow)
    assert seen == {True, False}
    assert updates == twin.iterations_of_schedule < 2000


def test_without_an_overflow_the_scale_doubles_after_each_window():
    config = LossScaleConfig(window=1000)
    state, scales = first_scale(config), []
    for _ in range(2001):
        scales.append(state.scale)
        state = next_scale(state, config, overflow=False)
    # The step after 1000 clean ones is the first with the doubled scale.
    assert (scales[0], scales[999], scales[1000], scales[1999], scales[2000]) == (4096, 4096, 8192, 8192, 16_384)


def test_the_first_overflow_passes_and_the_second_halves():
    config = LossScaleConfig(window=3)
    state = first_scale(config)
    scales = []
    for overflow in (True, True, True, False, False, False, True, True):
        state = next_scale(state, config, overflow=overflow)
        scales.append(state.scale)
    assert scales == [4096, 2048, 1024, 1024, 1024, 2048, 2048, 1024]


def test_an_overflow_at_the_smallest_scale_ends_with_a_hint():
    config = LossScaleConfig(initial_scale_power=1, minimum=1.0)
    state = first_scale(config)
    for _ in range(2):
        state = next_scale(state, config, overflow=True)
    assert state.scale == 1.0
    with pytest.raises(UsageError, match="overflows at the smallest loss scale, 1") as error:
        next_scale(state, config, overflow=True)
    assert "train.precision=bf16" in error.value.hint
