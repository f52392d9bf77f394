"""The hours of a training: tokens times the work of one, over what this machine was measured to do."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec
import pytest

from pile_toolkit.chain import training
from pile_toolkit.chain.forecast import plan, refuse_what_does_not_fit
from pile_toolkit.chain.training import (
    TrainingSpeed,
    flops_per_token,
    most_checkpoints,
    parameter_count,
    training_speed,
)
from pile_toolkit.core.errors import OutOfSpace
from trainer.config import CheckpointConfig, load_recipe, recipe_names

# A machine of 100 MFLOP/s.
SLOW = TrainingSpeed(device="cpu", gpus=0, flop_per_s=1e8, update_s_per_parameter=1e-9, layers=2, hidden_size=512)


def recipe_of(name, vocab_size=50_257):
    recipe = load_recipe(name)
    return msgspec.structs.replace(recipe, model=msgspec.structs.replace(recipe.model, vocab_size=vocab_size))


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder that nobody has measured into."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def config(tmp_path, recipe, more=""):
    path = tmp_path / "pile.toml"
    path.write_text(f'[train]\nrecipe = "{recipe}"\n{more}')
    return path


@pytest.mark.parametrize("name", recipe_names())
def test_parameters_and_flops_are_those_that_the_trainer_counts(name):
    from trainer import model, utilization

    recipe = recipe_of(name, vocab_size=None if load_recipe(name).model.vocab_size else 50_277)
    if recipe.model.vocab_size is None:
        recipe = load_recipe(name)
    length = recipe.data.sequence_length
    assert parameter_count(recipe.model) == model.parameter_count(recipe.model)
    assert flops_per_token(recipe.model, sequence_length=length) == utilization.model_flops_per_token(
        recipe.model, sequence_length=length
    )


@pytest.mark.parametrize(
    ("settings", "steps", "expected"),
    [
        # The last step has one, whether or not it is a multiple.
        ({"interval": 4}, 10, {4, 8, 10}),
        ({"interval": 4, "steps": (0, 3)}, 10, {0, 3, 4, 8, 10}),
        # The one before the last two stays until the newest is written.
        ({"interval": 2, "keep_last": 2}, 10, {6, 8, 10}),
        ({"interval": 1, "keep_last": 1, "keep_every": 5, "steps": (2,)}, 10, {2, 5, 9, 10}),
    ],
)
def test_checkpoints_on_the_disk_are_those_that_stay_and_a_new_one(settings, steps, expected):
    assert most_checkpoints(CheckpointConfig(**settings), steps=steps) == len(expected)


def test_the_20b_on_a_processor_takes_years_and_will_not_fit(tmp_path, own_cache, monkeypatch, pile):
    monkeypatch.setattr(training, "measure", lambda recipe: SLOW)
    monkeypatch.setattr(training, "has_gpu", lambda: False)
    forecast = plan(config(tmp_path, "gpt-neox-20b"), calibrate="never")
    assert forecast.training.unknown == training.NOT_MEASURED
    training_speed(recipe_of("gpt-neox-20b"), "once")
    forecast = plan(config(tmp_path, "gpt-neox-20b"), calibrate="never")
    found = forecast.training
    # 20.6 billion parameters, 472 billion tokens, 6 FLOPs for each of either and attention on top.
    assert found.parameters == pytest.approx(20.6e9, rel=0.01)
    assert found.tokens == 150_000 * 1536 * 2048
    assert found.flops_per_token == pytest.approx(6 * 20.25e9 + 12 * 44 * 6144 * 2048, rel=0.01)
    assert found.hours == pytest.approx((found.tokens * found.flops_per_token / 1e8 + 150_000 * 20.6) / 3600, rel=0.01)
    assert found.tokens_per_s == pytest.approx(found.tokens / found.hours / 3600)
    row = forecast.stages[-1]
    assert (row.stage, row.hours, row.present) == ("train", found.hours, False)
    # 300 checkpoints of 12 bytes a parameter, none of which goes; 24 bytes of memory for each.
    assert row.disk_bytes == 300 * 12 * found.parameters
    assert row.memory_bytes > 24 * found.parameters
    plenty = msgspec.structs.replace(forecast, free_disk_bytes=1 << 60)
    with pytest.raises(OutOfSpace, match=r"stage train will not fit: 4\d\d\.?\d* GiB of memory"):
        refuse_what_does_not_fit(plenty)
    done = pile("plan", tmp_path / "pile.toml", "--no-calibrate")
    assert done.returncode == 5
    assert "years" in done.stdout
    assert "train: 471,859,200,000 tokens in 150,000 steps" in done.stdout


def test_without_torch_the_training_is_unknown_and_all_else_is_not(tmp_path, own_cache, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    forecast = plan(config(tmp_path, "debug"), calibrate="never")
    assert forecast.training.unknown == "there is no torch: pip install 'pile-toolkit[train]'"
    assert forecast.training.hours is forecast.stages[-1].hours is None
    assert forecast.training.tokens == 100 * 4 * 128


def test_a_configuration_without_training_has_none(tmp_path, own_cache):
    (tmp_path / "pile.toml").write_text("")
    forecast = plan(tmp_path / "pile.toml")
    assert forecast.training is None
    assert forecast.stages[-1].stage == "shards"


def test_real_steps_are_measured_once_for_each_recipe(own_cache, monkeypatch):
    recipe = recipe_of("debug", vocab_size=600)
    measured = training_speed(recipe, "once")
    # The debug model is as small as what is measured; a processor does between 1 MFLOP/s and 100 TFLOP/s.
    assert (measured.layers, measured.hidden_size) == (2, 64)
    assert 1e6 < measured.flop_per_s < 1e14
    assert 0 < measured.update_s_per_parameter < 1e-3
    monkeypatch.setattr(training, "measure", lambda recipe: SLOW)
    assert training_speed(recipe, "never") == training_speed(recipe, "once") == measured
    assert training_speed(recipe_of("debug", vocab_size=700), "never") is None
    assert training_speed(recipe, "again") == SLOW
    (kept, *_) = own_cache.rglob("training-*.json")
    assert Path(kept).read_bytes().startswith(b"{")


def test_a_wide_model_is_cut_by_whole_heads_and_keeps_its_proportions():
    from trainer.speed import CPU_LIMITS, cut

    whole = recipe_of("gpt-neox-20b")
    small = cut(whole, *CPU_LIMITS)
    assert (small.model.layers, small.model.hidden_size, small.model.head_size) == (2, 480, whole.model.head_size)
    assert small.model.feed_forward_size == 4 * 480
    assert (small.data.sequence_length, small.data.micro_batch) == (512, 1)
    assert cut(recipe_of("debug"), *CPU_LIMITS).model == recipe_of("debug").model
