"""A recipe in a layout on a kind of GPU in, the bytes that its ranks send and the time of a step out; no torch.

Products run at the stated share of the GPU's peak, whatever their size, links at LINK_SHARE of their speed. What tensor
and pipeline parallelism send is waited for; FSDP's traffic is hidden behind the passes that it overlaps with, as far as
they last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.planning.schedule import idle_share
from trainer.planning.sizes import FULL, Part, RankSizes

if TYPE_CHECKING:
    from trainer.config import Recipe
    from trainer.layout import Layout
    from trainer.planning.gpus import Gpu

# Of what a link could carry, what large collectives get: NCCL's own tests reach three quarters to nine tenths.
LINK_SHARE = 0.75
# Of a layer's forward and backward pass: how often hidden states at all positions are gathered or summed.
_GATHERED, _AGAIN = 6, 2
# Of a pass through the model, the forward one takes a third.
_FORWARD, _BACKWARD = 1 / 3, 2 / 3


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes that the busiest GPU sends in one step, by what for."""

    tensor: float
    pipeline: float
    data: float


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """Seconds of a step: products, waiting for stages, and what is sent meanwhile by nobody else."""

    compute_s: float
    idle_s: float
    tensor_s: float
    pipeline_s: float
    data_s: float
    traffic: Traffic

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.compute_s + self.idle_s + self.tensor_s + self.pipeline_s + self.data_s


def step_time(recipe: Recipe, layout: Layout, gpu: Gpu, *, utilization: float) -> StepTime:
    """The time of a step as the rank with the most work has it."""
    ranks = [RankSizes(recipe=recipe, layout=layout, place=place) for place in range(layout.pipeline)]
    work = [sum(_part_flops(rank, part) for part in rank.parts) for rank in _distinct(ranks)]
    busiest = _distinct(ranks)[work.index(max(work))]
    m = busiest.micro_batches
    compute_s = m * max(work) / (gpu.peak_tflop_per_s * 1e12 * utilization)
    tensor, pipeline = m * _tensor_bytes(busiest), m * _pipeline_bytes(busiest)
    tensor_s = tensor / _bytes_per_s(gpu, before=1, members=layout.tensor)
    pipeline_s = pipeline / _bytes_per_s(gpu, before=layout.tensor * layout.data, members=layout.pipeline)
    data, data_s = _data(busiest, gpu, pass_s=(compute_s + tensor_s) / m)
    parallel = recipe.parallel
    idle = idle_share(
        pipeline=layout.pipeline, micro_batches=m, schedule=parallel.schedule, parts=parallel.stages_per_rank
    )
    return StepTime(
        compute_s=compute_s,
        idle_s=(compute_s + tensor_s + pipeline_s) * idle,
        tensor_s=tensor_s,
        pipeline_s=pipeline_s,
        data_s=data_s,
        traffic=Traffic(tensor=tensor, pipeline=pipeline, data=data),
    )


def _distinct(ranks: list[RankSizes]) -> list[RankSizes]:
    """One rank of each kind: those in the middle differ by a layer at most."""
    kinds = {tuple((part.layers, part.is_first, part.is_last) for part in rank.parts): rank for rank in ranks}
    return list(kinds.values())


def _part_flops(rank: RankSizes, part: Part) -> float:
    """Of one micro-batch on this rank, as trainer/utilization.py counts hardware FLOPs: the embedding costs none."""
    recipe, tensor = rank.recipe, rank.layout.tensor
    passes = 8 if recipe.train.activation_checkpointing == "full" else 6
    attention = 2 * recipe.model.hidden_size * recipe.data.sequence_length / tensor
    head = 6 * rank.vocabulary if part.is_last else 0
    return rank.tokens * (part.layers * passes * (rank.block + attention) + head)


def _bytes_per_s(gpu: Gpu, *, before: int, members: int) -> float:
    """Of a ring through `members` ranks, each `before` ranks after the last.

    Within a machine it has NVLink. A ring that leaves it does so through the adapters of all its members there.
    """
    if before * members <= gpu.per_node:
        return gpu.nvlink_gb_per_s * 1e9 * LINK_SHARE
    inside = max(1, gpu.per_node // before)
    return min(gpu.nvlink_gb_per_s, gpu.network_gb_per_s * inside) * 1e9 * LINK_SHARE


def _tensor_bytes(rank: RankSizes) -> float:
    """Of one micro-batch: both inputs of a layer's first matrices, its sum, their gradients; the inputs once more."""
    tensor = rank.layout.tensor
    again = 0 if rank.recipe.train.activation_checkpointing == "none" else _AGAIN
    whole = sum(part.layers * (_GATHERED + again) + 2 * part.is_first + 2 * part.is_last for part in rank.parts)
    return whole * rank.hidden * (tensor - 1) / tensor


def _pipeline_bytes(rank: RankSizes) -> float:
    """Of one micro-batch: hidden states to the next stage, gradients to the one before."""
    if rank.layout.pipeline == 1:
        return 0
    return sum((not part.is_last) + (not part.is_first) for part in rank.parts) * rank.hidden_part


def _data(rank: RankSizes, gpu: Gpu, *, pass_s: float) -> tuple[float, float]:
    """Bytes of a step among data-parallel ranks, and the seconds of them that nothing else hides.

    With ZeRO 1 parameters are gathered and gradients summed once a step, in a pipeline after its last micro-batch; with
    2 gradients are summed with every micro-batch, with 3 parameters are gathered twice for each as well. Gradients that
    replicas sum are float32, and cut by the shards.
    """
    layout, zero, m = rank.layout, rank.recipe.parallel.zero, rank.micro_batches
    share = (layout.shards - 1) / layout.shards
    gather, reduce = rank.precision_bytes * rank.parameters * share, FULL * rank.parameters * share
    repeat = 2 * FULL * rank.parameters / layout.shards * (layout.replicas - 1) / layout.replicas
    inside = _bytes_per_s(gpu, before=layout.tensor, members=layout.shards)
    across = _bytes_per_s(gpu, before=layout.tensor * layout.shards, members=layout.replicas)
    gather_s, reduce_s = gather / inside, reduce / inside + repeat / across
    forward_s, backward_s = _FORWARD * pass_s, _BACKWARD * pass_s
    if zero == 3:
        waited = max(0.0, gather_s - forward_s) + max(0.0, gather_s + reduce_s - backward_s)
        return m * (2 * gather + reduce + repeat), m * waited
    first = max(0.0, gather_s - forward_s)
    if zero == 2:
        return gather + m * (reduce + repeat), first + m * max(0.0, reduce_s - backward_s)
    last = reduce_s if layout.pipeline > 1 else max(0.0, reduce_s - backward_s)
    return gather + reduce + repeat, first + last
