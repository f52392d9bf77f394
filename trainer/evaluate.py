"""Held-out samples in, mean loss and bits per byte out; the same samples every time, whatever the number of ranks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainer.data import load_batch
from trainer.metrics import ComponentLoss, ValidationMetrics
from trainer.mixture import target_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainer.data import HeldOut
    from trainer.distributed import World
    from trainer.mixture import Components
    from trainer.pipeline import Parts


@torch.no_grad()
def validate(
    model: Parts, held_out: HeldOut, world: World, *, step: int, micro_batch: int, vocab_size: int
) -> ValidationMetrics:
    """The mean loss over every token of the held-out samples, and over those of each component where it is known.

    Bits per byte are those of all tokens, ends of text among them, per byte of text, of which an end has none.
    """
    sums = _sums(model, held_out, world, micro_batch=micro_batch, vocab_size=vocab_size)
    sums = np.array(world.sum(*sums.flatten().tolist())).reshape(sums.shape)
    loss_sum, tokens = sums.sum(axis=0)
    loss = float(loss_sum / tokens)
    found = _by_component(sums, held_out.components) if held_out.components else {}
    mixed = _mixed(found, held_out.components) if held_out.components else (None, None, None)
    return ValidationMetrics(
        step=step,
        validation_loss=loss,
        validation_tokens=int(tokens),
        validation_bits_per_byte=_bits_per_byte(loss, held_out.bytes_per_token),
        components=found,
        mixture_loss=mixed[0],
        mixture_bits_per_byte=mixed[1],
        mixture_share=mixed[2],
    )


def _sums(model: Parts, held_out: HeldOut, world: World, *, micro_batch: int, vocab_size: int) -> NDArray[np.float64]:
    """Loss and number of this rank's tokens, one row for each component, or one for all."""
    count, at_once = held_out.count, micro_batch * world.layout.data
    sums = np.zeros((len(held_out.components.names) if held_out.components else 1, 2))
    for start in range(0, count, at_once):
        first = start + world.data_rank * micro_batch
        mine = range(first, min(first + micro_batch, count))
        # Every rank runs the model equally often, because sharded layers gather from all; a rank without a sample
        # runs the first one and does not count it.
        inputs, targets = load_batch(held_out.samples, mine or range(1), vocab_size=vocab_size)
        losses = model.token_losses(inputs.to(world.device), targets.to(world.device))
        # Tensor-parallel ranks know the same losses, of a pipeline only the last any.
        if mine and losses is not None and world.mesh.get_local_rank("tensor") == 0:
            values = losses.double().cpu().numpy().ravel()
            owners = np.zeros(len(values), np.int64)
            if held_out.components:
                owners = target_components(held_out.samples, mine).ravel()  # type: ignore[arg-type]
            sums[:, 0] += np.bincount(owners, weights=values, minlength=len(sums))
            sums[:, 1] += np.bincount(owners, minlength=len(sums))
    return sums


def _by_component(sums: NDArray[np.float64], components: Components) -> dict[str, ComponentLoss]:
    found = {}
    for name, (loss_sum, tokens) in zip(components.names, sums.tolist(), strict=True):
        if tokens:
            loss = loss_sum / tokens
            bits = _bits_per_byte(loss, components.bytes_per_token.get(name))
            found[name] = ComponentLoss(loss=loss, tokens=int(tokens), bits_per_byte=bits)
    return found


def _mixed(found: dict[str, ComponentLoss], components: Components) -> tuple[float | None, float | None, float | None]:
    """Loss and bits per byte of text in the proportions of training, and the share of training that was measured."""
    shares = {name: components.shares[name] for name in found if name in components.shares}
    covered = sum(shares.values())
    if not covered:
        return None, None, None
    loss = sum(share * found[name].loss for name, share in shares.items()) / covered
    bytes_per_token = sum(share * components.bytes_per_token[name] for name, share in shares.items()) / covered
    return loss, _bits_per_byte(loss, bytes_per_token), covered


def _bits_per_byte(loss: float, bytes_per_token: float | None) -> float | None:
    return loss / math.log(2) / bytes_per_token if bytes_per_token else None
