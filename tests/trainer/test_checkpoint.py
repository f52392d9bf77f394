"""A checkpoint is whole or it is none, holds no pickle, and gives every tensor back."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
import torch
import xxhash

from pile_toolkit.core.errors import CorruptData, OutOfSpace, UsageError
from tests.trainer.test_precision import whole
from trainer.checkpoint import (
    FORMAT,
    Progress,
    damage,
    find_checkpoints,
    load_checkpoint,
    prepare_optimizer,
    read_checkpoint,
    remove_old,
    save_checkpoint,
    training_state,
    written_checkpoints,
)
from trainer.config import CheckpointConfig, OptimizerConfig, load_recipe
from trainer.distributed import join_world
from trainer.loss_scale import LossScale
from trainer.model import initialize
from trainer.optim import build_optimizer
from trainer.pipeline import build_sharded

RECIPE = load_recipe(
    "debug",
    {
        "model.layers": 1,
        "model.hidden_size": 32,
        "model.heads": 2,
        "model.feed_forward_size": 64,
        "model.vocab_size": 100,
    },
)
SHAPE = RECIPE.model
SCALE = LossScale(scale=4096.0, passes=1, steps=2, last_overflow=0)


@pytest.fixture
def world():
    with join_world(torch.device("cpu")) as joined:
        yield joined


def trained(world, *, seed: int):
    """Model and optimizer after two updates on random gradients."""
    model = build_sharded(RECIPE, world)
    initialize(model, SHAPE, seed=seed)
    optimizer = build_optimizer(model, OptimizerConfig(learning_rate=1e-2, min_learning_rate=0))
    prepare_optimizer(model, optimizer, updates=0)
    ids = torch.randint(0, 100, (2, 8), generator=torch.Generator().manual_seed(seed))
    for _ in range(2):
        model(ids).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def progress(step: int) -> Progress:
    return Progress(step=step, sample=step * 8, metrics="abc", updates=step - 1, loss_scale=SCALE)


def save(folder, world, step: int, *, seed: int = 1):
    state = training_state(*trained(world, seed=seed))
    save_checkpoint(folder, progress(step), training={"a": 1}, state=state, world=world)
    return {name: whole(tensor).clone() for name, tensor in state.items()}


def test_every_parameter_and_moment_comes_back_and_continues_alike(tmp_path, world):
    expected = save(tmp_path, world, 2)
    assert len([name for name in expected if name.startswith("optimizer.exp_avg_sq.")]) == len(expected) // 3
    model, optimizer = trained(world, seed=9)
    prepare_optimizer(model, optimizer, updates=2)
    state = training_state(model, optimizer)
    (checkpoint,) = find_checkpoints(tmp_path)
    load_checkpoint(checkpoint, state, world=world)
    assert (checkpoint.step, checkpoint.sample, checkpoint.training) == (2, 16, {"a": 1})
    assert checkpoint.progress == progress(2)
    for name, tensor in state.items():
        assert torch.equal(whole(tensor), expected[name]), name
    # The third update of the restored optimizer is that of the original.
    original = trained(world, seed=1)
    ids = torch.arange(16).reshape(2, 8)
    for one, its_optimizer in (original, (model, optimizer)):
        one(ids).square().mean().backward()
        its_optimizer.step()
    for first, second in zip(original[0].parameters(), model.parameters(), strict=True):
        assert torch.equal(whole(first), whole(second))


def test_a_checkpoint_holds_safetensors_and_json_only(tmp_path, world):
    save(tmp_path, world, 1)
    names = {path.name for path in (tmp_path / "step-00000001").iterdir()}
    assert {name.rpartition(".")[2] for name in names} == {"safetensors", "json"}


def test_what_was_cut_off_in_writing_is_never_taken(tmp_path, world):
    for step in (1, 2, 3):
        save(tmp_path, world, step)
    (weights,) = (tmp_path / "step-00000003").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    (tmp_path / "step-00000002" / "manifest.json").unlink()
    (tmp_path / ".step-00000004.tmp").mkdir()
    (tmp_path / "step-00000005").mkdir()
    assert [one.step for one in find_checkpoints(tmp_path)] == [1]
    assert "were written" in damage(read_checkpoint(tmp_path / "step-00000003"))
    assert read_checkpoint(tmp_path / "step-00000002") is None
    remove_old(tmp_path, CheckpointConfig(keep_last=1), newest=3)
    # Step 5, like step 2, is what a removal that was cut off has left.
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_the_manifest_says_step_sample_configuration_and_the_hash_of_each_file(tmp_path, world):
    save(tmp_path, world, 3)
    manifest = json.loads((tmp_path / "step-00000003" / "manifest.json").read_text())
    counts = manifest["counts"]
    assert (counts["step"], counts["sample"], manifest["key"]["parameters"]) == (3, 24, {"a": 1})
    weights = (tmp_path / "step-00000003").glob("*.safetensors")
    hashes = {path.name: xxhash.xxh3_128_hexdigest(path.read_bytes()) for path in weights}
    assert {file["path"]: file["hash"] for file in manifest["outputs"]} == hashes
    # The same configuration has the same hash at another step, another has another.
    found = [counts["training"]]
    for training in ({"a": 1}, {"a": 2}):
        save_checkpoint(tmp_path, progress(4), training=training, state={"model.x": torch.zeros(4)}, world=world)
        found.append(json.loads((tmp_path / "step-00000004" / "manifest.json").read_text())["counts"]["training"])
    assert found[0] == found[1] != found[2]


def flip_a_byte(path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_and_a_file_too_many_are_found_and_named(tmp_path, world):
    save(tmp_path, world, 1)
    (checkpoint,) = find_checkpoints(tmp_path)
    assert damage(checkpoint) is None
    (weights,) = checkpoint.path.glob("*.safetensors")
    flip_a_byte(weights)
    assert damage(checkpoint, thorough=False) is None
    assert f"{weights} is not as it was written" in damage(checkpoint)
    # Of two ranks the second has no file to read here.
    assert damage(checkpoint, rank=1, ranks=2) is None
    weights.rename(weights.with_name("another.safetensors"))
    assert "another.safetensors does not belong" in damage(checkpoint)
    weights.with_name("another.safetensors").unlink()
    assert "cannot be read: No such file" in damage(checkpoint)


def test_a_manifest_that_cannot_be_read_costs_its_own_checkpoint_only(tmp_path, world):
    for step in (1, 2):
        save(tmp_path, world, step)
    (tmp_path / "step-00000002" / "manifest.json").write_text("{")
    said = []
    assert [one.step for one in written_checkpoints(tmp_path, said.append)] == [1]
    assert "step-00000002/manifest.json is not a manifest" in said[0]
    assert [one.step for one in find_checkpoints(tmp_path)] == [1]


def test_a_checkpoint_of_another_version_is_refused_and_not_passed_over(tmp_path, world):
    save(tmp_path, world, 1)
    manifest = tmp_path / "step-00000001" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"format": {FORMAT}', '"format": 1'))
    with pytest.raises(UsageError, match=rf"checkpoint of format 1, this version reads format {FORMAT}"):
        find_checkpoints(tmp_path)


def test_a_damaged_checkpoint_ahead_does_not_push_out_those_that_training_went_back_to(tmp_path, world):
    for step in (10, 15):
        save(tmp_path, world, step)
    flip_a_byte(next((tmp_path / "step-00000015").glob("*.safetensors")))
    for step in (12, 14):
        save(tmp_path, world, step)
        remove_old(tmp_path, CheckpointConfig(keep_last=1), newest=step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000014", "step-00000015"]
    save(tmp_path, world, 15)
    remove_old(tmp_path, CheckpointConfig(keep_last=1), newest=15)
    (checkpoint,) = find_checkpoints(tmp_path)
    assert (checkpoint.step, damage(checkpoint)) == (15, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_named_and_the_half_checkpoint_goes(tmp_path, world):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        with pytest.raises(OutOfSpace, match="the disk is full"):
            save(disk, world, 1)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_only_the_newest_are_kept(tmp_path, world):
    for step in (1, 2, 3, 10):
        save(tmp_path, world, step)
    remove_old(tmp_path, CheckpointConfig(keep_last=None), newest=10)
    assert [one.step for one in find_checkpoints(tmp_path)] == [1, 2, 3, 10]
    remove_old(tmp_path, CheckpointConfig(keep_last=2), newest=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000010"]


def test_tensors_that_are_not_those_of_the_model_are_corrupt_data(tmp_path, world):
    save(tmp_path, world, 1)
    (checkpoint,) = find_checkpoints(tmp_path)
    for name, shape in (("model.embed.weight", (128, 8)), ("model.absent.weight", (4, 4))):
        with pytest.raises(CorruptData, match="does not hold the tensors"):
            load_checkpoint(checkpoint, {name: torch.zeros(shape)})
