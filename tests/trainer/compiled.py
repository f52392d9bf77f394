"""Compiled blocks give the gradients and losses of eager ones, whatever is recomputed.

Minutes of compiling: `make campaign` runs `python -m tests.trainer.compiled`, the suite does not.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import torch

from tests.trainer.conftest import TINY, VOCAB_SIZE, learnable_documents, write_tokens
from tests.trainer.test_activations import built, gradients
from trainer.activations import compile_blocks
from trainer.config import load_recipe
from trainer.metrics import METRICS, read_rows
from trainer.train import train


def main() -> int:
    """One line for each comparison; 1 where one differs."""
    if not torch.cuda.is_available() and shutil.which("g++") is None:
        print("skipped: torch.compile needs a C++ compiler, and g++ is not there")
        return 0
    return int(max(*map(_gradients_differ, ("none", "selective", "full")), _losses_differ()) > 1e-5)


def _gradients_differ(kind: str) -> float:
    expected, model = gradients(built()), built(kind)
    compile_blocks(model)
    found = gradients(model)
    # Relative to a gradient's largest value; of all, as a bias of keys has none but rounding.
    largest = max(float(value.abs().max()) for value in expected.values())
    difference = max(float((found[name] - value).abs().max()) for name, value in expected.items()) / largest
    print(f"gradients, recomputed {kind}: {difference:.1e} of the largest")
    return difference


def _losses_differ() -> float:
    losses = []
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder)
        write_tokens(shards / "train", learnable_documents(1, 200))
        for compiled in (False, True):
            recipe = load_recipe("debug", TINY | {"train.steps": 5, "train.compile": compiled})
            train(recipe, shards=shards, run=shards / str(compiled), vocab_size=VOCAB_SIZE)
            losses.append([row["loss"] for row in read_rows(shards / str(compiled) / METRICS)])
    difference = max(abs(one / other - 1) for one, other in zip(*losses, strict=True))
    print(f"losses of 5 sharded steps: {difference:.1e}")
    return difference


if __name__ == "__main__":
    sys.exit(main())
