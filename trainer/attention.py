"""Hidden states in, attended hidden states out: causal, rotary on the first part of each head.

The rotary table is computed once per forward pass and handed to every layer, so that no module holds a buffer that a
meta device, sharding or a checkpoint could lose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from trainer.config import ModelConfig


class Rotary(NamedTuple):
    """Cosines and sines, each [length, rotary_size]."""

    cos: Tensor
    sin: Tensor


def rotary_table(config: ModelConfig, length: int, *, device: torch.device, dtype: torch.dtype) -> Rotary:
    """The table of Su et al., RoFormer, in GPT-NeoX's half-split layout: both halves hold the same angles.

    Angles are float32 whatever the model's precision, as in transformers: a half-precision position is a wrong one.
    """
    size = config.rotary_size
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=device) / size
    positions = torch.arange(length, dtype=torch.float32, device=device)
    angles = positions[:, None] * (1.0 / config.rotary_base**exponents)[None, :]
    angles = torch.cat((angles, angles), dim=-1)
    return Rotary(angles.cos().to(dtype), angles.sin().to(dtype))


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Turns the first rotary_size dimensions of x [..., length, head_size]; the others pass."""
    size = rotary.cos.shape[-1]
    turned, passed = x[..., :size], x[..., size:]
    first, second = turned.chunk(2, dim=-1)
    turned = turned * rotary.cos + torch.cat((-second, first), dim=-1) * rotary.sin
    return torch.cat((turned, passed), dim=-1)


def document_mask(ids: Tensor, end: int) -> Tensor:
    """Which key each query sees, [batch, 1, length, length]: none after it, none before the last `end` in front of it.

    An `end` belongs to the document that it ends. Positions are not reset, as gpt-neox never does; between rotary
    positions only distances count, so that each document is attended to as if it stood alone.
    """
    ends = ids == end
    document = ends.cumsum(1) - ends.long()
    same = document[:, :, None] == document[:, None, :]
    return same.tril().unsqueeze(1)


class Attention(nn.Module):
    """Dense causal attention; queries, keys and values in one matrix laid out [heads, 3, head_size]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_size = config.head_size
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, rotary: Rotary, mask: Tensor | None = None) -> Tensor:
        # Batch, length and heads come from the product: under tensor and sequence parallelism x holds only a part.
        packed = self.qkv(x)
        batch, length, _ = packed.shape
        packed = packed.view(batch, length, -1, 3, self.head_size)
        query, key, value = packed.permute(3, 0, 2, 1, 4).unbind()
        attended = functional.scaled_dot_product_attention(
            rotate(query, rotary), rotate(key, rotary), value, attn_mask=mask, is_causal=mask is None
        )
        return self.out(attended.transpose(1, 2).reshape(batch, length, -1))
