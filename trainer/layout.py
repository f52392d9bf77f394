"""A recipe and a number of ranks in, who does what out: tensor x pipeline x data, or the product that failed.

Ranks count through tensor first, then shards, replicas and pipeline: those that talk most stand in one machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer.config import ModelConfig, Recipe

# How many of the nearest layouts an error names.
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Layout:
    """`tensor` x `pipeline` ranks hold a model; `replicas` x `shards` of those work on different data.

    States are sharded over the shards, and repeated over the replicas.
    """

    tensor: int = 1
    pipeline: int = 1
    replicas: int = 1
    shards: int = 1

    @property
    def data(self) -> int:
        """How many parts of a micro-batch stand side by side."""
        return self.replicas * self.shards

    @property
    def ranks(self) -> int:
        """All of them."""
        return self.tensor * self.pipeline * self.data

    def __str__(self) -> str:
        return f"tensor {self.tensor} x pipeline {self.pipeline} x data {self.data}"


def layout_of(recipe: Recipe, ranks: int) -> Layout:
    """How `ranks` processes share the recipe's work; data-parallel ranks are what tensor and pipeline leave.

    Raises UsageError that shows the product or quotient that failed, and the nearest layouts of so many ranks that
    would do.
    """
    parallel = recipe.parallel
    model_ranks = parallel.tensor * parallel.pipeline
    fault, data = None, ranks // model_ranks
    if ranks % model_ranks:
        fault = (
            f"tensor {parallel.tensor} x pipeline {parallel.pipeline} = {model_ranks} ranks hold a model; "
            f"ranks {ranks} / {model_ranks} = {_quotient(ranks, model_ranks)}"
        )
    elif data % parallel.replicas:
        fault = f"{data} data-parallel ranks are no multiple of parallel.replicas {parallel.replicas}"
    else:
        layout = Layout(
            tensor=parallel.tensor,
            pipeline=parallel.pipeline,
            replicas=parallel.replicas,
            shards=data // parallel.replicas,
        )
        fault = next(faults(recipe, layout), None)
        if fault is None:
            return layout
    raise UsageError(fault, hint=_nearest(recipe, ranks))


def faults(recipe: Recipe, layout: Layout) -> Iterator[str]:
    """What of the recipe such a layout cannot divide, each as the arithmetic that fails."""
    model, data, tensor = recipe.model, recipe.data, layout.tensor
    stages = layout.pipeline * recipe.parallel.stages_per_rank
    for name, size in (
        ("model.heads", model.heads),
        ("model.feed_forward_size", model.feed_forward_size),
        ("data.sequence_length", data.sequence_length),
        ("the padded vocabulary", _vocabulary(model)),
    ):
        if size % tensor:
            yield f"{name} {size:,} / tensor {tensor} = {_quotient(size, tensor)}"
    if model.layers < stages:
        per_rank = "" if stages == layout.pipeline else f" x stages_per_rank {recipe.parallel.stages_per_rank}"
        yield f"pipeline {layout.pipeline}{per_rank} = {stages} stages for {model.layers} layers"
    at_once = data.micro_batch * layout.data
    if data.global_batch % at_once:
        yield (
            f"global_batch {data.global_batch} / (micro_batch {data.micro_batch} x data {layout.data}) = "
            f"{_quotient(data.global_batch, at_once)}"
        )
        return
    micro_batches = data.global_batch // at_once
    turns = max(1, micro_batches // layout.pipeline)
    if recipe.parallel.stages_per_rank > 1 and micro_batches % turns:
        yield f"{micro_batches} micro-batches cannot go through pipeline {layout.pipeline} in {turns} equal turns"
    if layout.pipeline > 1 and micro_batches < stages:
        yield (
            f"global_batch {data.global_batch} / (micro_batch {data.micro_batch} x data {layout.data}) = "
            f"{micro_batches} micro-batches do not fill {stages} stages"
        )


def layouts(recipe: Recipe, ranks: int) -> Iterator[Layout]:
    """Every layout of `ranks` processes, in one group of shards, that divides the recipe's work."""
    for tensor in divisors(ranks):
        for pipeline in divisors(ranks // tensor):
            layout = Layout(tensor=tensor, pipeline=pipeline, shards=ranks // tensor // pipeline)
            if next(faults(recipe, layout), None) is None:
                yield layout


def divisors(number: int) -> list[int]:
    """Of a positive number, in order."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


def stage_layers(layers: int, stage: int, stages: int) -> range:
    """The layers of one of `stages` stages: as many as the others, or one more."""
    return range(layers * stage // stages, layers * (stage + 1) // stages)


def _vocabulary(model: ModelConfig) -> int:
    # Before token shards are known: what a padded size is a multiple of.
    return model.padded_vocab_size if model.vocab_size else model.vocab_multiple * model.vocab_tensor_degree


def _quotient(number: int, divisor: int) -> str:
    return f"{number / divisor:.4g}"


def _nearest(recipe: Recipe, ranks: int) -> str:
    """The layouts nearest in their degrees to what was asked for."""
    wanted = recipe.parallel

    def distance(layout: Layout) -> tuple[float, int]:
        far = abs(math.log(layout.tensor / wanted.tensor)) + abs(math.log(layout.pipeline / wanted.pipeline))
        return far, layout.tensor

    found = sorted(layouts(recipe, ranks), key=distance)[:_NAMED]
    if not found:
        return f"no layout of {ranks} ranks divides this recipe: another number of ranks, or a smaller data.micro_batch"
    best = found[0]
    typed = f"--set parallel.tensor={best.tensor} --set parallel.pipeline={best.pipeline}"
    return f"{typed}; of {ranks} ranks these would do: {', '.join(map(str, found))}"
