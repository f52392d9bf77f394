"""What a report says of trainings, as plain data: a part of `reports/report.json`."""

from __future__ import annotations

import msgspec


class LossPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Steps `first_step` to `last_step`: mean loss, and of the last the learning rate and, in fp16, the loss scale.

    `grad_norm` is the mean of those that are numbers, None where all of `skipped` steps overflowed.
    """

    first_step: int
    last_step: int
    loss: float
    learning_rate: float
    grad_norm: float | None
    loss_scale: float | None
    skipped: int


class ComponentPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The loss on the held-out tokens of one component."""

    loss: float
    tokens: int
    bits_per_byte: float | None


class ValidationPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The loss on held-out text after `step` updates: of all of it, of each component, and in training's proportions.

    `mixture_share` is how much of the training is of components that were measured.
    """

    step: int
    loss: float
    bits_per_byte: float | None
    mixture_loss: float | None
    mixture_bits_per_byte: float | None
    mixture_share: float | None
    components: dict[str, ComponentPoint]


class EpochPoint(msgspec.Struct, frozen=True, kw_only=True):
    """With `step` the tokens of the shards were read `epochs` times."""

    step: int
    epochs: int


class TimingPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Steps `first_step` to `last_step`: medians of what the clock said, utilisation None without a known peak.

    `memory_bytes` is the most that was held until the last.
    """

    first_step: int
    last_step: int
    tokens_per_s: float
    mfu: float | None
    hardware_utilisation: float | None
    memory_bytes: int | None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A finished training; losses are nats per token, `tokens_per_s` the median over its steps."""

    name: str
    recipe: str
    recipe_toml: str
    parameters: int
    steps: int
    tokens: int
    first_loss: float
    last_loss: float
    validation_loss: float | None
    validation_bits_per_byte: float | None
    tokens_per_s: float
    elapsed_s: float
    losses: list[LossPoint]
    validations: list[ValidationPoint]
    epochs: list[EpochPoint]
    timings: list[TimingPoint]
