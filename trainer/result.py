"""A finished training, in the figures that its manifest counts and its report shows."""

from __future__ import annotations

from pile_toolkit.core.stages import StageResult


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
