"""`pile export` of gpt-neox's own checkpoints: the model in transformers, and one sentence on hostile files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import GPTNeoXForCausalLM

from pile_toolkit.core.errors import CorruptData, UsageError
from tests.trainer.test_original import IDS, SHAPE, Harm, random_model, save_split
from trainer.config import load_recipe, to_toml
from trainer.convert import load_model

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.model import GPTNeoX

SETTINGS = {
    "model.layers": SHAPE.layers,
    "model.hidden_size": SHAPE.hidden_size,
    "model.heads": SHAPE.heads,
    "model.feed_forward_size": SHAPE.feed_forward_size,
    "model.rotary_pct": SHAPE.rotary_pct,
}


@pytest.fixture(scope="module")
def model() -> GPTNeoX:
    return random_model()


@pytest.fixture
def step(tmp_path, model) -> Path:
    """A checkpoint folder of two tensor-parallel parts."""
    save_split(model, tmp_path / "step", ranks=2, pipeline=True)
    return tmp_path / "step"


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(to_toml(load_recipe("debug", SETTINGS)))
    return path


def part(step: Path, layer: int, rank: int) -> Path:
    return step / f"layer_{layer:02}-model_{rank:02}-model_states.pt"


def change(step: Path, name: str, value: object, *, layer: int = 2, ranks: tuple[int, ...] = (0, 1)) -> None:
    """Puts another value into the parts of a layer."""
    for rank in ranks:
        tensors = torch.load(part(step, layer, rank), weights_only=True)
        torch.save(tensors | {name: value}, part(step, layer, rank))


def test_an_exported_checkpoint_of_gpt_neox_is_the_model_in_transformers(pile, step, recipe, model, tmp_path):
    done = pile("export", step, tmp_path / "hf", "--recipe", recipe)
    assert (done.returncode, done.stderr) == (0, "")
    theirs = GPTNeoXForCausalLM.from_pretrained(tmp_path / "hf").double().eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, model(IDS), rtol=1e-9, atol=1e-9)


def test_hostile_files_are_one_sentence_and_an_exit_code(pile, step, recipe, tmp_path):
    torch.save({"mlp.dense_4h_to_h.bias": Harm(tmp_path / "harmed")}, part(step, 3, 1))
    done = pile("export", step, tmp_path / "hf", "--recipe", recipe)
    fact, hint = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (4, "")
    assert f"{part(step, 3, 1)} is cut off, or holds more than tensors and plain values" in fact
    assert hint.startswith("  try: only files of tensors are read")
    assert not (tmp_path / "harmed").exists()
    assert not (tmp_path / "hf").exists()


def test_its_shape_is_asked_for_and_of_what_has_one_refused(step, recipe, tmp_path):
    with pytest.raises(UsageError, match="does not say its shape") as error:
        load_model(step)
    assert error.value.hint.startswith("--recipe gpt-neox-20b")
    with pytest.raises(UsageError, match="says its shape itself"):
        load_model(tmp_path, recipe=recipe)
    with pytest.raises(UsageError, match="step has 2 layers, the recipe 44"):
        load_model(step, recipe="gpt-neox-20b")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("mlp.dense_h_to_4h.bias", torch.zeros(1).expand(1 << 50), "claims 1,125,899,906,842,624 values"),
        ("mlp.dense_h_to_4h.bias", torch.zeros(3, dtype=torch.float64), r"has the shape \[6\], the model \[128\]"),
        ("mlp.dense_h_to_4h.bias", torch.zeros(64, dtype=torch.int64), "they are of float64 and int64"),
        ("mlp.dense_h_to_4h.bias", torch.eye(64).to_sparse(), "values that are not in the file"),
        ("mlp.dense_h_to_4h.bias", torch.zeros(2, 2, 2), r"has the shape \[4, 2, 2\]"),
        ("input_layernorm.bias", torch.zeros(32, 0), r"has the shape \[32, 0\]"),
        ("attention.dense.weight", torch.zeros(7), "have shapes .* which do not fit together"),
        ("../../etc/passwd", torch.zeros(1), "is no parameter of a GPT-NeoX model"),
        ("word_embeddings.bias", torch.zeros(1, dtype=torch.float64), r"the model has no embed\.bias"),
        ("attention.query_key_value.bias", "text", r"blocks\.0\.attention\.qkv\.bias is missing"),
    ],
)
def test_tensors_that_are_no_models_are_one_sentence(step, recipe, name, value, said):
    change(step, name, value)
    with pytest.raises((CorruptData, UsageError), match=said) as error:
        load_model(step, recipe=recipe)
    assert "\n" not in error.value.message


def test_parts_that_are_there_twice_and_files_that_are_none_are_named_or_passed_over(step, recipe, model):
    os.mkfifo(step / "layer_09-model_00-model_states.pt")  # Waited for, it would never end.
    (step / "layer_09-model_01-model_states.pt").mkdir()
    torch.testing.assert_close(load_model(step, recipe=recipe)(IDS), model(IDS), rtol=1e-9, atol=1e-9)
    part(step, 2, 1).rename(step / "layer_02-model_000-model_states.pt")
    with pytest.raises(CorruptData, match="which are the same part"):
        load_model(step, recipe=recipe)


def test_a_file_of_more_layers_than_the_recipe_is_refused_before_they_are_merged(tmp_path, recipe):
    # One small storage under a million names: each would become a tensor of its own.
    shared = torch.zeros(1 << 16)
    names = [f"sequential.{layer}.input_layernorm.weight" for layer in range(2, 20_000)]
    (tmp_path / "step").mkdir()
    torch.save({"module": dict.fromkeys(names, shared)}, tmp_path / "step" / "mp_rank_00_model_states.pt")
    with pytest.raises(UsageError, match="has 19998 layers, the recipe 2"):
        load_model(tmp_path / "step", recipe=recipe)
