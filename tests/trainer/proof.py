"""The mini-Pile in, a proof out: our training learns what a plain loop around transformers' GPTNeoX learns.

Pythia 14M's shape, 300 steps of 8 x 64 tokens in fp32, encoded by the released 20B tokenizer: both begin with the same
weights, read the same samples in the same order, and are validated on the same held-out ones. The other side is
transformers' model, torch's cross entropy, torch's AdamW and gpt-neox's schedule written out, and nothing of ours but
the first weights and the samples. `python -m tests.trainer.proof` is the whole proof, some minutes on two threads; one
of a few steps is among the tests. The curves come as a table, and with `--plot FILE` as SVG.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional
from transformers import GPTNeoXForCausalLM

from pile_toolkit.chain.stages import write_shards
from pile_toolkit.core.files import write_bytes
from pile_toolkit.core.manifest import read_manifest
from pile_toolkit.report.curves import Point, curve, standalone
from pipelines.build import build
from pipelines.dedup import dedup
from pipelines.download import download
from tests.trainer.test_optim import gpt_neox_rate
from trainer.config import Recipe, load_recipe, resolved
from trainer.convert import export_huggingface
from trainer.data import load_batch, open_held_out, open_training_samples
from trainer.metrics import METRICS, read_rows
from trainer.model import GPTNeoX, initialize
from trainer.train import train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from trainer.data import Samples

SHARED = Path(__file__).resolve().parents[3] / "shared"
THREADS = 2
# How far our last validation loss may lie from that of the loop around transformers.
MOST_APART = 0.01
SETTINGS = {
    "data.sequence_length": 64,
    "data.global_batch": 8,
    "data.micro_batch": 8,
    "train.steps": 300,
    "train.precision": "fp32",
    "train.device": "cpu",
    "checkpoint.interval": 300,
    "checkpoint.steps": [],
    "validation.interval": 50,
    "validation.batches": 32,
}


class Curves(NamedTuple):
    """Loss of every step, and losses on held-out text by the number of steps before."""

    losses: list[float]
    validations: dict[int, float]


class Proof(NamedTuple):
    """Both sides of it, and the seconds that each took."""

    ours: Curves
    transformers: Curves
    ours_s: float
    transformers_s: float

    @property
    def apart(self) -> float:
        """The distance of the last validation losses, as a share of transformers'."""
        ours, theirs = (list(side.validations.values())[-1] for side in (self.ours, self.transformers))
        return abs(ours - theirs) / theirs


def make_shards(source: Path, root: Path, tokenizer: Path, *, test_share: float = 0.001) -> int:
    """Token shards of a folder of documents, 2% of them held out, by the chain's own stages; returns the vocabulary."""
    slugs = [path.name.removesuffix(".jsonl.zst") for path in sorted(source.glob("*.jsonl.zst"))]
    download(root, components=slugs, source=str(source))
    dedup(root, method="exact")
    build(root, val_share=0.02, test_share=test_share, write_corpus=False)
    write_shards(root, tokenizer=tokenizer)
    manifest = read_manifest(root / "shards")
    assert manifest is not None
    return manifest.counts["vocab_size"]


def prove(recipe: Recipe, *, shards: Path, folder: Path, vocab_size: int) -> Proof:
    """Trains both on the shards of a folder, ours into `folder/run`."""
    recipe = resolved(recipe, steps=None, vocab_size=vocab_size)
    started_s = time.perf_counter()
    train(recipe, shards=shards, run=folder / "run", vocab_size=vocab_size)
    between_s = time.perf_counter()
    theirs = transformers_curves(recipe, first_weights(recipe, folder / "start"), shards=shards)
    rows = read_rows(folder / "run" / METRICS)
    ours = Curves(
        losses=[row["loss"] for row in rows if "loss" in row],
        validations={row["step"]: row["validation_loss"] for row in rows if "validation_loss" in row},
    )
    return Proof(ours, theirs, between_s - started_s, time.perf_counter() - between_s)


def first_weights(recipe: Recipe, folder: Path) -> GPTNeoXForCausalLM:
    """transformers' model, read from a folder that the first weights of our training were exported to."""
    start = GPTNeoX(recipe.model)
    initialize(start, recipe.model, seed=recipe.train.seed)
    export_huggingface(start, recipe.model, folder)
    return GPTNeoXForCausalLM.from_pretrained(folder)


