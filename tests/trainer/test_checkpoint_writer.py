"""Checkpoints are written beside the training: each holds its step, and a kill in the midst of one leaves none."""

from __future__ import annotations

import shutil
import signal
import threading
import time

import pytest
import torch

from pile_toolkit.core.errors import OutOfSpace
from trainer.checkpoint import Progress, damage, find_checkpoints, load_checkpoint, save_checkpoint
from trainer.checkpoint_writer import CheckpointWriter
from trainer.config import CheckpointConfig
from trainer.convert import load_model
from trainer.distributed import join_world
from trainer.metrics import METRICS
from trainer.train import train


@pytest.fixture
def world():
    with join_world(torch.device("cpu")) as joined:
        yield joined


def progress(step: int) -> Progress:
    return Progress(step=step, sample=8 * step, metrics="", updates=step)


def values_of(checkpoint) -> torch.Tensor:
    state = {"model.x": torch.zeros(4)}
    load_checkpoint(checkpoint, state)
    return state["model.x"]


def test_what_is_written_is_the_state_of_the_call_while_training_changes_it(tmp_path, world, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def save_late(*arguments, **options):
        begun.set()
        assert go_on.wait(60)
        return save_checkpoint(*arguments, **options)

    # The real one, held up: `save` has to return before anything is on the disk.
    monkeypatch.setattr("trainer.checkpoint_writer.save_checkpoint", save_late)
    writer = CheckpointWriter(tmp_path, CheckpointConfig(), world)
    weights = torch.arange(4.0)
    writer.save(progress(1), training={}, state={"model.x": weights})
    assert begun.wait(60)
    weights += 100
    assert find_checkpoints(tmp_path) == []
    go_on.set()
    writer.save(progress(2), training={}, state={"model.x": weights})
    assert next(one.step for one in find_checkpoints(tmp_path)) == 1  # The second waited for the first.
    writer.wait()
    writer.close()
    first, second = find_checkpoints(tmp_path)
    assert values_of(first).tolist() == [0, 1, 2, 3]
    assert values_of(second).tolist() == [100, 101, 102, 103]


@pytest.mark.parametrize("asynchronous", [True, False])
def test_the_policy_keeps_the_newest_the_marked_and_every_so_often_one(tmp_path, world, asynchronous):
    policy = CheckpointConfig(keep_last=2, keep_every=4, steps=(0, 1), asynchronous=asynchronous)
    writer = CheckpointWriter(tmp_path, policy, world)
    kept = []
    for step in range(8):
        writer.save(progress(step), training={}, state={"model.x": torch.full((4,), float(step))})
        writer.wait()
        kept.append([one.step for one in find_checkpoints(tmp_path)])
    writer.close()
    assert kept[3] == [0, 1, 2, 3]
    assert kept[-1] == [0, 1, 4, 6, 7]
    assert values_of(find_checkpoints(tmp_path)[2]).tolist() == [4, 4, 4, 4]


def test_an_error_in_the_background_is_raised_by_the_next_call(tmp_path, world, monkeypatch):
    def full(*_arguments, **_options):
        raise OutOfSpace("the disk is full")

    writer = CheckpointWriter(tmp_path, CheckpointConfig(), world)
    monkeypatch.setattr("trainer.checkpoint_writer.save_checkpoint", full)
    writer.save(progress(1), training={}, state={"model.x": torch.zeros(4)})
    with pytest.raises(OutOfSpace):
        writer.save(progress(2), training={}, state={"model.x": torch.zeros(4)})
    writer.wait()
    writer.close()


def test_a_kill_in_mid_write_never_leaves_a_checkpoint_that_is_taken(
    train_processes, tiny_recipe, token_shards, tmp_path
):
    whole, run = tmp_path / "whole", tmp_path / "run"
    every = {"checkpoint.interval": 1, "checkpoint.keep_last": 1000, "train.steps": 10}
    process = train_processes(run, overrides=every, wait=False)
    folder, deadline = run / "checkpoints", time.monotonic() + 100
    # As soon as one is on its way, and some are behind it.
    while time.monotonic() < deadline and process.poll() is None:
        if len(list(folder.glob("step-*"))) > 2 and any(folder.glob(".step-*.tmp")):
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    taken = find_checkpoints(folder)
    assert all(damage(one) is None for one in taken)
    # The newest is whole or absent, and training goes on behind it to the same end.
    recipe = tiny_recipe(every)
    train(recipe, shards=token_shards, run=run, vocab_size=300)
    train(recipe, shards=token_shards, run=whole, vocab_size=300)
    assert (run / METRICS).read_bytes() == (whole / METRICS).read_bytes()
    assert [one.step for one in find_checkpoints(folder)] == list(range(1, 11))
    assert not list(folder.glob(".step-*.tmp"))
    for one, other in zip(load_model(run).parameters(), load_model(whole).parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_resumed_fp16_run_goes_on_with_its_loss_scale(tiny_recipe, token_shards, tmp_path):
    # Overflows at first, grows again every fourth step, and is cut between two changes.
    settings = {"train.precision": "fp16", "loss_scale.initial_scale_power": 22, "loss_scale.window": 4}
    recipe = tiny_recipe(settings | {"train.steps": 16, "checkpoint.interval": 7, "checkpoint.keep_last": 10})
    train(recipe, shards=token_shards, run=tmp_path / "whole", vocab_size=300)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for step in (14, 16):
        shutil.rmtree(tmp_path / "cut" / "checkpoints" / f"step-{step:08d}")
    (first,) = find_checkpoints(tmp_path / "cut" / "checkpoints")
    assert first.step == 7
    assert 0 < first.progress.updates < 7
    assert first.progress.loss_scale.steps == 7
    train(recipe, shards=token_shards, run=tmp_path / "cut", vocab_size=300)
    assert (tmp_path / "cut" / METRICS).read_bytes() == (tmp_path / "whole" / METRICS).read_bytes()
    text = (tmp_path / "whole" / METRICS).read_text()
    assert '"grad_norm":null' in text
    assert '"skipped":true' in text
