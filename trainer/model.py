"""Token ids [batch, length] in, logits [batch, length, padded vocabulary] or their loss out: GPT-NeoX as trained.

x + attention(ln1(x)) + mlp(ln2(x)) with two untied LayerNorms, biases on every linear but the head, untied embedding
and head, no dropout. Initial weights are a pure function of (seed, parameter name): no layout can change them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import functional

from pile_toolkit.core.seeds import keyed
from trainer.attention import Attention, Rotary, document_mask, rotary_table
from trainer.loss import next_token_loss, token_losses

if TYPE_CHECKING:
    from trainer.config import ModelConfig


NORMAL_STD = 0.02


class FeedForward(nn.Module):
    """hidden_size -> feed_forward_size -> hidden_size around a GELU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.approximate = "tanh" if config.activation == "gelu_tanh" else "none"
        self.up = nn.Linear(config.hidden_size, config.feed_forward_size)
        self.down = nn.Linear(config.feed_forward_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.gelu(self.up(x), approximate=self.approximate))


class Block(nn.Module):
    """One layer: attention and feed-forward read the same input, each through its own LayerNorm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = Attention(config)
        self.ln2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, rotary: Rotary, mask: Tensor | None = None) -> Tensor:
        return self.compute(x, rotary, mask)

    def compute(self, x: Tensor, rotary: Rotary, mask: Tensor | None) -> Tensor:
        """What is recomputed or compiled where that is asked for (trainer/activations.py)."""
        return x + self.attention(self.ln1(x), rotary, mask) + self.mlp(self.ln2(x))


class GPTNeoX(nn.Module):
    """The whole model; `blocks` is keyed by layer number, so that a pipeline stage keeps the names of its layers.

    `reset_at` is the id after which attention begins anew, None where it reaches back to the sample's first token.
    """

    reset_at: int | None = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.padded_vocab_size, config.hidden_size)
        self.blocks = nn.ModuleDict({str(layer): Block(config) for layer in range(config.layers)})
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.padded_vocab_size, bias=False)

    def forward(
        self, ids: Tensor, targets: Tensor | None = None, *, scale: float = 1.0, per_token: bool = False
    ) -> Tensor:
        """Logits; with `targets`, the next tokens, their mean loss x `scale`, or without gradient that of each.

        Losses are computed here because here the sharded weights of the head are together.
        """
        x = self.embed(ids)
        rotary = rotary_table(self.config, ids.shape[1], device=x.device, dtype=x.dtype)
        mask = None if self.reset_at is None else document_mask(ids, self.reset_at)
        for block in self.blocks.values():
            x = block(x, rotary, mask)
        x = self.norm(x)
        if targets is None:
            return self.head(x)
        if per_token:
            return token_losses(x, self.head.weight, targets)
        return next_token_loss(x, self.head.weight, targets, scale=scale)


def build_on_meta(config: ModelConfig) -> GPTNeoX:
    """The model without memory: shard it, then `to_empty`, then `initialize` or load."""
    with torch.device("meta"):
        return GPTNeoX(config)


def parameter_count(config: ModelConfig) -> int:
    """How many parameters a model of this shape has."""
    return sum(parameter.numel() for parameter in build_on_meta(config).parameters())


def initial_std(config: ModelConfig, name: str) -> float:
    """Standard deviation of a weight matrix, by the method for the two that write to the residual stream or the other.

    small_init: Nguyen and Salazar 2019, sqrt(2 / 5h); wang_init: Wang and Komatsuzaki 2021, 2 / (L sqrt(h)); normal and
    scaled_normal: GPT-2's 0.02 and 0.02 / sqrt(2L), which gpt-neox takes where its configuration names no method.
    """
    to_residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
    method = config.output_layer_init_method if to_residual else config.init_method
    return {
        "small_init": math.sqrt(2.0 / (5.0 * config.hidden_size)),
        "wang_init": 2.0 / (config.layers * math.sqrt(config.hidden_size)),
        "normal": NORMAL_STD,
        "scaled_normal": NORMAL_STD / math.sqrt(2.0 * config.layers),
    }[method]


@torch.no_grad()
def initialize(model: nn.Module, config: ModelConfig, *, seed: int) -> None:
    """Fills every parameter, sharded or not: LayerNorms 1 and 0, biases 0, matrices normal by their own generator.

    Each rank draws the whole matrix and keeps its part, so that a weight does not depend on the number of ranks.
    """
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            value = 1.0 if name.endswith(("ln1.weight", "ln2.weight", "norm.weight")) else 0.0
            _local(parameter).fill_(value)
            continue
        generator = torch.Generator().manual_seed(keyed(seed, "initial-weights", name.encode()))
        drawn = torch.empty(parameter.shape, dtype=torch.float32)
        drawn.normal_(0.0, initial_std(config, name), generator=generator)
        if isinstance(parameter, DTensor):
            drawn = drawn.to(parameter.device)
            # src_data_rank None: every rank has drawn the same matrix, nothing need be sent.
            drawn = distribute_tensor(drawn, parameter.device_mesh, parameter.placements, src_data_rank=None).to_local()
        _local(parameter).copy_(drawn)


def _local(parameter: Tensor) -> Tensor:
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
