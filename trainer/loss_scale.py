"""Steps with and without an overflow in, the factor on the next loss out: the dynamic loss scale of fp16.

By DeepSpeed's counting, with which GPT-NeoX-20B was trained: the scale doubles after every `window` steps since the
last overflow, and is halved by an overflow once `hysteresis` - 1 others were let pass since it last grew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from trainer.config import LossScaleConfig


class LossScale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The scale of the next step, as a checkpoint keeps it: `steps` so far, overflows of which `passes` go unpunished.

    `last_overflow` counts steps from 0 and is -1 where there was none.
    """

    scale: float
    passes: int
    steps: int = 0
    last_overflow: int = -1


def first_scale(config: LossScaleConfig) -> LossScale:
    """The scale of the first step."""
    return LossScale(scale=2.0**config.initial_scale_power, passes=config.hysteresis - 1)


def next_scale(state: LossScale, config: LossScaleConfig, *, overflow: bool) -> LossScale:
    """The scale after a step. Raises UsageError where an overflow asks for less than the smallest scale."""
    scale, passes, last = state.scale, state.passes, state.last_overflow
    if overflow:
        last = state.steps
        if passes:
            passes -= 1
        elif scale <= config.minimum:
            raise UsageError(
                f"fp16 overflows at the smallest loss scale, {config.minimum:g}",
                hint="train.precision=bf16, or a lower optimizer.learning_rate",
            )
        else:
            scale = max(scale / 2, config.minimum)
    elif (state.steps - last) % config.window == 0:
        scale, passes = scale * 2, config.hysteresis - 1
    return LossScale(scale=scale, passes=passes, steps=state.steps + 1, last_overflow=last)
