"""A shape and a rate of tokens in, the share of a processor's peak out: work of the model and of the hardware apart.

Model FLOPs count every product once forward and twice backward, whatever is computed again, so that runs with and
without recomputation compare. Hardware FLOPs count what is done. Neither subtracts the half of the attention matrix
that a causal kernel may leave out: 6 (N - Vh) + 12 L h T a token, as in the Megatron-LM and PaLM papers.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from trainer.model import parameter_count

if TYPE_CHECKING:
    from trainer.config import ModelConfig, Recipe

# Dense half-precision peaks as the vendor states them, without sparsity, in TFLOP/s.
PEAKS = {"H200": 989.0, "H100 PCIe": 756.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "A10": 125.0, "V100": 125.0}


def model_flops_per_token(config: ModelConfig, *, sequence_length: int) -> int:
    """Forward and backward of one token; the embedding is looked up and costs none."""
    embedding = config.padded_vocab_size * config.hidden_size
    attention = 12 * config.layers * config.hidden_size * sequence_length
    return 6 * (parameter_count(config) - embedding) + attention


def recomputed_flops_per_token(config: ModelConfig, *, sequence_length: int, kind: str) -> int:
    """What `train.activation_checkpointing` does again: with "full" the forward pass of all blocks, else no product."""
    if kind != "full":
        return 0
    outside = 2 * config.padded_vocab_size * config.hidden_size
    return 2 * (parameter_count(config) - outside) + 4 * config.layers * config.hidden_size * sequence_length


def peak_flop_per_s(device: torch.device, stated_tflop: float | None) -> float | None:
    """The peak of one device, as the recipe states it or as known of the GPU; None where neither is."""
    if stated_tflop is not None:
        return stated_tflop * 1e12
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak * 1e12 for known, peak in PEAKS.items() if known in name), None)


def peak_memory_bytes(device: torch.device) -> int:
    """The most that this process has held so far: of the GPU's memory, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass(frozen=True, kw_only=True)
class Work:
    """FLOPs of a token, and the peak of all devices together where it is known."""

    model_flops: int
    hardware_flops: int
    peak_flop_per_s: float | None

    def shares(self, tokens_per_s: float) -> tuple[float | None, float | None]:
        """Model FLOP utilisation and hardware utilisation at this rate, from 0 to 1."""
        if self.peak_flop_per_s is None:
            return None, None
        rate = tokens_per_s / self.peak_flop_per_s
        return self.model_flops * rate, self.hardware_flops * rate


def work_of(recipe: Recipe, device: torch.device, *, ranks: int) -> Work:
    """The work of a recipe's tokens on so many devices of this kind."""
    length, kind = recipe.data.sequence_length, recipe.train.activation_checkpointing
    flops = model_flops_per_token(recipe.model, sequence_length=length)
    again = recomputed_flops_per_token(recipe.model, sequence_length=length, kind=kind)
    peak = peak_flop_per_s(device, recipe.train.peak_tflop_per_s)
    return Work(model_flops=flops, hardware_flops=flops + again, peak_flop_per_s=None if peak is None else peak * ranks)
