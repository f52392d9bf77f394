"""Models in and out: a Hugging Face or gpt-neox folder, a checkpoint or a run in, a module out, and the way back.

Weights travel as safetensors, so that no file can run code. The padded vocabulary rows are exported, as in EleutherAI's
own files (50,432 rows for ids up to 50,276): they took part in the softmax of training, and cutting them would change
the logits' normalisation and forbid going on training the imported model.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor

from pile_toolkit.core.config import convert
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path, write_bytes
from pile_toolkit.core.jsonfile import CONFIG_LIMIT_BYTES, TOKENIZER_LIMIT_BYTES, read_json
from trainer.assign import assigned, misfit
from trainer.checkpoint import CHECKPOINTS, Checkpoint, damage, load_checkpoint, read_checkpoint, written_checkpoints
from trainer.config import ModelConfig, load_recipe
from trainer.model import GPTNeoX, build_on_meta
from trainer.original import is_original, load_original

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn

END_OF_TEXT = "<|endoftext|>"
_LAYERS, _THEIR_LAYERS = "blocks.", "gpt_neox.layers."
_MODULES = {
    "embed": "gpt_neox.embed_in",
    "norm": "gpt_neox.final_layer_norm",
    "head": "embed_out",
    "ln1": "input_layernorm",
    "ln2": "post_attention_layernorm",
    "attention.qkv": "attention.query_key_value",
    "attention.out": "attention.dense",
    "mlp.up": "mlp.dense_h_to_4h",
    "mlp.down": "mlp.dense_4h_to_h",
}
# transformers 5 calls the head lm_head in memory and embed_out in files.
_OUR_MODULES = {theirs: ours for ours, theirs in _MODULES.items()} | {"lm_head": "head"}
# transformers' gelu_fast is the tanh approximation; gelu_new and gelu_pytorch_tanh are the same function.
_ACTIVATIONS = {"gelu_tanh": "gelu_fast", "gelu_erf": "gelu"}
_IMPORTED_ACTIVATIONS = {
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu_erf",
}
# What every model here has, and what transformers assumes where a configuration does not say.
_FIXED = {"use_parallel_residual": True, "tie_word_embeddings": False, "attention_bias": True}
# Masks and tables that old exports carry along; they follow from the configuration.
_DERIVED = re.compile(r"\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$")


def to_huggingface(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our parameter names replaced by those in Hugging Face files; the tensors have the same layout."""
    return {_renamed(name, _LAYERS, _THEIR_LAYERS, _MODULES): tensor for name, tensor in state.items()}


def from_huggingface(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of Hugging Face files, or of transformers' modules, replaced by ours."""
    kept = {name: tensor for name, tensor in state.items() if not _DERIVED.search(name)}
    return {_renamed(name, _THEIR_LAYERS, _LAYERS, _OUR_MODULES): tensor for name, tensor in kept.items()}


def _renamed(name: str, layers: str, new_layers: str, modules: Mapping[str, str]) -> str:
    module, _, kind = name.rpartition(".")
    prefix = ""
    if module.startswith(layers):
        layer, _, module = module.removeprefix(layers).partition(".")
        prefix = f"{new_layers}{layer}."
    if module not in modules:
        raise UsageError(f"'{name}' is no parameter of a GPT-NeoX model")
    return f"{prefix}{modules[module]}.{kind}"


def huggingface_config(config: ModelConfig, *, end_of_text: int | None, dtype: torch.dtype) -> dict[str, Any]:
    """config.json for transformers' GPTNeoXForCausalLM, with the activation that was trained."""
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "attention_bias": True,
        "attention_dropout": 0.0,
        "bos_token_id": end_of_text,
        "dtype": str(dtype).removeprefix("torch."),
        "eos_token_id": end_of_text,
        "hidden_act": _ACTIVATIONS[config.activation],
        "hidden_dropout": 0.0,
        "hidden_size": config.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": config.feed_forward_size,
        "layer_norm_eps": config.layer_norm_eps,
        "max_position_embeddings": config.max_positions,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "rope_parameters": {
            "partial_rotary_factor": config.rotary_pct,
            "rope_theta": config.rotary_base,
            "rope_type": "default",
        },
        # Before transformers 5 the rotary values stood here.
        "rotary_emb_base": config.rotary_base,
        "rotary_pct": config.rotary_pct,
        "tie_word_embeddings": False,
        "use_cache": True,
        "use_parallel_residual": True,
        "vocab_size": config.padded_vocab_size,
    }


