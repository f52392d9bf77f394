"""Logits and next tokens in, mean cross entropy in nats out, computed in float32 whatever the model's precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def next_token_loss(logits: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
    """Cross entropy of logits [batch, length, vocab] against targets [batch, length]; `none` gives one per token."""
    loss = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction=reduction)
    return loss.view_as(targets) if reduction == "none" else loss
