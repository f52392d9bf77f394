"""A recipe and a layout in, the parameters of a rank and the bytes of its activations out: formulas, no torch.

They follow trainer/model.py, tensor.py and activations.py; tests hold them against the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from trainer.layout import stage_layers

if TYPE_CHECKING:
    from trainer.config import ModelConfig, Recipe
    from trainer.layout import Layout

# Highest id + 1 of the tokenizer of GPT-NeoX-20B, for recipes that take it from the token shards.
ASSUMED_VOCAB_SIZE = 50_277
# Bytes of a float32.
FULL = 4
# trainer/loss.py's number of logits at once on a GPU; a test holds them together.
CHUNK_LOGITS = 1 << 28


def with_vocabulary(recipe: Recipe) -> Recipe:
    """The recipe, with the vocabulary of GPT-NeoX-20B where it leaves that to the token shards."""
    if recipe.model.vocab_size is not None:
        return recipe
    model = msgspec.structs.replace(recipe.model, vocab_size=ASSUMED_VOCAB_SIZE)
    return msgspec.structs.replace(recipe, model=model)


def block_parameters(model: ModelConfig, tensor: int = 1) -> int:
    """Of one layer on one of `tensor` ranks; LayerNorms and the biases of row-wise matrices are on each."""
    h, f = model.hidden_size, model.feed_forward_size
    cut = 3 * h * (h + 1) + h * h + f * (h + 1) + f * h
    return cut // tensor + 6 * h


def vocabulary_parameters(model: ModelConfig, tensor: int = 1) -> int:
    """Of embedding or head on one of `tensor` ranks."""
    return model.padded_vocab_size * model.hidden_size // tensor


def parameter_count(model: ModelConfig) -> int:
    """Of the whole model."""
    return model.layers * block_parameters(model) + 2 * vocabulary_parameters(model) + 2 * model.hidden_size


def flops_per_token(model: ModelConfig, length: int) -> int:
    """Forward and backward, 6 (N - Vh) + 12 L h T, as trainer/utilization.py counts them."""
    attention = 12 * model.layers * model.hidden_size * length
    return 6 * (parameter_count(model) - vocabulary_parameters(model)) + attention


def recomputed_flops_per_token(model: ModelConfig, length: int, kind: str) -> int:
    """The second forward pass of all blocks under "full"; other kinds do no product again."""
    if kind != "full":
        return 0
    outside = 2 * vocabulary_parameters(model)
    return 2 * (parameter_count(model) - outside) + 4 * model.layers * model.hidden_size * length


@dataclass(frozen=True, kw_only=True)
class Part:
    """Consecutive layers that a rank has: of the whole model, or a stage of the pipeline."""

    layers: int
    is_first: bool
    is_last: bool


@dataclass(frozen=True, kw_only=True)
class RankSizes:
    """What the rank of pipeline place `place` has and makes; bytes unless they are called parameters."""

    recipe: Recipe
    layout: Layout
    place: int

    @cached_property
    def parts(self) -> list[Part]:
        """The stages of this rank in their order."""
        ranks, each = self.layout.pipeline, self.recipe.parallel.stages_per_rank
        stages = ranks * each
        found = []
        for stage in (self.place + ranks * turn for turn in range(each)):
            layers = stage_layers(self.recipe.model.layers, stage, stages)
            found.append(Part(layers=len(layers), is_first=stage == 0, is_last=stage == stages - 1))
        return found

    @cached_property
    def micro_batches(self) -> int:
        """Of one step."""
        return self.recipe.data.global_batch // (self.recipe.data.micro_batch * self.layout.data)

    @cached_property
    def precision_bytes(self) -> int:
        """Of one number that is computed with."""
        return FULL if self.recipe.train.precision == "fp32" else 2

    @cached_property
    def block(self) -> int:
        """Parameters of a layer."""
        return block_parameters(self.recipe.model, self.layout.tensor)

    @cached_property
    def vocabulary(self) -> int:
        """Parameters of embedding or head."""
        return vocabulary_parameters(self.recipe.model, self.layout.tensor)

    def outside(self, part: Part) -> int:
        """Parameters of a part that are in no layer: FSDP gathers them together."""
        norm = 2 * self.recipe.model.hidden_size
        return (self.vocabulary if part.is_first else 0) + (self.vocabulary + norm if part.is_last else 0)

    @cached_property
    def parameters(self) -> int:
        """All of this rank, before they are sharded."""
        return sum(part.layers * self.block + self.outside(part) for part in self.parts)

    @cached_property
    def tokens(self) -> int:
        """Of one micro-batch."""
        return self.recipe.data.micro_batch * self.recipe.data.sequence_length

    @cached_property
    def hidden(self) -> int:
        """Hidden states of a micro-batch at all positions; a tensor-parallel rank often has its positions only."""
        return self.tokens * self.recipe.model.hidden_size * self.precision_bytes

    @cached_property
    def hidden_part(self) -> int:
        """Hidden states at this rank's positions."""
        return self.hidden // self.layout.tensor

    @cached_property
    def up(self) -> int:
        """What leaves the first matrix of the feed-forward."""
        model = self.recipe.model
        return self.hidden_part * model.feed_forward_size // model.hidden_size

    @cached_property
    def up_parameters(self) -> int:
        """Of the largest matrix of a layer."""
        return self.recipe.model.hidden_size * self.recipe.model.feed_forward_size // self.layout.tensor

    @cached_property
    def whole_layer(self) -> int:
        """What autograd keeps of a layer whose activations are all kept.

        The input, read by both LayerNorms, with their means and deviations; at all positions what they give to the
        first matrices; queries, keys and values in one tensor and turned queries and keys; what was attended to and
        the logarithms of its sums; feed-forward before and after the GELU.
        """
        heads = self.recipe.model.heads // self.layout.tensor
        statistics = 4 * FULL * self.tokens // self.layout.tensor + FULL * self.tokens * heads
        return 7 * self.hidden_part + 2 * self.hidden + 2 * self.up + statistics

    @cached_property
    def kept_layer(self) -> int:
        """What is kept of a layer until its backward pass, by `train.activation_checkpointing`."""
        kind = self.recipe.train.activation_checkpointing
        if kind == "none":
            return self.whole_layer
        if kind == "full":
            return self.hidden_part
        # Input, the outputs of four products (two of them partial sums at all positions), attention.
        heads = self.recipe.model.heads // self.layout.tensor
        return 5 * self.hidden_part + 2 * self.hidden + self.up + FULL * self.tokens * heads
