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
from trainer.tensor import split_head

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
        return self.add(x, self.attention(self.ln1(x), rotary, mask), self.mlp(self.ln2(x)))

    @staticmethod
    def add(x: Tensor, attended: Tensor, fed: Tensor) -> Tensor:
        """The sum, to which each of several tensor-parallel ranks has only a part (trainer/tensor.py)."""
        return x + attended + fed


class GPTNeoX(nn.Module):
    """The whole model, or those `layers` of it that a stage of a pipeline has, under the same names.

    The first stage has the embedding, the last one norm and head; what a stage has not is None.

    `reset_at` is the id after which attention begins anew, None where it reaches back to the sample's first token.
    """

    reset_at: int | None = None

    def __init__(self, config: ModelConfig, layers: range | None = None) -> None:
        super().__init__()
        self.config = config
        layers = range(config.layers) if layers is None else layers
        size, vocabulary = config.hidden_size, config.padded_vocab_size
        last = layers.stop == config.layers
        self.embed = nn.Embedding(vocabulary, size) if layers.start == 0 else None
        self.blocks = nn.ModuleDict({str(layer): Block(config) for layer in layers})
        self.norm = nn.LayerNorm(size, eps=config.layer_norm_eps) if last else None
        self.head = nn.Linear(size, vocabulary, bias=False) if last else None

    def forward(
        self,
        x: Tensor,
        targets: Tensor | None = None,
        *,
        ids: Tensor | None = None,
        scale: float = 1.0,
        per_token: bool = False,
    ) -> Tensor:
        """Logits of the ids `x`; with `targets`, the next tokens, their mean loss x `scale`, or that of each.

        Losses are computed here because here the sharded weights of the head are together; those of each have no
        gradient. A later stage gets hidden states for `x` and the ids beside them; one before the last returns its own.
        """
        ids = x if ids is None else ids
        if self.embed is not None:
            x = self.embed(x)
        rotary = rotary_table(self.config, ids.shape[1], device=x.device, dtype=x.dtype)
        mask = None if self.reset_at is None else document_mask(ids, self.reset_at)
        for block in self.blocks.values():
            x = block(x, rotary, mask)
        if self.norm is None or self.head is None:
            return x
        x = self.norm(x)
        if targets is None:
            return self.head(x)
        hidden, head, shard = split_head(x, self.head.weight)
        if per_token:
            return token_losses(hidden, head, targets, shard=shard)
        return next_token_loss(hidden, head, targets, scale=scale, shard=shard)


def build_on_meta(config: ModelConfig, layers: range | None = None) -> GPTNeoX:
    """The model, or some layers of it, without memory: shard it, then `to_empty`, then `initialize` or load."""
    with torch.device("meta"):
        return GPTNeoX(config, layers)


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
