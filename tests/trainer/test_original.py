"""A model that Megatron's tensor parallelism has cut is the same model again; files that could run code are refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import torch

from pile_toolkit.core.errors import CorruptData, UsageError
from trainer.config import ModelConfig, load_recipe
from trainer.model import GPTNeoX
from trainer.original import is_original, load_original, read_original

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = ModelConfig(layers=2, hidden_size=32, heads=4, feed_forward_size=128, vocab_size=256, rotary_pct=0.5)
IDS = torch.randint(0, 256, (2, 12), generator=torch.Generator().manual_seed(1))
NAMES = {
    "ln1": "input_layernorm",
    "ln2": "post_attention_layernorm",
    "attention.qkv": "attention.query_key_value",
    "attention.out": "attention.dense",
    "mlp.up": "mlp.dense_h_to_4h",
    "mlp.down": "mlp.dense_4h_to_h",
}
NEW_NAMES = NAMES | {"mlp.up": "mlp.linear1", "mlp.down": "mlp.linear2"}


@torch.no_grad()
def random_model() -> GPTNeoX:
    model = GPTNeoX(SHAPE).double()
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator) + (parameter.ndim == 1))
    return model.eval()


def cut(name: str, value: torch.Tensor, ranks: int, generator: torch.Generator) -> list[torch.Tensor]:
    """As Megatron cuts it: columns by heads and rows of outputs, rows by inputs, biases of rows once a rank."""
    if name.endswith(("attention.qkv.weight", "attention.qkv.bias", "mlp.up.weight", "mlp.up.bias")):
        return list(value.chunk(ranks, dim=0))
    if name in ("embed.weight", "head.weight"):
        return list(value.chunk(ranks, dim=0))
    if name.endswith(("attention.out.weight", "mlp.down.weight")):
        return list(value.chunk(ranks, dim=1))
    noise = [torch.randn(value.shape, generator=generator, dtype=value.dtype) for _ in range(ranks - 1)]
    if name.endswith(("attention.out.bias", "mlp.down.bias")):
        # Each rank adds its own to a partial sum: together they are the bias.
        return [*noise, value - sum(noise, torch.zeros_like(value))]
    # Copies of a LayerNorm that have drifted apart around their mean.
    drift = [1e-3 * part for part in noise]
    return [value + part for part in drift] + [value - sum(drift, torch.zeros_like(value))]


def layer_and_name(name: str, names: dict[str, str]) -> tuple[int, str]:
    """Number of the layer in gpt-neox's list of modules, and the name inside it."""
    if name == "embed.weight":
        return 0, "word_embeddings.weight"
    if name.startswith("norm."):
        return SHAPE.layers + 3, name
    if name == "head.weight":
        return SHAPE.layers + 4, "final_linear.weight"
    _, layer, rest = name.split(".", 2)
    module, _, kind = rest.rpartition(".")
    return int(layer) + 2, f"{names[module]}.{kind}"


