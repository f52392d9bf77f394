"""Validation by component and in training's proportions, marked epochs, and a file on what ended in no number."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn import functional

from pile_toolkit.core.errors import UsageError
from shards.dataset import TokenDataset
from tests.trainer.conftest import BYTES, NAMES, OWNERS, VOCAB_SIZE, learnable_documents, write_tokens
from trainer.convert import load_model
from trainer.data import open_held_out, open_training_samples
from trainer.metrics import METRICS, read_rows
from trainer.train import train

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def run(told_shards, tiny_recipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    train(tiny_recipe({"validation.interval": 20}), shards=told_shards, run=folder, vocab_size=VOCAB_SIZE)
    return folder


def owners_of_tokens(folder: Path, split: str) -> np.ndarray:
    return np.repeat(OWNERS[split], TokenDataset(folder / split).sizes)


def by_hand(folder: Path, run: Path, recipe) -> dict[str, list[float]]:
    """Every held-out target's loss by torch's cross entropy, under the component of its document."""
    held_out = open_held_out(folder / "val", recipe.data, batches=recipe.validation.batches)
    model, losses = load_model(run), {}
    owners = owners_of_tokens(folder, "val")
    stream = np.fromfile(folder / "val.bin", "<u2")
    ends = np.cumsum([0, *TokenDataset(folder / "val").sizes])
    for number in range(held_out.count):
        ids = torch.tensor(held_out.samples.tokens(number).astype(np.int64))
        places = np.concatenate(
            [np.arange(ends[p.sequence] + p.start, ends[p.sequence] + p.stop) for p in held_out.samples.pieces(number)]
        )
        assert stream[places].tolist() == ids.tolist()
        with torch.no_grad():
            found = functional.cross_entropy(model(ids[None, :-1])[0], ids[1:], reduction="none")
        for place, loss in zip(places[1:], found.tolist(), strict=True):
            losses.setdefault(NAMES[owners[place]], []).append(loss)
    return losses


def test_losses_by_component_and_of_the_mixture_are_those_summed_by_hand(told_shards, run, tiny_recipe):
    losses = by_hand(told_shards, run, tiny_recipe())
    row = next(row for row in reversed(read_rows(run / METRICS)) if "validation_loss" in row)
    assert set(row["components"]) == set(losses) == {"arxiv", "github"}
    sizes, owners = TokenDataset(told_shards / "val").sizes, np.array(OWNERS["val"])
    per_token = {}
    for number, name in enumerate(NAMES[:2]):
        mean = sum(losses[name]) / len(losses[name])
        mine = sizes[owners == number]
        per_token[name] = sum(round(BYTES[number] * size) for size in mine.tolist()) / mine.sum()
        found = row["components"][name]
        assert found["loss"] == pytest.approx(mean, rel=1e-5)
        assert found["tokens"] == len(losses[name])
        assert found["bits_per_byte"] == pytest.approx(mean / math.log(2) / per_token[name], rel=1e-5)
    everything = [loss for values in losses.values() for loss in values]
    assert row["validation_loss"] == pytest.approx(sum(everything) / len(everything), rel=1e-5)
    # The mixture: two of the three components were measured.
    counts = np.bincount(owners_of_tokens(told_shards, "train"), minlength=3)
    shares = counts / counts.sum()
    assert row["mixture_share"] == pytest.approx(shares[0] + shares[1])
    weights = dict(zip(NAMES, shares / (shares[0] + shares[1]), strict=True))
    mixed = sum(weights[name] * row["components"][name]["loss"] for name in per_token)
    assert row["mixture_loss"] == pytest.approx(mixed, rel=1e-12)
    assert row["mixture_loss"] != pytest.approx(row["validation_loss"], rel=1e-6)
    bytes_per_token = sum(weights[name] * per_token[name] for name in per_token)
    assert row["mixture_bits_per_byte"] == pytest.approx(mixed / math.log(2) / bytes_per_token, rel=1e-9)


@pytest.mark.parametrize("order", ["neox", "stateless"])
def test_epochs_are_marked_at_the_step_that_reads_their_last_token(order, tiny_recipe, tmp_path):
    write_tokens(tmp_path / "train", learnable_documents(1, 5))
    tokens = TokenDataset(tmp_path / "train").total_tokens
    recipe = tiny_recipe({"data.order": order, "train.steps": 12, "model.layers": 1})
    train(recipe, shards=tmp_path, run=tmp_path / "run", vocab_size=VOCAB_SIZE)
    rows = read_rows(tmp_path / "run" / METRICS)
    marked = {row["step"]: row["epochs_finished"] for row in rows if "epochs_finished" in row}
    expected = {
        step: step * 128 // tokens for step in range(1, 13) if step * 128 // tokens > (step - 1) * 128 // tokens
    }
    assert marked == expected
    assert len(marked) > 2


def test_a_step_that_ends_in_no_number_names_its_documents_in_a_file(told_shards, tiny_recipe, tmp_path):
    recipe = tiny_recipe({"optimizer.learning_rate": 1e30, "optimizer.warmup_fraction": 0.0})
    with pytest.raises(UsageError, match=r"step 2: .*nonfinite-00000002\.json names their documents") as error:
        train(recipe, shards=told_shards, run=tmp_path, vocab_size=VOCAB_SIZE)
    assert (error.value.exit_code, error.value.hint) == (2, "a lower optimizer.learning_rate (now 1e+30)")
    report = json.loads((tmp_path / "nonfinite-00000002.json").read_text())
    assert (report["step"], report["loss"]) == (2, "nan")
    assert "head.weight" in report["parameters"]
    index = open_training_samples(told_shards / "train", recipe.data, steps=20)
    assert [sample["sample"] for sample in report["samples"]] == list(range(8, 16))
    for sample in report["samples"]:
        origins = index.provenance(sample["sample"])
        found = [(one["component"], one["document"], tuple(one["tokens"])) for one in sample["documents"]]
        assert found == [tuple(origin) for origin in origins]


def test_without_provenance_the_file_names_sequences(token_shards, tiny_recipe, tmp_path):
    # fp16 gives up at the smallest scale, with the reason in the hint.
    settings = {"train.precision": "fp16", "loss_scale.initial_scale_power": 30, "loss_scale.minimum": 2.0**29}
    with pytest.raises(UsageError, match="the gradient norm") as error:
        train(tiny_recipe(settings), shards=token_shards, run=tmp_path, vocab_size=VOCAB_SIZE)
    assert "smallest loss scale" in error.value.hint
    assert "train.precision=bf16" in error.value.hint
    report = json.loads((tmp_path / "nonfinite-00000003.json").read_text())
    assert report["loss"] != "nan"
    assert set(report["samples"][0]["documents"][0]) == {"sequence", "tokens"}
    rows = read_rows(tmp_path / METRICS)
    assert [(row["step"], row["skipped"], row["grad_norm"]) for row in rows] == [(1, True, None), (2, True, None)]


def test_shards_too_short_for_a_sample_show_both_lengths(told_shards, tiny_recipe, tmp_path):
    recipe = tiny_recipe({"data.sequence_length": 60_000, "model.max_positions": 60_000})
    with pytest.raises(UsageError, match=r"tokens, one sample of sequence length 60,000 needs 60,001"):
        train(recipe, shards=told_shards, run=tmp_path, vocab_size=VOCAB_SIZE)
