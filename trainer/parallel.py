"""A model on the meta device in, its FSDP2-sharded twin with memory out; a new form of parallelism is one function."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from trainer.model import build_on_meta

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from trainer.config import ModelConfig
    from trainer.distributed import World
    from trainer.model import GPTNeoX


def shard_model(model: GPTNeoX, mesh: DeviceMesh, *, precision: str) -> None:
    """Shards each block on its own, then what is left; parameters stay float32, bf16 is for computing only.

    Gradients are summed in float32, so that their mean does not lose digits with the number of ranks.
    """
    policy = MixedPrecisionPolicy()
    if precision == "bf16":
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for block in model.blocks.values():
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def build_sharded(config: ModelConfig, world: World, *, precision: str) -> GPTNeoX:
    """The model sharded over the world, its values not yet set."""
    model = build_on_meta(config)
    shard_model(model, world.mesh, precision=precision)
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
    model.set_requires_gradient_sync(last)  # type: ignore[operator]
