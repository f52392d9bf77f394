"""One training step, ours beside transformers' GPTNeoX with a plain AdamW loop: tokens/s and peak memory.

    python benchmarks/train_step.py [--shapes pythia-14m pythia-70m] [--batch 8] [--length 256] [--rounds 5]

The same shape, batch, precision (fp32), threads (torch's own choice) and machine, on random ids: forward, backward,
clipping, AdamW. Each measurement is a process of its own, so that its peak of resident memory is its own; the two take
turns, and printed are the medians over the rounds and the median of the ratio within a round.

Where there is a CUDA device it measures 8 layers of the 20B's shape there instead (h 6144, sequences of 2,048, bf16
with fp32 weights, AdamW; 4.2 billion parameters, named as such): the median of `--steps` steps and its model FLOP
utilisation by 6 (N - Vh) + 12 L h T, for what each of recomputation, compiling and the batch gave, transformers eager
and compiled beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.config import Recipe

WARM_UP = 3
IDS = 50_277
# (whose, activation checkpointing, compiled, batch): each adds one thing to the one before.
ON_GPU = [
    ("transformers", "none", False, 1),
    ("transformers", "none", True, 1),
    ("ours", "none", False, 1),
    ("ours", "none", True, 1),
    ("ours", "selective", True, 2),
    ("ours", "selective", True, 4),
    ("ours", "full", True, 8),
]


def recipe_of(job: dict[str, Any]) -> Recipe:
    """The shape of a recipe in the benchmark's length, precision and batch."""
    from trainer.config import load_recipe, resolved

    on_gpu = job["device"] == "cuda"
    overrides: dict[str, Any] = {
        "data.sequence_length": job["length"],
        "data.global_batch": job["batch"],
        "data.micro_batch": job["batch"],
        "train.precision": "bf16" if on_gpu else "fp32",
        "train.device": job["device"],
        "train.activation_checkpointing": job["recompute"],
        "train.compile": job["compile"],
    }
    if on_gpu:
        overrides |= {"model.layers": 8}
    return resolved(load_recipe(job["shape"], overrides), steps=None, vocab_size=IDS)


def our_step(recipe: Recipe, world: Any) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """What `Training.update` does with one micro-batch."""
    from trainer.checkpoint import prepare_optimizer
    from trainer.model import initialize
    from trainer.optim import build_optimizer, clip_gradients
    from trainer.parallel import build_sharded

    model = build_sharded(recipe, world)
    initialize(model, recipe.model, seed=1)
    optimizer = build_optimizer(model, recipe.optimizer)
    prepare_optimizer(model, optimizer, updates=0)

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> None:
        model(inputs, targets).backward()
        clip_gradients(model.parameters(), recipe.optimizer.clip_norm)
        optimizer.step()
        optimizer.zero_grad()

    return step


def their_step(recipe: Recipe) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """The loop that a user of transformers writes."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    from trainer.convert import huggingface_config

    tables = huggingface_config(recipe.model, end_of_text=0, dtype=torch.float32)
    device = torch.device(recipe.train.device or "cpu")
    with device:
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**tables)).float().train()
    if recipe.train.compile:
        model = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.train.precision == "bf16"):
            logits = model(inputs).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(job: dict[str, Any]) -> dict[str, float]:
    """Median seconds of a step, and the peak of memory, in this process."""
    from trainer.distributed import choose_device, join_world
    from trainer.utilization import peak_memory_bytes

    recipe, device = recipe_of(job), choose_device(job["device"])
    draw = torch.Generator().manual_seed(1)
    times = []
    with join_world(device) as world:
        step = our_step(recipe, world) if job["whose"] == "ours" else their_step(recipe)
        for number in range(WARM_UP + job["steps"]):
            ids = torch.randint(0, IDS, (job["batch"], job["length"] + 1), generator=draw).to(device)
            started_s = time.perf_counter()
            step(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number >= WARM_UP:
                times.append(time.perf_counter() - started_s)
    return {"seconds": statistics.median(times), "memory_bytes": peak_memory_bytes(device)}


def in_a_process(job: dict[str, Any]) -> dict[str, float] | None:
    """`measure` in a new process; None where memory was not enough."""
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        if "out of memory" in done.stderr.lower():
            return None
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def compare_on_cpu(shape: str, options: argparse.Namespace) -> None:
    """Both in turns, and their ratio."""
    job = {"shape": shape, "device": "cpu", "batch": options.batch, "length": options.length, "steps": options.steps}
    job |= {"recompute": "none", "compile": False}
    found: dict[str, list[dict[str, float]]] = {"ours": [], "transformers": []}
    for turn in range(options.rounds):
        for whose in sorted(found, reverse=bool(turn % 2)):
            found[whose].append(in_a_process(job | {"whose": whose}) or {})
    tokens = options.batch * options.length
    for whose, rounds in found.items():
        rate = tokens / statistics.median(one["seconds"] for one in rounds)
        memory = statistics.median(one["memory_bytes"] for one in rounds) / 2**20
        print(f"{shape} {whose:12} {rate:10,.0f} tokens/s  {memory:8,.0f} MiB peak")
    pairs = zip(found["transformers"], found["ours"], strict=True)
    print(
        f"{shape} ratio        {statistics.median(theirs['seconds'] / ours['seconds'] for theirs, ours in pairs):.2f}"
    )


def table_on_gpu(options: argparse.Namespace) -> None:
    """One row for each of `ON_GPU`."""
    from trainer.utilization import peak_flop_per_s, work_of

    peak = peak_flop_per_s(torch.device("cuda"), None)
    print(f"8 layers of the 20B's shape, sequences of 2,048, on {torch.cuda.get_device_name()}, peak {peak}")
    for whose, recompute, compiled, batch in ON_GPU:
        job = {"shape": "gpt-neox-20b-bf16", "device": "cuda", "batch": batch, "length": 2048, "steps": options.steps}
        job |= {"whose": whose, "recompute": recompute, "compile": compiled}
        name = f"{whose:12} recompute {recompute:9} {'compiled' if compiled else 'eager':8} batch {batch}"
        found = in_a_process(job)
        if found is None:
            print(f"{name}: out of memory")
            continue
        rate = batch * 2048 / found["seconds"]
        work = work_of(recipe_of(job), torch.device("cuda"), ranks=1)
        mfu, _ = work.shares(rate)
        flops = f"{work.model_flops / 1e9:.2f} GFLOP a token"
        share = "unknown peak" if mfu is None else f"MFU {mfu:.1%}"
        print(f"{name}: {rate:10,.0f} tokens/s, {flops}, {share}, {found['memory_bytes'] / 2**30:.1f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["pythia-14m", "pythia-70m"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--steps", type=int, default=None, help="20 on a processor, 50 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(measure(json.loads(options.job))))
        return
    on_gpu = torch.cuda.is_available()
    options.steps = options.steps or (50 if on_gpu else 20)
    if on_gpu:
        table_on_gpu(options)
        return
    print(f"{torch.get_num_threads()} threads, batch {options.batch} x {options.length}, fp32, {options.steps} steps")
    for shape in options.shapes:
        compare_on_cpu(shape, options)


if __name__ == "__main__":
    main()
