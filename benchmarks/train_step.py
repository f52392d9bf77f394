"""One training step, ours beside transformers' GPTNeoX with a plain AdamW loop: tokens/s and peak memory.

    python benchmarks/train_step.py [--shapes pythia-14m pythia-70m] [--batch 8] [--length 256] [--threads 2]

The same shape, batch, precision (fp32), threads and machine, on random ids: forward, backward, clipping, AdamW. Each of
the two is a process of its own, so that its peak of resident memory is its own, and they make single steps in turns.
Printed are the medians of their steps, and the median ratio of neighbouring steps, by the clock and by processor time.
The second is for a machine that does other work as well; with several threads it counts their waiting for each other,
so that there `--threads 1` says more.

Where there is a CUDA device it measures 8 layers of the 20B's shape there instead (h 6144, sequences of 2,048, bf16
with fp32 weights, AdamW; 4.2 billion parameters, named as such): the median of `--steps` steps and its model FLOP
utilisation by 6 (N - Vh) + 12 L h T, for what each of the loss in chunks, compiling, recomputation and the batch gave,
transformers eager and compiled beside it. `--table` prints these rows on a processor, in fp32, of the first shape.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.config import Recipe

WARM_UP = 3
IDS = 50_277
# (whose, logits, activation checkpointing, compiled, batch): of ours each changes one thing of the one before.
TABLE = [
    ("transformers", "whole", "none", False, 1),
    ("transformers", "whole", "none", True, 1),
    ("ours", "whole", "none", False, 1),
    ("ours", "chunked", "none", False, 1),
    ("ours", "chunked", "none", True, 1),
    ("ours", "chunked", "none", True, 4),
    ("ours", "chunked", "selective", True, 4),
    ("ours", "chunked", "selective", True, 8),
    ("ours", "chunked", "full", True, 8),
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


def our_step(recipe: Recipe, world: Any, *, logits: str = "chunked") -> Callable[[torch.Tensor, torch.Tensor], None]:
    """What `Training.update` does with one micro-batch; with `logits` "whole", the loss by torch from all at once."""
    from trainer.checkpoint import prepare_optimizer
    from trainer.model import initialize
    from trainer.optim import build_optimizer, clip_gradients
    from trainer.pipeline import build_sharded

    model = build_sharded(recipe, world)
    initialize(model, recipe.model, seed=1)
    optimizer = build_optimizer(model, recipe.optimizer)
    prepare_optimizer(model, optimizer, updates=0)

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> None:
        if logits == "whole":
            loss = torch.nn.functional.cross_entropy(model(inputs).flatten(0, 1).float(), targets.flatten())
        else:
            loss = model(inputs, targets)
        loss.backward()
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


def serve(job: dict[str, Any]) -> None:
    """One step for each line on standard input, one line about it on standard output."""
    from trainer.distributed import choose_device, deterministic_algorithms, join_world
    from trainer.utilization import peak_memory_bytes

    if job["threads"]:
        torch.set_num_threads(job["threads"])
    recipe, device = recipe_of(job), choose_device(job["device"])
    draw = torch.Generator().manual_seed(1)
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(join_world(device))
        if job["whose"] == "ours":
            # As a training has it; nobody who writes a plain loop asks for that.
            stack.enter_context(deterministic_algorithms(device))
            step = our_step(recipe, world, logits=job["logits"])
        else:
            step = their_step(recipe)
        for _ in sys.stdin:
            ids = torch.randint(0, IDS, (job["batch"], job["length"] + 1), generator=draw).to(device)
            inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
            started_s, cpu_s = time.perf_counter(), time.process_time()
            step(inputs, targets)
            if device.type == "cuda":
                torch.cuda.synchronize()
            done = {"seconds": time.perf_counter() - started_s, "cpu_seconds": time.process_time() - cpu_s}
            print(json.dumps(done | {"memory_bytes": peak_memory_bytes(device)}), flush=True)


class Worker:
    """A process that makes a step when it is asked for one."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open as long as the process lives)
        command = [sys.executable, __file__, "--job", json.dumps(job)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.errors, text=True)

    def step(self) -> dict[str, float] | None:
        """What one step took; None where memory was not enough."""
        assert self.process.stdin
        assert self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        if line := self.process.stdout.readline():
            return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        said = self.errors.read()
        if "out of memory" in said.lower():
            return None
        sys.exit(said)

    def close(self) -> None:
        """Ends the process, once it has given its memory back."""
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()
        self.errors.close()


