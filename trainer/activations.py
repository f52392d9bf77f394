"""A model in, the same model with less memory or faster blocks out: recomputed activations, torch.compile.

Both replace what a block computes and neither its modules, so that parameters keep their names, and sharding, which
gathers a block's weights around the whole of it, is not recomputed or traced.
"""

from __future__ import annotations

import functools
import os
import shutil
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trainer.model import Block, GPTNeoX

# Worth keeping: all that costs more than a pass over memory. What remains are norms, GELUs, rotations and sums.
_KEPT = frozenset(
    getattr(torch.ops.aten, name)
    for name in (
        "mm",
        "addmm",
        "bmm",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
    )
)


def recompute_activations(model: GPTNeoX, kind: str) -> None:
    """Keeps of every block's activations all ("none"), those of products and attention, or only its input ("full")."""
    if kind == "none":
        return
    options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    if kind == "selective":
        options["context_fn"] = functools.partial(create_selective_checkpoint_contexts, _policy)
    for block in _blocks(model):
        block.compute = functools.partial(checkpoint, block.compute, **options)  # type: ignore[method-assign]


def _policy(_context: Any, operation: Any, *_arguments: Any, **_options: Any) -> CheckpointPolicy:
    kept = getattr(operation, "overloadpacket", operation) in _KEPT
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


def compile_blocks(model: GPTNeoX) -> None:
    """Compiles what each block computes; all blocks share one compilation, being of one shape."""
    for block in _blocks(model):
        block.compute = torch.compile(block.compute, fullgraph=True)  # type: ignore[method-assign]


def refuse_what_does_not_compile(device: torch.device, precision: str) -> None:
    """Raises UsageError where torch.compile could only fail, in the middle of the first step and at length."""
    hint = "train.compile=false"
    if device.type == "cpu" and precision != "fp32":
        # torch 2.13 writes C++ for AVX-512 that declares a bf16 vector twice.
        raise UsageError(f"torch does not compile {precision} blocks for processors", hint=hint)
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "c++", "clang++"))):
        raise UsageError("train.compile needs a C++ compiler, and there is none", hint=hint)


def _blocks(model: GPTNeoX) -> Iterable[Block]:
    return cast("Iterable[Block]", model.blocks.values())
