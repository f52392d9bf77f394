"""Hidden states, head and next tokens in, mean cross entropy in nats out, in float32 or better.

The logits [tokens, vocabulary] never exist whole: a chunk of rows is made, its loss taken and its gradient with it, and
the memory used again. Every chunk costs passes over the head and its gradient, whatever its size, and a meeting of all
threads for each operation: many small ones, which a cache would hold, take longer than a few large ones.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.tensor import VocabularyShard

# Logits at once: on a processor some 300 rows of 50,304 ids, below which a processor waits for the head's weights.
CHUNK_LOGITS = {"cpu": 1 << 24, "cuda": 1 << 28}


def next_token_loss(
    hidden: Tensor, head: Tensor, targets: Tensor, *, scale: float = 1.0, shard: VocabularyShard | None = None
) -> Tensor:
    """`scale` x the mean cross entropy of logits hidden [batch, length, size] @ head [vocabulary, size]^T.

    `targets` are [batch, length]. Where gradients are wanted they are computed on the way, so that backward only scales
    them; those of a half precision come with `scale` in them from the start, which keeps them from vanishing.

    With a `shard` the head has those rows only: every rank gets the whole loss, and the part of the gradient of
    `hidden` that comes from its rows.
    """
    flat = hidden.flatten(0, -2)
    return _MeanLoss.apply(flat, head, targets.flatten(), scale, torch.is_grad_enabled(), shard)


@torch.no_grad()
def token_losses(hidden: Tensor, head: Tensor, targets: Tensor, *, shard: VocabularyShard | None = None) -> Tensor:
    """The cross entropy of each target [batch, length], in float32 or better."""
    flat, wanted = hidden.flatten(0, -2), targets.flatten()
    rows = _rows_at_once(flat, head)
    losses = torch.empty(len(wanted), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
    for start in range(0, len(wanted), rows):
        logits = (flat[start : start + rows] @ head.T).to(losses.dtype)
        losses[start : start + rows] = _exponentials(logits, wanted[start : start + rows], shard).losses
    return losses.view_as(targets)


def _rows_at_once(hidden: Tensor, head: Tensor) -> int:
    """Rows of a chunk: all chunks but the last are of one size, and the last is hardly smaller."""
    most = max(1, CHUNK_LOGITS[hidden.device.type] // len(head))
    return math.ceil(len(hidden) / math.ceil(len(hidden) / most))


class _Exponentials(NamedTuple):
    """Of logits [rows, vocabulary]: their losses [rows], and the sums of exp(logit - highest) [rows, 1].

    The targets' places among the logits are (row, column); where the vocabulary is sharded, `inside` is whether a
    target is one of this rank's, and those that are not have some column.
    """

    losses: Tensor
    sums: Tensor
    places: tuple[Tensor, Tensor]
    inside: Tensor | None


def _exponentials(logits: Tensor, targets: Tensor, shard: VocabularyShard | None) -> _Exponentials:
    """Puts exp(logit - highest of the row) in the place of the logits."""
    row, inside = torch.arange(len(logits), device=logits.device), None
    highest = logits.amax(1, keepdim=True)
    if shard is not None:
        dist.all_reduce(highest, dist.ReduceOp.MAX, group=shard.group)
        targets = targets - shard.first
        inside = (targets >= 0) & (targets < shard.size)
        targets = targets.clamp(0, shard.size - 1)
    picked = logits[row, targets]
    sums = logits.sub_(highest).exp_().sum(1, keepdim=True)
    if shard is not None and inside is not None:
        # What is summed over the ranks travels together: a message costs more than its bytes.
        both = torch.stack((sums.squeeze(1), picked * inside))
        dist.all_reduce(both, group=shard.group)
        sums, picked = both[0].unsqueeze(1), both[1]
    return _Exponentials((sums.log() + highest).squeeze(1) - picked, sums, (row, targets), inside)


def _losses_to_gradients(logits: Tensor, targets: Tensor, factor: float, shard: VocabularyShard | None) -> Tensor:
    """The sum of the losses of logits [rows, vocabulary], which become their gradients x `factor`."""
    found = _exponentials(logits, targets, shard)
    # d loss / d logits = softmax - one at the target
    logits.div_(found.sums / factor)
    logits[found.places] -= factor if found.inside is None else found.inside * factor
    return found.losses.sum(dtype=torch.float64)


class _MeanLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        targets: Tensor,
        scale: float,
        with_gradient: bool,
        shard: VocabularyShard | None,
    ) -> Tensor:
        count, rows = len(targets), _rows_at_once(hidden, head)
        precise = torch.promote_types(hidden.dtype, torch.float32)
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        hidden_gradient = torch.empty_like(hidden)
        # Of half-precision parts the sum is still a precise one.
        head_gradient = torch.zeros_like(head, dtype=precise) if with_gradient else None
        # One for all chunks: the system zeroes each page of a new one.
        buffer = hidden.new_empty(rows, len(head))
        for start in range(0, count, rows):
            part, wanted = hidden[start : start + rows], targets[start : start + rows]
            logits = torch.mm(part, head.T, out=buffer[: len(part)]).to(precise)
            total += _losses_to_gradients(logits, wanted, scale / count, shard)
            if head_gradient is not None:
                slope = logits.to(hidden.dtype)
                torch.mm(slope, head, out=hidden_gradient[start : start + rows])
                if precise == hidden.dtype:
                    head_gradient.addmm_(slope.T, part)
                else:
                    head_gradient += slope.T @ part
        if head_gradient is not None:
            ctx.save_for_backward(hidden_gradient, head_gradient.to(head.dtype))
        return (total / count * scale).to(precise)

    @staticmethod
    def backward(ctx: Any, *scales: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        hidden_gradient, head_gradient = ctx.saved_tensors
        return hidden_gradient * scales[0], head_gradient * scales[0], None, None, None, None