def config_from_huggingface(tables: Mapping[str, Any], *, where: str) -> ModelConfig:
    """The shape in a config.json, its own activation kept. Raises UsageError for what this model does not have."""
    if tables.get("model_type") != "gpt_neox":
        raise UsageError(f"{where}: model_type is {tables.get('model_type')!r}, only 'gpt_neox' is read")
    for key, value in _FIXED.items():
        if tables.get(key, value) != value:
            raise UsageError(f"{where}: {key} is {tables[key]!r}, this model has {value!r}")
    rope = tables.get("rope_parameters") or tables.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, dict) else rope
    if kind != "default":
        raise UsageError(f"{where}: rope_type is {kind!r}, this model has 'default'")
    activation = tables.get("hidden_act", "gelu")
    if not isinstance(activation, str) or activation not in _IMPORTED_ACTIVATIONS:
        raise UsageError(f"{where}: hidden_act is {activation!r}, known are {', '.join(_IMPORTED_ACTIVATIONS)}")
    try:
        values = {
            "layers": tables["num_hidden_layers"],
            "hidden_size": tables["hidden_size"],
            "heads": tables["num_attention_heads"],
            "feed_forward_size": tables["intermediate_size"],
            "vocab_size": tables["vocab_size"],
        }
    except KeyError as error:
        raise UsageError(f"{where}: {error.args[0]} is missing") from error
    values |= {
        "vocab_multiple": 1,  # Their rows are taken as they are.
        "max_positions": tables.get("max_position_embeddings", 2048),
        "rotary_pct": rope.get("partial_rotary_factor", tables.get("rotary_pct", 0.25)),
        "rotary_base": rope.get("rope_theta", tables.get("rotary_emb_base", 10_000.0)),
        "layer_norm_eps": tables.get("layer_norm_eps", 1e-5),
        "activation": _IMPORTED_ACTIVATIONS[activation],
    }
    return convert(values, ModelConfig, where=where)


def export_huggingface(
    model: nn.Module, config: ModelConfig, folder: Path, tokenizer_path: Path | None = None
) -> list[Path]:
    """Writes what `transformers.AutoModelForCausalLM.from_pretrained(folder)` loads; returns the files.

    Under FSDP every rank calls this and the first writes. `tokenizer_path` is a tokenizer.json, copied as it is.
    """
    whole = {
        name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        for name, tensor in model.named_parameters()
    }
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in to_huggingface(whole).items()}
    if torch.distributed.is_initialized() and torch.distributed.get_rank() != 0:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "model.safetensors"]
    needs_bytes = sum(tensor.nbytes for tensor in state.values())
    with atomic_path(files[0], needs_bytes=needs_bytes) as temporary, _naming_no_space():
        save_file(state, temporary, metadata={"format": "pt"})
    end_of_text = None
    if tokenizer_path is not None:
        end_of_text = _end_of_text_id(tokenizer_path)
        files += _export_tokenizer(
            tokenizer_path, folder, max_length=config.max_positions, known=end_of_text is not None
        )
    dtype = next(iter(state.values())).dtype
    files.append(folder / "config.json")
    _write_json(files[-1], huggingface_config(config, end_of_text=end_of_text, dtype=dtype))
    return files


class _Added(msgspec.Struct):
    id: int
    content: str


class _Tokenizer(msgspec.Struct):
    added_tokens: list[_Added]


def _end_of_text_id(tokenizer_path: Path) -> int | None:
    try:
        tokenizer = read_json(
            tokenizer_path, _Tokenizer, limit_bytes=TOKENIZER_LIMIT_BYTES, what="a readable tokenizer.json"
        )
    except OSError as error:
        raise UsageError(f"{tokenizer_path} is not a readable tokenizer.json: {error}") from error
    return next((token.id for token in tokenizer.added_tokens if token.content == END_OF_TEXT), None)


def _export_tokenizer(tokenizer_path: Path, folder: Path, *, max_length: int, known: bool) -> list[Path]:
    files = [folder / "tokenizer.json", folder / "tokenizer_config.json"]
    with atomic_path(files[0]) as temporary:
        shutil.copyfile(tokenizer_path, temporary)
    # The plain class uses tokenizer.json as it stands; GPTNeoXTokenizer would put its own splitting rules in.
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_length}
    if known:
        settings |= {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "unk_token": END_OF_TEXT}
    _write_json(files[1], settings)
    return files


def _write_json(path: Path, tables: Mapping[str, Any]) -> None:
    write_bytes(path, json.dumps(tables, indent=2, sort_keys=True).encode() + b"\n")


