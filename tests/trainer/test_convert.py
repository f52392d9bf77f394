"""transformers is the oracle: equal weights give equal logits, in both directions, from memory and from files."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXConfig, GPTNeoXForCausalLM

from pile_toolkit.core.errors import CorruptData, UsageError
from trainer.checkpoint import FORMAT
from trainer.config import ModelConfig
from trainer.convert import export_huggingface, from_huggingface, load_model, to_huggingface
from trainer.model import GPTNeoX

SHAPE = ModelConfig(
    layers=3, hidden_size=48, heads=4, feed_forward_size=100, vocab_size=300, max_positions=64, rotary_pct=0.5
)
IDS = torch.randint(0, 300, (2, 64), generator=torch.Generator().manual_seed(1))


def theirs(**changes) -> GPTNeoXForCausalLM:
    settings = {
        "vocab_size": 384,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 100,
        "max_position_embeddings": 64,
        "hidden_act": "gelu_fast",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
    }
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**(settings | changes))).double().eval()
    return scrambled(model)


@torch.no_grad()
def scrambled(model: torch.nn.Module) -> torch.nn.Module:
    """Every parameter random, so that no bias, scale or row can be mistaken for another."""
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator) + (parameter.ndim == 1))
    return model


def ours(config: ModelConfig = SHAPE, dtype: torch.dtype = torch.float64) -> GPTNeoX:
    return scrambled(GPTNeoX(config).to(dtype)).eval()


@torch.no_grad()
def assert_same_logits(one, other, tolerance: float) -> None:
    first, second = (out.logits if hasattr(out, "logits") else out for out in (one(IDS), other(IDS)))
    assert first.shape == second.shape == (2, 64, 384)
    assert first.std() > 0.1
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


def test_their_weights_in_our_model_give_their_logits():
    reference, model = theirs(), ours()
    model.load_state_dict(from_huggingface(reference.state_dict()))
    assert_same_logits(model, reference, 1e-9)


def test_our_weights_in_their_model_give_our_logits():
    reference, model = theirs(), ours()
    state = to_huggingface(model.state_dict())
    state["lm_head.weight"] = state.pop("embed_out.weight")
    reference.load_state_dict(state)
    assert_same_logits(reference, model, 1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_an_exported_folder_is_the_same_model_to_transformers_and_to_us(tmp_path, dtype, tolerance):
    model = ours(dtype=dtype)
    export_huggingface(model, SHAPE, tmp_path)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert reference.dtype == dtype
    assert reference.config.hidden_act == "gelu_fast"
    assert reference.config.rope_parameters["partial_rotary_factor"] == 0.5
    assert_same_logits(reference, model, tolerance)
    again = load_model(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(IDS), model(IDS))


@pytest.mark.parametrize("activation", ["gelu_fast", "gelu_new", "gelu_pytorch_tanh", "gelu"])
def test_an_imported_model_keeps_its_activation(tmp_path, activation):
    reference = theirs(hidden_act=activation)
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert_same_logits(model, reference, 1e-9)
    # And through our own export once more.
    export_huggingface(model, model.config, tmp_path / "again")
    assert_same_logits(AutoModelForCausalLM.from_pretrained(tmp_path / "again"), reference, 1e-9)


def test_a_folder_in_several_files_with_an_old_configuration_is_read(tmp_path):
    reference = theirs(attention_bias=True)
    reference.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    tables = json.loads((tmp_path / "config.json").read_text())
    rope = tables.pop("rope_parameters")
    tables |= {"rotary_pct": rope["partial_rotary_factor"], "rotary_emb_base": 10_000}
    (tmp_path / "config.json").write_text(json.dumps(tables))
    assert_same_logits(load_model(tmp_path), reference, 1e-9)


@pytest.fixture
def tokenizer_file(tmp_path):
    """A byte-level tokenizer that cuts digits apart, which transformers' own GPT-NeoX splitting would not."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|padding|>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the 1984 quick brown fox 1984 the the quick 1984"] * 50, trainer)
    path = tmp_path / "source" / "tokenizer.json"
    path.parent.mkdir()
    tokenizer.save(str(path))
    return path


