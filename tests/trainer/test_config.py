"""A recipe is what its file says, and what cannot be meant is refused by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pile_toolkit.core.errors import UsageError
from trainer.config import load_recipe, recipe_names, refuse_changes, resolved, to_toml

REPOSITORY = Path(__file__).resolve().parents[2]


def test_pythia_14m_has_the_published_values():
    recipe = load_recipe("pythia-14m")
    model, optimizer, data = recipe.model, recipe.optimizer, recipe.data
    assert (model.layers, model.hidden_size, model.heads, model.feed_forward_size) == (6, 128, 4, 512)
    assert (model.rotary_pct, model.rotary_base, model.layer_norm_eps, model.max_positions) == (
        0.25,
        10_000,
        1e-5,
        2048,
    )
    assert (optimizer.learning_rate, optimizer.min_learning_rate, optimizer.warmup_fraction) == (1e-3, 1e-4, 0.01)
    assert (optimizer.betas, optimizer.eps, optimizer.weight_decay) == ((0.9, 0.95), 1e-8, 0.1)
    assert optimizer.clip_norm == 1.0
    assert (data.sequence_length, data.global_batch, data.micro_batch, data.seed) == (2048, 1024, 32, 1234)
    assert (recipe.train.steps, recipe.checkpoint.interval) == (143_000, 1000)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_survives_writing_and_reading(name, tmp_path):
    recipe = load_recipe(name, {"optimizer.eps": 1.5e-9})
    path = tmp_path / "again.toml"
    path.write_text(to_toml(recipe))
    assert load_recipe(path) == recipe


def test_recipes_are_read_without_torch():
    code = "import sys, trainer.config as c; c.load_recipe('debug'); print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("key", "typed", "value"),
    [
        ("optimizer.learning_rate", "1e-3", 1e-3),
        ("optimizer.betas", "[0.8, 0.99]", (0.8, 0.99)),
        ("train.steps", "7", 7),
        ("train.steps", 7, 7),
        ("train.precision", "bf16", "bf16"),
        ("checkpoint.initial", "true", True),
        ("model.vocab_size", "50_277", 50_277),
    ],
)
def test_an_override_has_the_type_of_its_field(key, typed, value):
    recipe = load_recipe("debug", {key: typed})
    table, field = key.split(".")
    assert getattr(getattr(recipe, table), field) == value


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"optimizer.lerning_rate": "1"}, ["debug.toml", "'optimizer.lerning_rate'", "did you mean 'learning_rate'?"]),
        ({"optimiser.eps": 1e-8}, ["debug.toml", "'optimiser'", "did you mean 'optimizer'?"]),
        ({"model.layers": "two"}, ["debug.toml", "'model.layers'", "expected `int`, got `str`"]),
        ({"model.layers": 0}, ["'model.layers'", ">= 1"]),
        ({"train.steps.more": 1}, ["debug.toml", "'train.steps.more'", "not a table"]),
        ({"model.heads": 5}, ["'model'", "hidden_size 64 is not a multiple of heads 5", "is 4"]),
        ({"model.rotary_pct": 0.1}, ["0.1 x head size 16 = 1 rotary dimensions"]),
        ({"data.micro_batch": 3}, ["global_batch 4 is not a multiple of micro_batch 3"]),
        ({"data.sequence_length": 4096}, ["sequence_length 4096 is above model.max_positions 2048"]),
        ({"optimizer.min_learning_rate": 1}, ["min_learning_rate 1", "is above learning_rate 0.003"]),
        ({"train.precision": "fp8"}, ["'train.precision'", "fp8"]),
        ({"optimizer.betas": "[0.9, 1.0]"}, ["'optimizer.betas[1]'", "< 1.0"]),
        ({"optimizer.learning_rate": "inf"}, ["optimizer.learning_rate is inf, a finite number is needed"]),
        ({"model.rotary_base": "nan"}, ["'model.rotary_base'", "> 0.0"]),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_its_path(overrides, said):
    with pytest.raises(UsageError) as error:
        load_recipe("debug", overrides)
    for words in said:
        assert words in str(error.value)


def test_an_unknown_recipe_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'pythia-14m'"):
        load_recipe("pythia-41m")
    with pytest.raises(UsageError, match="there is no file"):
        load_recipe("nowhere/recipe.toml")


def test_a_vocabulary_that_contradicts_the_shards_shows_both():
    recipe = load_recipe("debug", {"model.vocab_size": 50_277})
    with pytest.raises(UsageError, match=r"50,277.*50,257"):
        resolved(recipe, steps=None, vocab_size=50_257)
    assert resolved(load_recipe("debug"), steps=3, vocab_size=50_257).model.padded_vocab_size == 50_304
    with pytest.raises(UsageError, match="not known yet"):
        _ = load_recipe("debug").model.padded_vocab_size


def test_only_what_the_losses_do_not_depend_on_may_change():
    before = {"recipe": {"model": {"layers": 2}, "checkpoint": {"interval": 5}}, "shards": "a"}
    refuse_changes(before, before | {"recipe": {"model": {"layers": 2}, "checkpoint": {"interval": 9}}}, run=Path("r"))
    with pytest.raises(UsageError, match=r"recipe.model.layers = 2.*with 3"):
        refuse_changes(before, before | {"recipe": {"model": {"layers": 3}}}, run=Path("r"))
    with pytest.raises(UsageError, match=r"shards = a.*with b"):
        refuse_changes(before, before | {"shards": "b"}, run=Path("r"))
