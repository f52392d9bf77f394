"""Held-out samples in, mean loss and bits per byte out; the same samples every time, whatever the number of ranks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from trainer.data import load_batch
from trainer.metrics import ValidationMetrics

if TYPE_CHECKING:
    from torch import nn

    from trainer.data import HeldOut
    from trainer.distributed import World


@torch.no_grad()
def validate(
    model: nn.Module, held_out: HeldOut, world: World, *, step: int, micro_batch: int, vocab_size: int
) -> ValidationMetrics:
    """The mean loss over every token of the held-out samples.

    Bits per byte are those of all tokens, ends of text among them, per byte of text, of which an end has none.
    """
    count, at_once = held_out.count, micro_batch * world.size
    loss_sum, tokens = 0.0, 0
    for start in range(0, count, at_once):
        first = start + world.rank * micro_batch
        mine = range(first, min(first + micro_batch, count))
        # Every rank runs the model equally often, because sharded layers gather from all; a rank without a sample
        # runs the first one and does not count it.
        inputs, targets = load_batch(held_out.samples, mine or range(1), vocab_size=vocab_size)
        loss = model(inputs.to(world.device), targets.to(world.device)).item()
        if mine:
            loss_sum += loss * targets.numel()
            tokens += targets.numel()
    loss_sum, token_sum = world.sum(loss_sum, tokens)
    loss = loss_sum / token_sum
    bits_per_byte = loss / math.log(2) / held_out.bytes_per_token if held_out.bytes_per_token else None
    return ValidationMetrics(
        step=step, validation_loss=loss, validation_tokens=int(token_sum), validation_bits_per_byte=bits_per_byte
    )
