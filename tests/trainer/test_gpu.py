"""On a CUDA device a training has the losses of a processor, in every precision, and continues where it was cut."""

from __future__ import annotations

import shutil

import pytest
import torch

from trainer.metrics import METRICS, TIMINGS, read_rows
from trainer.train import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


def losses(run) -> list[float]:
    return [row["loss"] for row in read_rows(run / METRICS) if "loss" in row]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 2e-2), ("fp16", 1e-2)])
@pytest.mark.parametrize("compiled", [False, True])
def test_losses_are_those_of_the_processor(precision, tolerance, compiled, tiny_recipe, token_shards, tmp_path):
    for device in ("cpu", "cuda"):
        settings = {"train.device": device, "train.compile": compiled and device == "cuda"}
        settings |= {"train.precision": precision if device == "cuda" else "fp32"}
        train(tiny_recipe(settings), shards=token_shards, run=tmp_path / device, vocab_size=300)
    assert losses(tmp_path / "cuda") == pytest.approx(losses(tmp_path / "cpu"), rel=tolerance)
    timings = read_rows(tmp_path / "cuda" / TIMINGS)
    assert all(row["memory_bytes"] > 0 for row in timings)


def test_a_run_that_was_cut_goes_on_with_the_same_losses(tiny_recipe, token_shards, tmp_path):
    recipe = tiny_recipe({"train.device": "cuda", "train.activation_checkpointing": "selective"})
    train(recipe, shards=token_shards, run=tmp_path / "whole", vocab_size=300)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step-00000020")
    train(recipe, shards=token_shards, run=tmp_path / "cut", vocab_size=300)
    assert losses(tmp_path / "cut") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)
