"""One rank of a training that a test starts as a process: prints each step's number as it is done."""

import json
import sys
from pathlib import Path

import torch

from trainer.config import load_recipe
from trainer.train import train

job = json.loads(sys.argv[1])
# Sums in another order differ in the last digits alone, which of float64 no other fault hides behind.
torch.set_default_dtype(getattr(torch, job.get("dtype", "float32")))
train(
    load_recipe("debug", job["overrides"]),
    shards=Path(job["shards"]),
    run=Path(job["run"]),
    vocab_size=job["vocab"],
    new_phase=job.get("new_phase", False),
    cache_dir=job.get("cache_dir"),
    on_step=lambda metrics: print(metrics.step, flush=True),
)