def save_split(model: GPTNeoX, folder: Path, *, ranks: int, pipeline: bool, names: dict[str, str] = NAMES) -> None:
    generator = torch.Generator().manual_seed(3)
    parts: dict[tuple[int, int], dict[str, torch.Tensor]] = {}
    for name, parameter in model.named_parameters():
        layer, theirs = layer_and_name(name, names)
        for rank, part in enumerate(cut(name, parameter.detach(), ranks, generator)):
            parts.setdefault((layer, rank), {})[theirs] = part.clone()
            if theirs.startswith("attention"):
                parts[layer, rank]["attention.rotary_emb.inv_freq"] = torch.ones(4)
    folder.mkdir(parents=True)
    if pipeline:
        for (layer, rank), tensors in parts.items():
            torch.save(tensors, folder / f"layer_{layer:02}-model_{rank:02}-model_states.pt")
        return
    for rank in range(ranks):
        module = {
            f"sequential.{layer}.{name}": tensor
            for (layer, owner), tensors in parts.items()
            if owner == rank
            for name, tensor in tensors.items()
        }
        torch.save({"module": module, "iteration": 7}, folder / f"mp_rank_{rank:02}_model_states.pt")


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize(("pipeline", "names"), [(True, NAMES), (False, NAMES), (True, NEW_NAMES)])
def test_a_split_model_is_whole_again(tmp_path, ranks, pipeline, names):
    model = random_model()
    save_split(model, tmp_path / "step", ranks=ranks, pipeline=pipeline, names=names)
    assert is_original(tmp_path / "step")
    merged = load_original(tmp_path / "step", SHAPE)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(merged.get_parameter(name), parameter, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(merged(IDS), model(IDS), rtol=1e-9, atol=1e-9)


def test_one_part_alone_or_merged_without_its_rules_is_another_model(tmp_path):
    # The twin above cuts so that every rule counts: a bias of one rank, or the mean of biases, is far away.
    model = random_model()
    save_split(model, tmp_path / "step", ranks=2, pipeline=True)
    part = torch.load(tmp_path / "step" / "layer_02-model_00-model_states.pt", weights_only=True)
    whole = model.get_parameter("blocks.0.attention.out.bias")
    assert (part["attention.dense.bias"] - whole).abs().mean() > 0.1
    assert not torch.equal(part["input_layernorm.weight"], model.get_parameter("blocks.0.ln1.weight"))


def test_halves_are_summed_in_float32(tmp_path):
    model = random_model().half()
    save_split(model, tmp_path / "step", ranks=4, pipeline=True)
    state = read_original(tmp_path / "step")
    parts = [
        torch.load(tmp_path / "step" / f"layer_02-model_0{rank}-model_states.pt", weights_only=True)
        for rank in range(4)
    ]
    exact = sum(part["mlp.dense_4h_to_h.bias"].double() for part in parts)
    assert torch.equal(state["blocks.0.mlp.down.bias"], exact.half())


class Harm:
    """What a hostile pickle would do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path):
    save_split(random_model(), tmp_path / "step", ranks=2, pipeline=True)
    harmed = tmp_path / "harmed"
    file = tmp_path / "step" / "layer_03-model_01-model_states.pt"
    torch.save({"mlp.dense_4h_to_h.bias": Harm(harmed)}, file)
    with pytest.raises(CorruptData, match=r"layer_03-model_01.* holds more than tensors"):
        read_original(tmp_path / "step")
    assert not harmed.exists()
    torch.load(file, weights_only=False)
    assert harmed.exists()  # It would have.


@pytest.mark.parametrize(
    "harm", [lambda raw: raw[:100], lambda raw: b"", lambda raw: b"\0" * 500, lambda raw: raw[:-9]]
)
def test_a_damaged_file_is_named(tmp_path, harm):
    save_split(random_model(), tmp_path / "step", ranks=2, pipeline=True)
    file = tmp_path / "step" / "layer_00-model_01-model_states.pt"
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(CorruptData, match=r"layer_00-model_01-model_states\.pt is cut off"):
        read_original(tmp_path / "step")


def test_missing_parts_and_other_shapes_are_named(tmp_path):
    folder = tmp_path / "step"
    save_split(random_model(), folder, ranks=2, pipeline=True)
    with pytest.raises(UsageError, match="has 2 layers, the recipe 3"):
        load_original(folder, ModelConfig(layers=3, hidden_size=32, heads=4, feed_forward_size=128))
    with pytest.raises(UsageError, match=r"are not the recipe's: .* has the shape"):
        load_original(folder, ModelConfig(layers=2, hidden_size=64, heads=4, feed_forward_size=128))
    (folder / "layer_03-model_01-model_states.pt").unlink()
    with pytest.raises(CorruptData, match=r"layer 3 has parts \[0\], others have \[0, 1\]"):
        read_original(folder)
    (folder / "layer_03-model_00-model_states.pt").unlink()
    (folder / "layer_02-model_00-model_states.pt").unlink()
    (folder / "layer_02-model_01-model_states.pt").unlink()
    with pytest.raises(CorruptData, match=r"has blocks \[\]"):
        read_original(folder)
    assert not is_original(tmp_path)
    with pytest.raises(UsageError, match="holds no model states"):
        read_original(tmp_path)


def test_the_rows_of_the_20b_are_taken_as_they_are(tmp_path):
    # Its recipe pads 50,277 ids for tensor parallelism 2; here the rows of the files count.
    config = load_recipe("gpt-neox-20b", {"model.vocab_size": 50_277}).model
    assert config.padded_vocab_size == 50_432
    save_split(random_model(), tmp_path / "step", ranks=2, pipeline=True)
    assert load_original(tmp_path / "step", SHAPE).config.padded_vocab_size == 256