def transformers_curves(recipe: Recipe, model: GPTNeoXForCausalLM, *, shards: Path) -> Curves:
    """The loop that a user of transformers writes, on the samples of our training."""
    config, steps, batch = recipe.optimizer, recipe.train.steps, recipe.data.global_batch
    kinds = (
        ([p for p in model.parameters() if p.ndim > 1], config.weight_decay),
        ([p for p in model.parameters() if p.ndim == 1], 0.0),
    )
    groups = [{"params": parameters, "weight_decay": decay} for parameters, decay in kinds]
    optimizer = torch.optim.AdamW(groups, betas=config.betas, eps=config.eps)
    samples = open_training_samples(shards / "train", recipe.data, steps=steps)
    curves = Curves(losses=[], validations={})
    for step in range(1, steps + 1):
        loss = loss_of(model, samples, range((step - 1) * batch, step * batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm or float("inf"))
        rate = gpt_neox_rate(
            step, steps=steps, warmup=config.warmup_fraction, high=config.learning_rate, low=config.min_learning_rate
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        curves.losses.append(loss.item())
        if step == steps or step % recipe.validation.interval == 0:
            curves.validations[step] = validation_loss(model, recipe, shards)
    return curves


def loss_of(model: GPTNeoXForCausalLM, samples: Samples, numbers: Sequence[int]) -> Tensor:
    inputs, targets = load_batch(samples, numbers, vocab_size=model.config.vocab_size)
    return functional.cross_entropy(model(inputs).logits.flatten(0, 1), targets.flatten())


@torch.no_grad()
def validation_loss(model: GPTNeoXForCausalLM, recipe: Recipe, shards: Path) -> float:
    """The mean over all held-out tokens: samples are of one length, and their number is one of whole batches."""
    batch = recipe.data.global_batch
    held_out = open_held_out(shards / "val", recipe.data, batches=recipe.validation.batches)
    assert held_out is not None
    assert held_out.count % batch == 0
    starts = range(0, held_out.count, batch)
    return sum(loss_of(model, held_out.samples, range(start, start + batch)).item() for start in starts) / len(starts)


def table(proof: Proof) -> str:
    """Both validation losses and their distance, as Markdown."""
    lines = ["| step | ours | transformers | apart |", "| ---: | ---: | ---: | ---: |"]
    for step, ours in proof.ours.validations.items():
        theirs = proof.transformers.validations[step]
        lines.append(f"| {step} | {ours:.4f} | {theirs:.4f} | {ours / theirs - 1:+.1e} |")
    return "\n".join(lines)


def plot(proof: Proof) -> str:
    """Losses of both on held-out text and in training, as an SVG file of its own."""
    sides = (("transformers", proof.transformers), ("ours", proof.ours))
    lines = [
        [Point(step, loss, f"{name}, step {step}: {loss:.4f}") for step, loss in enumerate(side.losses, start=1)]
        for name, side in sides
    ]
    dots = [
        Point(step, loss, f"{name}, held out, after step {step}: {loss:.4f}")
        for name, side in sides[1:]
        for step, loss in side.validations.items()
    ]
    drawn = curve(lines[0], dots, others=lines[1:], x_unit="step", y_unit="loss, nats per token", name="Loss of both")
    return standalone(drawn, legend=("a loop around transformers", "ours, and on held-out text"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", type=Path, help="where to write the curves as SVG")
    options = parser.parse_args()
    if not (SHARED / "data" / "minipile").is_dir():
        print(f"{SHARED / 'data' / 'minipile'} does not lie beside this checkout: there is nothing to prove it with")
        return
    torch.set_num_threads(THREADS)
    recipe = load_recipe("pythia-14m", SETTINGS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vocab_size = make_shards(
            SHARED / "data" / "minipile", folder / "root", SHARED / "reference" / "20B_tokenizer.json"
        )
        proof = prove(recipe, shards=folder / "root" / "shards", folder=folder, vocab_size=vocab_size)
    print(table(proof))
    largest = max(
        abs(ours / theirs - 1) for ours, theirs in zip(proof.ours.losses, proof.transformers.losses, strict=True)
    )
    print(f"training losses at most {largest:.2e} apart, in {recipe.train.steps} steps")
    print(f"{proof.ours_s:.0f} s, transformers {proof.transformers_s:.0f} s")
    if options.plot:
        write_bytes(options.plot, plot(proof).encode())
    if proof.apart > MOST_APART:
        raise SystemExit(f"the validation losses are {proof.apart:.2%} apart, {MOST_APART:.0%} are allowed")
    print("proved")


if __name__ == "__main__":
    main()
