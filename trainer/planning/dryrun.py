"""A planned layout in, its analytic memory beside that of the real model traced on ranks in name only out.

Each rank is traced in a process of its own (trainer/planning/trace.py); this file needs no torch.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import PileError, UsageError
from trainer.config import Recipe
from trainer.planning.memory import GIB, rank_memory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pile_toolkit.core.console import Reporter
    from trainer.layout import Layout


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The rank at `place` of the pipeline; `degrees` are tensor, pipeline, replicas and shards."""

    recipe: Recipe
    degrees: tuple[int, int, int, int]
    place: int


class TracedStage(msgspec.Struct, frozen=True, kw_only=True):
    """Peak memory of a stage's ranks by formula and as traced; `difference` is the former's share above the latter."""

    place: int
    layers: int
    moment: str
    memory_gib: float
    traced_gib: float
    difference: float


def trace_layout(
    recipe: Recipe, layout: Layout, *, places: Iterable[int] | None = None, reporter: Reporter = SILENT
) -> list[TracedStage]:
    """One rank of each stage of the real model, or of those at `places`, traced without its memory.

    The recipe is that of the layout, with its vocabulary known. Raises UsageError where torch is missing or the recipe
    keeps its states in the host's memory, which a trace cannot tell from the GPU's.
    """
    if importlib.util.find_spec("torch") is None:
        raise UsageError("a dry run needs torch, which is not installed", hint="--plan without --dry-run needs none")
    if recipe.parallel.cpu_offload:
        raise UsageError("a dry run cannot tell the host's memory from the GPU's", hint="parallel.cpu_offload=false")
    places = range(layout.pipeline) if places is None else places
    found = []
    with reporter.progress("stages traced", total=layout.pipeline, unit="stages") as advance:
        for place in places:
            memory = rank_memory(recipe, layout, place)
            degrees = (layout.tensor, layout.pipeline, layout.replicas, layout.shards)
            traced_bytes = _traced(Job(recipe=recipe, degrees=degrees, place=place))
            stage = TracedStage(
                place=place,
                layers=memory.layers,
                moment=memory.moment,
                memory_gib=memory.peak_bytes / GIB,
                traced_gib=traced_bytes / GIB,
                difference=memory.peak_bytes / traced_bytes - 1,
            )
            found.append(stage)
            advance(1)
    return found


def _traced(job: Job) -> int:
    # Wherever this package was found, the process finds it too.
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "trainer.planning.trace"],
        input=msgspec.json.encode(job),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
    )
    if done.returncode:
        raise PileError(
            f"place {job.place} of {job.degrees} could not be traced: {done.stderr.decode(errors='replace')}",
            hint="--plan without --dry-run",
        )
    return msgspec.json.decode(done.stdout)["peak_bytes"]