@contextlib.contextmanager
def _naming_no_space() -> Iterator[None]:
    # The library knows the system's error in its text only.
    try:
        yield
    except SafetensorError as error:
        if f"os error {errno.ENOSPC}" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def load_model(path: str | Path, *, recipe: str | Path | None = None) -> GPTNeoX:
    """The model of a run folder (its newest checkpoint), a checkpoint folder or a Hugging Face GPT-NeoX folder.

    A checkpoint folder of gpt-neox itself, too, whose tensor-parallel parts are merged; it does not say its shape, so
    that of `recipe` is taken, which the others do not need.

    Weights keep the precision they were stored in; `model(ids[B, T])` gives logits [B, T, padded vocabulary].
    Raises UsageError where there is no model, CorruptData where its files are damaged.
    """
    folder = Path(path)
    if is_original(folder):
        if recipe is None:
            raise UsageError(
                f"{folder} is a checkpoint of gpt-neox, which does not say its shape",
                hint="--recipe gpt-neox-20b, or the recipe that it was made by",
            )
        return load_original(folder, load_recipe(recipe).model)
    if recipe is not None:
        raise UsageError(f"{folder} says its shape itself", hint="without --recipe, which is for gpt-neox's own files")
    if (checkpoint := _checkpoint_at(folder)) is not None:
        return _from_checkpoint(checkpoint)
    if (folder / "config.json").is_file():
        return _from_huggingface_folder(folder)
    raise UsageError(
        f"{folder} holds no model: no whole checkpoint, no {CHECKPOINTS}/ and no config.json",
        hint="a run, a checkpoint, a Hugging Face GPT-NeoX folder or one of gpt-neox's own checkpoints",
    )


def tokenizer_of(path: str | Path) -> str | None:
    """The hash of the tokenizer that a run or a checkpoint was trained with, None where it is not known."""
    checkpoint = _checkpoint_at(Path(path))
    return checkpoint.training.get("tokenizer") or None if checkpoint else None


def _checkpoint_at(folder: Path) -> Checkpoint | None:
    # Of a run the newest, be it damaged: an older one in its place would be another model than was asked for.
    return read_checkpoint(folder) or next(reversed(written_checkpoints(folder / CHECKPOINTS, _refuse)), None)


def _refuse(fact: str) -> None:
    raise CorruptData(fact, hint="the folder of one checkpoint instead of the run's, or train again")


def _from_checkpoint(checkpoint: Checkpoint) -> GPTNeoX:
    if fault := damage(checkpoint):
        raise CorruptData(fault, hint="another checkpoint of the run, or train again: it continues before that step")
    recipe = checkpoint.training.get("recipe")
    shape = recipe.get("model") if isinstance(recipe, dict) else None
    if not isinstance(shape, dict):
        raise CorruptData(f"{checkpoint.path} does not say the shape of its model")
    model = _built(convert(shape, ModelConfig, where=str(checkpoint.path)), where=checkpoint.path)
    model.to_empty(device="cpu")
    load_checkpoint(checkpoint, {f"model.{name}": parameter.detach() for name, parameter in model.named_parameters()})
    return model.eval()


def _from_huggingface_folder(folder: Path) -> GPTNeoX:
    path = folder / "config.json"
    tables = read_json(path, dict[str, Any], limit_bytes=CONFIG_LIMIT_BYTES, what="a JSON object")
    config = config_from_huggingface(tables, where=str(path))
    # Before the model is built: a configuration may claim any number of layers.
    state = from_huggingface(_weights(folder))
    layers = len({name.split(".")[1] for name in state if name.startswith(_LAYERS)})
    if layers != config.layers:
        raise CorruptData(f"the weights in {folder} have {layers} layers, those of its config.json {config.layers}")
    model = _built(config, where=path)
    if fault := misfit(model, state):
        raise CorruptData(f"the weights in {folder} are not those of its config.json: {fault}")
    return assigned(model, state)


def _weights(folder: Path) -> dict[str, Tensor]:
    # One whole file beside others is what transformers takes too: the others are adapters or an earlier export.
    whole = folder / "model.safetensors"
    files = [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))
    if not files:
        raise UsageError(f"{folder} has no .safetensors file", hint="pickled .bin weights are not loaded: convert them")
    state: dict[str, Tensor] = {}
    for file in files:
        try:
            state |= load_file(file)
        except SafetensorError as error:
            raise CorruptData(f"{file} is no whole safetensors file: {error}") from error
    types = {str(tensor.dtype) for name, tensor in state.items() if not _DERIVED.search(name)}
    if types not in ({"torch.float64"}, {"torch.float32"}, {"torch.bfloat16"}, {"torch.float16"}):
        raise UsageError(
            f"the weights in {folder} are {' and '.join(sorted(types))}, this model has one floating type for all"
        )
    return state


def _built(config: ModelConfig, *, where: Path) -> GPTNeoX:
    try:
        return build_on_meta(config)
    except (RuntimeError, TypeError) as error:  # Sizes beyond 64 bits.
        raise UsageError(f"{where} describes a model that cannot be: {error}") from error
