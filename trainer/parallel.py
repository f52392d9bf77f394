"""A model on the meta device in, its FSDP2-sharded twin with memory out; a new form of parallelism is one function.

One rank that computes in float32 has nothing to gather, to sum or to round: its model stays as it is, which saves a
copy of all parameters and two of all gradients a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from trainer.activations import compile_blocks, recompute_activations, refuse_what_does_not_compile
from trainer.model import build_on_meta

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from trainer.config import Recipe
    from trainer.distributed import World
    from trainer.model import GPTNeoX


HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def shard_model(model: GPTNeoX, mesh: DeviceMesh, *, precision: str) -> None:
    """Shards each block on its own, then what is left; parameters stay float32, half precisions are for computing only.

    Gradients are summed in float32, over micro-batches and ranks, so that no digits are lost with their number.
    """
    policy = MixedPrecisionPolicy()
    if precision in HALF:
        policy = MixedPrecisionPolicy(param_dtype=HALF[precision], reduce_dtype=torch.float32)
    for block in model.blocks.values():
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def build_sharded(recipe: Recipe, world: World) -> GPTNeoX:
    """The model sharded over the world where it has to be, its values not yet set."""
    train = recipe.train
    model = build_on_meta(recipe.model)
    model.reset_at = recipe.attention.eod_id if recipe.attention.reset_at_eod else None
    recompute_activations(model, train.activation_checkpointing)
    if train.compile:
        refuse_what_does_not_compile(world.device, train.precision)
        compile_blocks(model)
    if world.size > 1 or train.precision in HALF:
        shard_model(model, world.mesh, precision=train.precision)
    model.to_empty(device=world.device)
    return model


def reshard(model: GPTNeoX) -> None:
    """Puts the sharded parameters back in their places.

    A forward pass without a backward leaves the outermost group gathered; `parameters()` would then give tensors that
    the optimizer does not know.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def accumulate(model: GPTNeoX, *, last: bool) -> None:
    """Gradients travel between the ranks once a step, with the last micro-batch."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
