"""A recipe is what its file says, and what cannot be meant is refused by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pile_toolkit.core.errors import UsageError
from trainer.config import load_recipe, recipe_names, refuse_changes, resolved, to_toml

REPOSITORY = Path(__file__).resolve().parents[2]


# EleutherAI/pythia, models/<size>/pythia-<size>.yml at commit a19eecb: layers, hidden size, heads, highest and lowest
# rate, sequences a GPU, model-parallel-size, eval-interval, checkpoint-activations, whether an init_method is named.
PYTHIA = {
    "pythia-14m": (6, 128, 4, 0.001, 0.0001, 32, 1, 100_000, False, True),
    "pythia-31m": (6, 256, 8, 0.001, 0.0001, 32, 1, 100_000, False, True),
    "pythia-70m": (6, 512, 8, 0.001, 0.0001, 32, 1, 40_000, True, True),
    "pythia-160m": (12, 768, 12, 0.0006, 0.00006, 32, 1, 40_000, True, True),
    "pythia-410m": (24, 1024, 16, 0.0003, 0.00003, 32, 1, 40_000, True, True),
    "pythia-1b": (16, 2048, 8, 0.00025, 0.000025, 16, 1, 40_000, True, True),
    "pythia-1.4b": (24, 2048, 16, 0.0002, 0.00002, 16, 1, 40_000, True, True),
    "pythia-2.8b": (32, 2560, 32, 0.00016, 0.000016, 16, 1, 40_000, True, True),
    "pythia-6.9b": (32, 4096, 32, 0.00012, 0.000012, 8, 2, 1000, True, False),
    "pythia-12b": (36, 5120, 40, 0.00012, 0.000012, 8, 4, 1000, True, False),
}
# Rows of the embedding in EleutherAI's published config.json files.
PUBLISHED_ROWS = {"pythia-6.9b": 50_432, "pythia-12b": 50_688, "gpt-neox-20b": 50_432, "gpt-neox-20b-bf16": 50_432}
SAVED_FIRST = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


@pytest.mark.parametrize("name", PYTHIA)
def test_pythias_have_the_published_values(name):
    recipe = load_recipe(name)
    model, optimizer = recipe.model, recipe.optimizer
    layers, size, heads, rate, lowest, micro_batch, degree, interval, checkpointed, named = PYTHIA[name]
    assert (model.layers, model.hidden_size, model.heads, model.feed_forward_size) == (layers, size, heads, 4 * size)
    assert (optimizer.learning_rate, optimizer.min_learning_rate, optimizer.weight_decay) == (rate, lowest, 0.1)
    assert (recipe.data.global_batch, recipe.data.micro_batch) == (1024, micro_batch)
    assert (model.vocab_tensor_degree, recipe.validation.interval) == (degree, interval)
    assert recipe.train.activation_checkpointing == ("full" if checkpointed else "none")
    methods = ("small_init", "wang_init") if named else ("normal", "scaled_normal")
    assert (model.init_method, model.output_layer_init_method) == methods
    assert (recipe.train.steps, recipe.checkpoint.interval, recipe.checkpoint.steps) == (143_000, 1000, SAVED_FIRST)
    assert recipe.train.precision == "bf16"  # Theirs was fp16: the one value that differs, and the recipe says so.
    assert_common_values(recipe)


@pytest.mark.parametrize(("name", "precision"), [("gpt-neox-20b", "fp16"), ("gpt-neox-20b-bf16", "bf16")])
def test_the_20b_has_the_values_it_was_trained_with(name, precision):
    # EleutherAI/gpt-neox configs/20B.yml; 12 data-parallel replicas on its 96 GPUs.
    recipe = load_recipe(name)
    model, optimizer = recipe.model, recipe.optimizer
    assert (model.layers, model.hidden_size, model.heads, model.feed_forward_size) == (44, 6144, 64, 24_576)
    assert (model.head_size, model.rotary_size, model.vocab_tensor_degree) == (96, 24, 2)
    assert (model.init_method, model.output_layer_init_method) == ("small_init", "wang_init")
    assert (optimizer.learning_rate, optimizer.min_learning_rate, optimizer.weight_decay) == (0.97e-4, 0.97e-5, 0.01)
    assert (recipe.data.global_batch, recipe.data.micro_batch) == (4 * 32 * 12, 4)
    assert (recipe.train.steps, recipe.checkpoint.interval, recipe.validation.interval) == (150_000, 500, 1000)
    assert (recipe.train.precision, recipe.train.activation_checkpointing) == (precision, "full")
    assert not recipe.attention.reset_at_eod
    assert_common_values(recipe)


def assert_common_values(recipe) -> None:
    model, optimizer, scale = recipe.model, recipe.optimizer, recipe.loss_scale
    assert (model.rotary_pct, model.rotary_base, model.layer_norm_eps) == (0.25, 10_000, 1e-5)
    assert (model.max_positions, recipe.data.sequence_length, recipe.data.seed) == (2048, 2048, 1234)
    assert model.activation == "gelu_tanh"
    assert (optimizer.betas, optimizer.eps, optimizer.warmup_fraction) == ((0.9, 0.95), 1e-8, 0.01)
    assert (optimizer.clip_norm, recipe.validation.batches) == (1.0, 10)
    assert (scale.initial_scale_power, scale.window, scale.hysteresis, scale.minimum) == (12, 1000, 2, 1.0)


def test_the_recipes_are_the_debug_one_all_pythias_and_the_20b():
    assert set(recipe_names()) == {"debug", "gpt-neox-20b", "gpt-neox-20b-bf16", *PYTHIA}


@pytest.mark.parametrize("name", recipe_names())
def test_the_vocabulary_is_padded_as_the_published_models_were(name):
    # Ids up to 50,276 (the released tokenizer), rounded up to 128 x the degree of tensor parallelism.
    model = load_recipe(name, {"model.vocab_size": 50_277}).model
    assert model.padded_vocab_size == PUBLISHED_ROWS.get(name, 50_304)


@pytest.mark.parametrize(
    ("vocab", "degree", "rows"), [(50_257, 1, 50_304), (50_304, 1, 50_304), (50_305, 1, 50_432), (50_257, 8, 51_200)]
)
def test_padding_is_to_a_multiple_of_128_and_the_degree(vocab, degree, rows):
    overrides = {"model.vocab_size": vocab, "model.vocab_tensor_degree": degree}
    assert load_recipe("debug", overrides).model.padded_vocab_size == rows


def test_checkpoints_are_due_as_pythias_were_and_the_marked_ones_stay():
    checkpoint = load_recipe("pythia-14m").checkpoint
    due = [step for step in range(3001) if checkpoint.is_due(step, last=143_000)]
    assert due == [*SAVED_FIRST, 1000, 2000, 3000]
    overrides = {"checkpoint.keep_last": 2, "checkpoint.keep_every": 1000, "checkpoint.interval": 250}
    checkpoint = load_recipe("pythia-14m", overrides).checkpoint
    assert [step for step in range(1, 2001) if checkpoint.stays(step)] == [
        1,
        2,
        4,
        8,
        16,
        32,
        64,
        128,
        256,
        512,
        1000,
        2000,
    ]
    assert checkpoint.is_due(1999, last=1999)
    assert not load_recipe("debug").checkpoint.is_due(0, last=0)


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
        ("checkpoint.steps", "[0, 1, 2]", (0, 1, 2)),
        ("train.compile", "true", True),
        ("track.wandb_project", "my-runs", "my-runs"),
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
        ({"attention.reset_at_eot": True}, ["'attention.reset_at_eot'", "did you mean 'reset_at_eod'?"]),
        ({"checkpoint.steps": "[-1]"}, ["'checkpoint.steps[0]'", ">= 0"]),
        ({"loss_scale.hysterisis": 2}, ["'loss_scale.hysterisis'", "did you mean 'hysteresis'?"]),
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
    with pytest.raises(UsageError, match="did you mean 'pythia-410m'"):
        load_recipe("pythia-401m")
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