def test_the_exported_tokenizer_gives_its_own_ids_and_the_model_generates(tmp_path, tokenizer_file):
    folder = tmp_path / "exported"
    export_huggingface(ours(dtype=torch.float32), SHAPE, folder, tokenizer_path=tokenizer_file)
    assert (folder / "tokenizer.json").read_bytes() == tokenizer_file.read_bytes()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "the quick fox of 1984, twice"
    assert tokenizer(text)["input_ids"] == Tokenizer.from_file(str(tokenizer_file)).encode(text).ids
    assert tokenizer.eos_token_id == 1
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.eos_token_id == 1
    prompt = tokenizer(text, return_tensors="pt")
    generated = model.generate(**prompt, max_new_tokens=5, min_new_tokens=5, do_sample=False, pad_token_id=0)
    # Greedy decoding with their cache equals ours without.
    ids = prompt["input_ids"]
    mine = load_model(folder)
    for _ in range(5):
        with torch.no_grad():
            scores = mine(ids)[:, -1]
        scores[:, 1] = -torch.inf  # min_new_tokens forbids the end.
        ids = torch.cat((ids, scores.argmax(-1, keepdim=True)), dim=1)
    assert generated.tolist() == ids.tolist()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "llama"}, "only 'gpt_neox' is read"),
        ({"use_parallel_residual": False}, "use_parallel_residual is False"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings is True"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type is 'yarn'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"num_attention_heads": "four"}, "expected `int`, got `str`"),
        ({"rope_parameters": ["default"]}, "rope_type is .'default'."),
        ({"rope_parameters": {"rope_theta": "ten"}}, "rotary_base.*expected `float`, got `str`"),
        ({"rope_parameters": {"rope_theta": None}}, "rotary_base.*expected `float`, got `null`"),
        ({"hidden_act": ["gelu"]}, "hidden_act is .'gelu'."),
        ({"hidden_size": 10**12, "num_attention_heads": 7}, "1000000000000 is not a multiple of heads 7"),
        ({"hidden_size": 10**12}, "describes a model that cannot be"),
        ({"intermediate_size": 10**30}, "describes a model that cannot be"),
    ],
)
def test_a_model_of_another_kind_is_refused_with_the_reason(tmp_path, changes, said):
    export_huggingface(ours(), SHAPE, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UsageError, match=said):
        load_model(tmp_path)


def test_damaged_or_foreign_weights_are_corrupt_data(tmp_path):
    export_huggingface(ours(), SHAPE, tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(CorruptData, match=r"model\.safetensors"):
        load_model(tmp_path)
    two_layers = ModelConfig(**{**as_dict(SHAPE), "layers": 2})
    export_huggingface(ours(two_layers), ModelConfig(**{**as_dict(two_layers), "feed_forward_size": 96}), tmp_path)
    with pytest.raises(CorruptData, match="not those of its"):
        load_model(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 1000000000'))
    with pytest.raises(CorruptData, match=r"have 2 layers, those of its .* 1000000000"):
        load_model(tmp_path)
    weights.unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle could run anything")
    with pytest.raises(UsageError, match=r"no \.safetensors file"):
        load_model(tmp_path)
    with pytest.raises(UsageError, match="holds no model"):
        load_model(tmp_path / "nothing")


def as_dict(config: ModelConfig) -> dict:
    return {name: getattr(config, name) for name in config.__struct_fields__}


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"model_type": "gpt_neox', b'{"a": "\xff"}', b'{"a": NaN}', b'{"a":' + b"[" * 10**5]
)
def test_a_configuration_that_is_no_json_object_is_corrupt_data(tmp_path, content):
    export_huggingface(ours(), SHAPE, tmp_path)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CorruptData, match=r"config\.json is not a JSON object"):
        load_model(tmp_path)


def test_weights_of_several_or_no_floating_types_are_refused(tmp_path):
    export_huggingface(ours(dtype=torch.float32), SHAPE, tmp_path)
    weights = tmp_path / "model.safetensors"
    state = load_file(weights)
    save_file({name: t.half() if t.ndim == 1 else t for name, t in state.items()}, weights)
    with pytest.raises(UsageError, match=r"torch\.float16 and torch\.float32"):
        load_model(tmp_path)
    save_file({name: t.to(torch.int8) for name, t in state.items()}, weights)
    with pytest.raises(UsageError, match=r"are torch\.int8"):
        load_model(tmp_path)


def test_other_weights_beside_a_whole_file_are_not_read(tmp_path):
    model = ours(dtype=torch.float32)
    export_huggingface(model, SHAPE, tmp_path)
    save_file({"base_model.lora_A.weight": torch.zeros(2)}, tmp_path / "adapter_model.safetensors")
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path)(IDS), model(IDS))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda manifest: manifest["counts"].clear(), "does not say how far its training was: .*`step`"),
        (lambda manifest: manifest["key"]["parameters"].clear(), "does not say the shape"),
        (lambda manifest: manifest["key"]["parameters"].update(recipe=[]), "does not say the shape"),
    ],
)
def test_a_checkpoint_that_does_not_describe_its_model_is_corrupt_data(tmp_path, change, said):
    manifest = {
        "key": {"stage": "checkpoint", "format": FORMAT, "parameters": {"recipe": {"model": {}}}},
        "outputs": [],
        "counts": {"step": 1, "sample": 8, "metrics": "", "updates": 1},
    }
    change(manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptData, match=said):
        load_model(tmp_path)
