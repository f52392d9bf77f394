"""A model and a recipe in, AdamW with GPT-NeoX's schedule out.

The learning rate is a pure function of the step, so a resumed run needs no scheduler state.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from trainer.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, *, update: int, steps: int) -> float:
    """The rate of update number `update` (from 1) out of `steps`, by gpt-neox's counting.

    Update k uses it = k - 1, and the warm-up factor is max(1, it) / warm-up: the first two updates share one rate. A
    step that fp16 skips is no update: it takes its data, and leaves the rate where it was.
    The warm-up length is not rounded to whole steps there, nor here; below one step there is none.
    """
    iteration = min(update - 1, steps)
    warmup_steps = config.warmup_fraction * steps
    if warmup_steps > 0 and iteration <= warmup_steps:
        return config.learning_rate * min(1.0, max(1, iteration) / warmup_steps)
    progress = (iteration - warmup_steps) / max(steps - warmup_steps, 1)
    span = config.learning_rate - config.min_learning_rate
    return config.min_learning_rate + span / 2 * (1 + math.cos(math.pi * progress))


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW whose weight decay spares LayerNorms and biases, that is every parameter with one dimension."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    spared = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": spared, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the next update, for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def unscale_gradients(parameters: Iterable[Tensor], scale: float) -> None:
    """Takes the loss scale out of the gradients again; they are float32 by now."""
    for parameter in parameters if scale != 1.0 else ():
        if parameter.grad is not None:
            parameter.grad.mul_(1.0 / scale)


def clip_gradients(
    parameters: Iterable[Tensor], limit: float | None, *, stages: dist.ProcessGroup | None = None
) -> float:
    """Scales all gradients so that their joint norm is at most `limit`; returns the norm before, over all ranks.

    Those that are short enough, or no numbers, are left as they are. What is on several ranks counts once. `stages` are
    the ranks of a pipeline, which have other parameters each.
    """
    given = list(parameters)
    norm = nn.utils.get_total_norm([one.grad for one in given if one.grad is not None])
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    if stages is not None:
        squares = norm.double() ** 2
        dist.all_reduce(squares, group=stages)
        norm = squares.sqrt().to(norm.dtype)
    length = float(norm)
    # As torch's clip_grad_norm_ has it: by limit / (norm + 1e-6), where that is less than 1.
    if limit is not None and math.isfinite(length) and length + 1e-6 > limit:
        nn.utils.clip_grads_with_norm_(given, limit, norm)
    return length
