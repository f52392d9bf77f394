"""Memory and traffic of drawn layouts by formula are those of the real model traced on fake ranks, at every stage.

Memory within 15%, traffic to the byte but for the padding of shards.

Minutes: `make campaign` runs `python -m tests.trainer.planned`, the suite traces two small layouts.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.utils._pytree import tree_leaves

from trainer.config import Recipe, load_recipe
from trainer.layout import Layout, faults, layout_of
from trainer.planning.dryrun import Job, trace_layout
from trainer.planning.gpus import GPUS
from trainer.planning.sizes import with_vocabulary
from trainer.planning.trace import MemoryTrace, trace_step
from trainer.planning.traffic import step_time

if TYPE_CHECKING:
    from collections.abc import Iterator

TOLERANCE, TRAFFIC_TOLERANCE = 0.15, 0.001
RECIPES = ("pythia-160m", "pythia-410m", "pythia-1b", "pythia-1.4b")
SCHEDULES = ({"parallel.schedule": "1f1b"}, {"parallel.schedule": "interleaved", "parallel.stages_per_rank": 2})
SCHEDULES += ({"parallel.schedule": "zero-bubble"},)


def drawn(seed: int, count: int) -> Iterator[tuple[str, Recipe, Layout]]:
    """The 20B as it ran, then others of the published shapes in layouts that divide their work."""
    yield "gpt-neox-20b", *_laid_out(load_recipe("gpt-neox-20b"), 96)
    choice, left = random.Random(seed).choice, count - 1
    while left:
        name = choice(RECIPES)
        values: dict[str, Any] = {
            "model.vocab_tensor_degree": 4,
            "parallel.tensor": choice((1, 1, 2, 4)),
            "parallel.pipeline": choice((1, 1, 2, 4)),
            "parallel.replicas": choice((1, 1, 2)),
            "parallel.zero": choice((1, 2, 3)),
            "train.activation_checkpointing": choice(("none", "selective", "full")),
            "train.precision": choice(("fp32", "bf16", "fp16")),
            "data.micro_batch": choice((1, 2, 4, 8)),
        }
        schedule = choice(SCHEDULES)
        if values["parallel.pipeline"] == 1 or (values["parallel.zero"] > 1 and "zero-bubble" in schedule.values()):
            schedule = SCHEDULES[0]
        recipe = load_recipe(name, values | schedule)
        ranks = values["parallel.tensor"] * values["parallel.pipeline"] * choice((1, 2, 8))
        if ranks == 1 or _degrees_fail(recipe, ranks):
            continue
        yield name, *_laid_out(recipe, ranks)
        left -= 1


def _degrees_fail(recipe: Recipe, ranks: int) -> bool:
    parallel = recipe.parallel
    data = ranks // (parallel.tensor * parallel.pipeline)
    layout = Layout(tensor=parallel.tensor, pipeline=parallel.pipeline, shards=data)
    return bool(data % parallel.replicas or next(faults(recipe, layout), None))


def _laid_out(recipe: Recipe, ranks: int) -> tuple[Recipe, Layout]:
    return with_vocabulary(recipe), layout_of(recipe, ranks)


class _Sent(MemoryTrace):
    """Bytes of what is gathered and scattered, among tensor-parallel ranks and among those of FSDP."""

    KINDS: ClassVar = {
        "_c10d_functional.all_gather_into_tensor": "tensor",
        "_c10d_functional.reduce_scatter_tensor": "tensor",
        "c10d._allgather_base_": "data",
        "c10d._reduce_scatter_base_": "data",
    }

    def __init__(self) -> None:
        super().__init__()
        self.sent = {"tensor": 0, "data": 0}

    def restart(self) -> None:
        super().restart()
        self.sent = dict.fromkeys(self.sent, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        kind = self.KINDS.get(str(func).removesuffix(".default"))
        if kind is not None and out is not NotImplemented:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
            self.sent[kind] += max(tensor.nbytes for tensor in tensors)
        return out


def traffic_apart() -> float:
    """The largest relative difference of traffic by formula from what whole traced steps send."""
    worst = 0.0
    for tensor, shards, zero, kind in ((2, 4, 1, "none"), (4, 2, 2, "selective"), (2, 2, 3, "full"), (1, 8, 3, "none")):
        values = {"data.global_batch": 8 * shards, "data.micro_batch": 4, "model.vocab_tensor_degree": 4}
        values |= {"parallel.tensor": tensor, "parallel.zero": zero, "train.activation_checkpointing": kind}
        recipe, layout = _laid_out(load_recipe("pythia-160m", values), tensor * shards)
        traffic, seen = step_time(recipe, layout, GPUS["h100"], utilization=0.45).traffic, _Sent()
        trace_step(Job(recipe=recipe, degrees=(tensor, 1, 1, shards), place=0), seen)
        # A ring sends all but a rank's own part.
        pairs = [(traffic.data, seen.sent["data"] * (shards - 1) / shards)]
        pairs += [(traffic.tensor, seen.sent["tensor"] * (tensor - 1) / tensor)] if tensor > 1 else []
        apart = max(abs(formula / traced - 1) for formula, traced in pairs)
        print(f"traffic of {layout}, ZeRO {zero}, checkpointing {kind}: {100 * apart:.2f}% apart", flush=True)
        worst = max(worst, apart)
    return worst


def main() -> int:
    """One line for each stage of each layout; 1 where one is further off than TOLERANCE."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--layouts", type=int, default=10)
    chosen = parser.parse_args()
    worst, traffic = 0.0, traffic_apart()
    for name, recipe, layout in drawn(chosen.seed, chosen.layouts):
        parallel, started = recipe.parallel, time.monotonic()
        print(
            f"{name}: {layout}, {layout.replicas} replicas, ZeRO {parallel.zero}, {parallel.schedule} x "
            f"{parallel.stages_per_rank}, micro-batch {recipe.data.micro_batch}, {recipe.train.precision}, "
            f"checkpointing {recipe.train.activation_checkpointing}",
            flush=True,
        )
        for stage in trace_layout(recipe, layout):
            print(
                f"  stage {stage.place}: {stage.memory_gib:7.2f} GiB by formula, {stage.traced_gib:7.2f} traced, "
                f"{100 * stage.difference:+6.2f}%  ({stage.moment})",
                flush=True,
            )
            worst = max(worst, abs(stage.difference))
        print(f"  {time.monotonic() - started:.0f} s", flush=True)
    print(f"memory at most {100 * worst:.1f}% apart, traffic {100 * traffic:.2f}%")
    return int(worst > TOLERANCE or traffic > TRAFFIC_TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
