"""Damage done to a run folder is found before anything is built on it, named, and made good where that is cheap."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from pile_toolkit.core.errors import CorruptData, UsageError
from trainer.checkpoint import damage, find_checkpoints
from trainer.config import load_recipe
from trainer.convert import load_model
from trainer.metrics import METRICS, read_rows
from trainer.train import TrainResult, train

VOCAB_SIZE = 300


@pytest.fixture(scope="module")
def sound(tmp_path_factory, tiny_recipe, token_shards) -> Path:
    """A finished run with checkpoints at 15 and 20. Copy it, do not touch it."""
    run = tmp_path_factory.mktemp("sound") / "run"
    train(tiny_recipe(), shards=token_shards, run=run, vocab_size=VOCAB_SIZE)
    return run


@pytest.fixture
def run(sound, tmp_path) -> Path:
    """A copy of the finished run that a test may damage."""
    shutil.copytree(sound, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def again(run, tiny_recipe, token_shards):
    """Trains once more into `run`; returns the result and what was said."""

    def call(overrides: dict | None = None) -> tuple[TrainResult, str]:
        said: list[str] = []
        recipe = tiny_recipe(overrides)
        result = train(recipe, shards=token_shards, run=run, vocab_size=VOCAB_SIZE, say=said.append)
        return result, "\n".join(said)

    return call


def assert_same_training(run: Path, sound: Path) -> None:
    assert (run / METRICS).read_bytes() == (sound / METRICS).read_bytes()
    assert (run / "recipe.toml").read_bytes() == (sound / "recipe.toml").read_bytes()
    assert [damage(one) for one in find_checkpoints(run / "checkpoints")] == [None, None]
    for one, other in zip(load_model(run).parameters(), load_model(sound).parameters(), strict=True):
        assert torch.equal(one, other)


def weights_of(run: Path, step: int) -> Path:
    (path,) = (run / "checkpoints" / f"step-{step:08d}").glob("*.safetensors")
    return path


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def spoil_the_manifest(path: Path) -> None:
    (path.parent / "manifest.json").write_text('{"key":')


@pytest.mark.parametrize(
    ("harm", "fact"),
    [
        (flip_a_byte, "is not as it was written"),
        (shorten, "were written"),
        (Path.unlink, "cannot be read"),
        (spoil_the_manifest, "manifest"),
    ],
)
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_word_and_made_anew(run, sound, again, harm, fact):
    harm(weights_of(run, 20))
    # Who asks for the run's model does not get an older one unasked.
    with pytest.raises(CorruptData, match="step-00000020"):
        load_model(run)
    assert load_model(run / "checkpoints" / "step-00000015").config.layers == 2
    _, said = again()
    assert "step-00000020" in said
    assert fact in said
    assert "starting at step 1" not in said
    assert_same_training(run, sound)
    assert again()[1] == ""


def test_without_a_whole_checkpoint_training_starts_again_and_says_so(run, sound, again):
    for step in (15, 20):
        flip_a_byte(weights_of(run, step))
    _, said = again()
    assert "starting at step 1" in said
    assert_same_training(run, sound)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"\0" * 100)])
def test_a_lost_log_is_written_anew_by_training_again(run, sound, again, harm):
    harm(run / METRICS)
    _, said = again()
    assert "metrics.jsonl is not as it was at step 20" in said
    assert_same_training(run, sound)


def test_a_changed_late_row_costs_the_steps_since_the_checkpoint_before_it(run, sound, again):
    text = (run / METRICS).read_text()
    (run / METRICS).write_text(text.replace('"tokens":2304', '"tokens":2305'))  # Step 18.
    _, said = again()
    assert said == f"{run / METRICS} is not as it was at step 20: not continuing from step 20"
    assert_same_training(run, sound)


def test_sound_checkpoints_are_not_given_up_for_a_log_that_somebody_edited(run, again):
    text = (run / METRICS).read_text()
    (run / METRICS).write_text(text.replace('"tokens":128}', '"tokens":129}'))
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(CorruptData, match="step 15, but the checkpoint of that step is sound") as error:
        again()
    assert f"rm {run / METRICS}" in error.value.hint
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
    (run / METRICS).unlink()
    assert again()[0].steps == 20


def test_the_recipe_file_says_what_was_trained(run, sound, again):
    for harm in (Path.unlink, lambda path: path.write_text("junk")):
        harm(run / "recipe.toml")
        again()
        assert_same_training(run, sound)
    # A value that may differ does not change what a finished run was trained with.
    again({"checkpoint.interval": 7})
    assert_same_training(run, sound)


def test_damage_that_only_one_of_two_processes_reads_is_known_to_both(train_processes, tmp_path):
    run, options = tmp_path / "run", {"train.steps": 10}
    train_processes(run, ranks=2, overrides=options)
    before = (run / METRICS).read_bytes()
    flip_a_byte(next((run / "checkpoints" / "step-00000010").glob("shard-00002-*.safetensors")))
    train_processes(run, ranks=2, overrides=options)
    assert (run / METRICS).read_bytes() == before
    assert [damage(one) for one in find_checkpoints(run / "checkpoints")] == [None, None]


def test_weights_that_are_no_numbers_never_become_a_checkpoint(tiny_recipe, token_shards, tmp_path):
    wild = {"optimizer.learning_rate": 1e30, "optimizer.warmup_fraction": 0.0}
    recipe = tiny_recipe(wild | {"validation.interval": 1, "checkpoint.interval": 1})
    with pytest.raises(UsageError, match="step 1: the validation loss is nan"):
        train(recipe, shards=token_shards, run=tmp_path, vocab_size=VOCAB_SIZE)
    assert find_checkpoints(tmp_path / "checkpoints") == []
    assert [row["step"] for row in read_rows(tmp_path / METRICS)] == [1]
    assert load_recipe(tmp_path / "recipe.toml").optimizer.learning_rate == 1e30
