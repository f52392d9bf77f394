"""Trainings of one recipe in many layouts, on real ranks over gloo: what tests and the campaign compare."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.trainer.conftest import REPOSITORY, TINY, VOCAB_SIZE
from trainer.metrics import METRICS, read_rows

if TYPE_CHECKING:
    from pathlib import Path

WORKER = REPOSITORY / "tests" / "trainer" / "layouts_worker.py"
# Four layers and heads for four stages and ranks, micro-batches for the longest pipeline; a norm that clips each step.
RECIPE = TINY | {
    "model.layers": 4,
    "model.heads": 4,
    "model.vocab_tensor_degree": 4,
    "data.global_batch": 16,
    "data.micro_batch": 1,
    "optimizer.clip_norm": 0.5,
    "checkpoint.keep_last": 100,
}


def degrees(**values: Any) -> dict[str, Any]:
    """Overrides of the recipe's table `parallel`."""
    return {f"parallel.{name}": value for name, value in values.items()}


def train_layouts(
    folder: Path, shards: Path, layouts: dict[str, dict[str, Any]], *, ranks: int, dtype: str = "float64", **recipe: Any
) -> None:
    """Trains each of `layouts` into `folder/<name>` in one start of `ranks` processes with one thread each.

    Values of `recipe` are further overrides, dots of their keys as two underscores.
    """
    overrides = RECIPE | {key.replace("__", "."): value for key, value in recipe.items()}
    runs = {str(folder / name): layout for name, layout in layouts.items()}
    job = {"runs": runs, "overrides": overrides, "shards": str(shards), "vocab": VOCAB_SIZE, "dtype": dtype}
    folder.mkdir(parents=True, exist_ok=True)
    described = folder / f"job-{ranks}.json"
    described.write_text(json.dumps(job))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    done = subprocess.run(
        [*command, str(WORKER), str(described)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr


def difference(one: Path, other: Path, key: str) -> float:
    """The largest relative difference of the rows' values of `key`, which must be there in the same rows of both."""
    rows = list(zip(read_rows(one / METRICS), read_rows(other / METRICS), strict=True))
    assert [mine.get(key) is None for mine, _ in rows] == [theirs.get(key) is None for _, theirs in rows]
    values = [(mine[key], theirs[key]) for mine, theirs in rows if mine.get(key) is not None]
    assert values, key
    return max(abs(mine - theirs) / abs(mine) for mine, theirs in values)
