"""One rank that a test starts under torchrun: trains the same recipe in several layouts, one after another.

Starting eight processes costs more than what they train here, so that all layouts share one start.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from trainer.config import load_recipe
from trainer.train import train

job = json.loads(Path(sys.argv[1]).read_text())
# Sums in another order differ in the last digits alone, which of float64 no other fault hides behind.
torch.set_default_dtype(getattr(torch, job["dtype"]))
dist.init_process_group("gloo")
for run, overrides in job["runs"].items():
    recipe = load_recipe(job.get("recipe", "debug"), job["overrides"] | overrides)
    train(
        recipe,
        shards=Path(job["shards"]),
        run=Path(run),
        vocab_size=job["vocab"],
        on_step=lambda metrics: print(metrics.step, flush=True),
    )
dist.barrier()
sys.stdout.flush()
# gloo now and then aborts at the end, after correct results, where subgroups of several kinds were made.
os._exit(0)
