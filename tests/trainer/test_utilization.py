"""FLOPs are those of the formula and of torch's own counter, and utilisation is their share of the peak."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pile_toolkit.core.errors import UsageError
from trainer.activations import recompute_activations
from trainer.config import ModelConfig, load_recipe
from trainer.metrics import METRICS, TIMINGS, StepTiming, read_rows
from trainer.model import GPTNeoX
from trainer.train import train
from trainer.utilization import (
    Work,
    model_flops_per_token,
    peak_flop_per_s,
    recomputed_flops_per_token,
    work_of,
)

NEOX = load_recipe("gpt-neox-20b", {"model.vocab_size": 50_277})
SHAPE = ModelConfig(layers=3, hidden_size=64, heads=4, feed_forward_size=256, vocab_size=512)


def test_a_token_of_the_20b_is_128_gigaflop():
    h, layers, vocab, length = 6144, 44, 50_432, 2048
    parameters = 20_554_567_680
    flops = model_flops_per_token(NEOX.model, sequence_length=length)
    assert flops == 6 * (parameters - vocab * h) + 12 * layers * h * length
    assert flops == pytest.approx(128.1e9, rel=1e-3)
    # Recomputation does the forward pass of the blocks again: a third more, but for the head.
    again = recomputed_flops_per_token(NEOX.model, sequence_length=length, kind="full")
    assert again == pytest.approx((flops - 6 * vocab * h) / 3, rel=1e-9)
    assert recomputed_flops_per_token(NEOX.model, sequence_length=length, kind="selective") == 0


@pytest.mark.parametrize("kind", ["none", "full"])
def test_torchs_own_count_of_products_agrees(kind):
    length, batch = 32, 2
    model = GPTNeoX(SHAPE)
    recompute_activations(model, kind)
    ids = torch.zeros(batch, length, dtype=torch.int64)
    # The counter knows the products of attention where they are products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
    vectors = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim == 1)
    # Norms and biases are counted in N, and are no products.
    expected = model_flops_per_token(SHAPE, sequence_length=length) - 6 * vectors
    if kind == "full":
        expected += recomputed_flops_per_token(SHAPE, sequence_length=length, kind=kind) - 2 * vectors
        # torch stops before a block's last product, whose value no gradient needs; by convention it counts.
        expected -= 2 * SHAPE.layers * SHAPE.hidden_size * SHAPE.feed_forward_size
    assert counter.get_total_flops() == expected * batch * length


def test_model_and_hardware_utilisation_are_kept_apart():
    work = Work(model_flops=600, hardware_flops=800, peak_flop_per_s=1e6)
    assert work.shares(1000.0) == (pytest.approx(0.6), pytest.approx(0.8))
    assert Work(model_flops=6, hardware_flops=8, peak_flop_per_s=None).shares(1.0) == (None, None)
    assert peak_flop_per_s(torch.device("cpu"), None) is None
    assert peak_flop_per_s(torch.device("cpu"), 2.5) == 2.5e12
    recipe = load_recipe("gpt-neox-20b", {"model.vocab_size": 50_277, "train.peak_tflop_per_s": 312})
    mfu, hardware = work_of(recipe, torch.device("cpu"), ranks=96).shares(96 * 688.0)
    # The 20B's 688 tokens/s a GPU: 28% of an A100's peak, 117 TFLOP/s with recomputation.
    assert mfu == pytest.approx(0.28, abs=0.005)
    assert hardware * 312 == pytest.approx(117, rel=0.02)


def test_timings_say_utilisation_memory_and_what_is_left(tiny_recipe, token_shards, tmp_path):
    recipe = tiny_recipe({"train.steps": 4, "train.peak_tflop_per_s": 0.5, "train.activation_checkpointing": "full"})
    seen: list[StepTiming] = []
    train(recipe, shards=token_shards, run=tmp_path, vocab_size=300, on_timing=seen.append)
    rows = read_rows(tmp_path / TIMINGS)
    assert [timing.step for timing in seen] == [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert 0 < row["mfu"] < row["hardware_utilisation"]
        assert row["memory_bytes"] > 50 << 20
        assert row["eta_s"] == pytest.approx(row["elapsed_s"] / row["step"] * (4 - row["step"]), abs=0.1)
    assert "mfu" not in (tmp_path / METRICS).read_text()


def test_a_timing_is_one_line_for_people():
    timing = StepTiming(
        step=3,
        elapsed_s=9.0,
        tokens_per_s=12_345.6,
        mfu=0.412,
        hardware_utilisation=0.55,
        memory_bytes=12 << 30,
        eta_s=7384.0,
    )
    assert timing.line() == "12,346 tokens/s, MFU 41.2%, HFU 55.0%, 12.00 GiB, 2:03:04 left"
    assert StepTiming(step=1, elapsed_s=1.0, tokens_per_s=10.0).line() == "10 tokens/s"


def test_a_tracker_that_is_not_installed_is_named_before_the_first_step(tiny_recipe, token_shards, tmp_path):
    for name, settings in (("tensorboard", {"track.tensorboard": True}), ("wandb", {"track.wandb_project": "p"})):
        if importlib.util.find_spec(name) is not None:
            continue
        with pytest.raises(UsageError, match=f"asks for {name}, which is not installed") as error:
            train(tiny_recipe(settings), shards=token_shards, run=tmp_path, vocab_size=300)
        assert "pile-toolkit[track]" in error.value.hint


def test_tensorboard_holds_the_rows(tiny_recipe, token_shards, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `track` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny_recipe({"train.steps": 4, "track.tensorboard": True}), shards=token_shards, run=tmp_path, vocab_size=300)
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    rows = [row for row in read_rows(tmp_path / METRICS) if "loss" in row]
    assert [event.step for event in board.Scalars("loss")] == [1, 2, 3, 4]
    assert [event.value for event in board.Scalars("loss")] == pytest.approx([row["loss"] for row in rows])
    assert {"grad_norm", "tokens_per_s", "validation_loss"} <= set(board.Tags()["scalars"])


def test_wandb_holds_the_rows_offline(tiny_recipe, token_shards, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra `track` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    recipe = tiny_recipe({"train.steps": 2, "track.wandb_project": "pile"})
    train(recipe, shards=token_shards, run=tmp_path / "run", vocab_size=300)
    # Offline, W&B keeps its records in one file of its own format, whose values are JSON.
    (records,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-run.wandb")
    rows = [row for row in read_rows(tmp_path / "run" / METRICS) if "loss" in row]
    raw = records.read_bytes()
    assert [str(row["loss"]).encode() in raw for row in rows] == [True, True]