def compare_on_cpu(shape: str, options: argparse.Namespace) -> None:
    """Both in turns, and their ratio."""
    job = {"shape": shape, "device": "cpu", "batch": options.batch, "length": options.length}
    job |= {"recompute": "none", "compile": False, "logits": "chunked", "threads": options.threads}
    workers = {whose: Worker(job | {"whose": whose}) for whose in ("ours", "transformers")}
    found: dict[str, list[dict[str, float]]] = {whose: [] for whose in workers}
    for turn in range(WARM_UP + options.steps):
        for whose in sorted(workers, reverse=bool(turn % 2)):
            done = workers[whose].step()
            if done is None:
                sys.exit(f"{shape} {whose}: out of memory")
            found[whose] += [done] if turn >= WARM_UP else []
    for worker in workers.values():
        worker.close()
    for whose, steps in found.items():
        seconds, cpu_s = (statistics.median(one[clock] for one in steps) for clock in ("seconds", "cpu_seconds"))
        rate, memory = options.batch * options.length / seconds, steps[-1]["memory_bytes"] / 2**20
        print(
            f"{shape} {whose:12} {seconds:7.3f} s {cpu_s:7.3f} CPU s {rate:9,.0f} tokens/s {memory:7,.0f} MiB peak",
            flush=True,
        )
    for clock in ("seconds", "cpu_seconds"):
        pairs = zip(found["transformers"], found["ours"], strict=True)
        ratios = [theirs[clock] / ours[clock] for theirs, ours in pairs]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        print(f"{shape} ratio by {clock:11} {middle:.2f} (half of the neighbours: {low:.2f} to {high:.2f})", flush=True)


def row_job(row: tuple[str, str, str, bool, int], options: argparse.Namespace) -> dict[str, Any]:
    """The job of one row of `TABLE`."""
    whose, logits, recompute, compiled, batch = row
    on_gpu = options.device == "cuda"
    return {
        "shape": "gpt-neox-20b-bf16" if on_gpu else options.shapes[0],
        "device": options.device,
        "length": 2048 if on_gpu else options.length,
        "threads": options.threads,
        "whose": whose,
        "logits": logits,
        "recompute": recompute,
        "compile": compiled,
        "batch": batch,
    }


def print_table(options: argparse.Namespace) -> None:
    """One row for each of `TABLE`, one process after the other."""
    from trainer.utilization import peak_flop_per_s

    job, device = row_job(TABLE[0], options), torch.device(options.device)
    model, peak = recipe_of(job).model, peak_flop_per_s(device, None)
    where = torch.cuda.get_device_name() if options.device == "cuda" else "a processor"
    stated = "unknown" if peak is None else f"{peak / 1e12:,.0f} TFLOP/s"
    print(f"{model.layers} layers, otherwise the shape of {job['shape']}, h {model.hidden_size}")
    print(f"sequences of {job['length']:,}, {where}, peak {stated}, {options.steps} steps")
    for row in TABLE:
        whose, logits, recompute, compiled, batch = row
        said = "compiled" if compiled else "eager"
        print(f"{whose:12} logits {logits:7} recompute {recompute:9} {said:8} batch {batch}: ", end="", flush=True)
        print(measured(row_job(row, options), device, steps=options.steps), flush=True)


def measured(job: dict[str, Any], device: torch.device, *, steps: int) -> str:
    """Tokens/s, FLOPs, utilisation and memory of a job, in words."""
    from trainer.utilization import work_of

    worker = Worker(job)
    found = []
    for _ in range(WARM_UP + steps):
        done = worker.step()
        if done is None:
            return "out of memory"
        found.append(done)
    worker.close()
    rate = job["batch"] * job["length"] / statistics.median(one["seconds"] for one in found[WARM_UP:])
    work = work_of(recipe_of(job), device, ranks=1)
    mfu, _ = work.shares(rate)
    share = "unknown peak" if mfu is None else f"MFU {mfu:.1%}"
    memory = found[-1]["memory_bytes"] / 2**30
    return f"{rate:10,.0f} tokens/s, {work.model_flops / 1e9:.2f} GFLOP a token, {share}, {memory:.1f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["pythia-14m", "pythia-70m"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--steps", type=int, default=None, help="20 on a processor, 50 on a GPU")
    parser.add_argument("--threads", type=int, default=None, help="torch's own choice, the number of cores")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--table", action="store_true", help="the GPU's rows on a processor too")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        serve(json.loads(options.job))
        return
    options.steps = options.steps or (50 if options.device == "cuda" else 20)
    if options.table or options.device == "cuda":
        print_table(options)
        return
    threads = options.threads or torch.get_num_threads()
    print(f"{threads} threads, batch {options.batch} x {options.length}, fp32, {options.steps} steps", flush=True)
    for shape in options.shapes:
        compare_on_cpu(shape, options)


if __name__ == "__main__":
    main()
