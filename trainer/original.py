"""A checkpoint folder of gpt-neox, split by tensor parallelism, in; our parameters whole again out.

gpt-neox saves pickled files. They are read by torch's restricted unpickler (`weights_only=True`), which builds tensors
and plain containers and refuses everything else, so that no file can run code.

Two ways of naming, both of one folder such as `global_step150000`: a file a layer and rank (`layer_05-model_01-
model_states.pt`, layers counted from the embedding, 0, and the first block, 2), as pipelines save, or a file a rank
(`mp_rank_01_model_states.pt`), as runs without a pipeline do.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from pile_toolkit.core.errors import CorruptData, UsageError
from trainer.assign import assigned, misfit
from trainer.model import build_on_meta

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from trainer.config import ModelConfig
    from trainer.model import GPTNeoX

_LAYER = re.compile(r"layer_(\d+)-model_(\d+)-model_states\.pt")
_RANK = re.compile(r"mp_rank_(\d+)_model_states\.pt")
_SEQUENTIAL = re.compile(r"sequential\.(\d+)\.(.+)")
_BLOCK = {
    "input_layernorm": "ln1",
    "post_attention_layernorm": "ln2",
    "attention.query_key_value": "attention.qkv",
    "attention.dense": "attention.out",
    "mlp.dense_h_to_4h": "mlp.up",
    "mlp.dense_4h_to_h": "mlp.down",
    # Names since 2024.
    "mlp.linear1": "mlp.up",
    "mlp.linear2": "mlp.down",
}
_OUTSIDE = {"word_embeddings": "embed", "norm": "norm", "final_linear": "head"}
# Masks and tables that follow from the shape.
_DERIVED = re.compile(r"attention\.(bias|masked_bias|rotary_emb\.inv_freq)$|_extra_state$")


def is_original(folder: Path) -> bool:
    """Whether gpt-neox has saved model states here."""
    return any(_LAYER.fullmatch(path.name) or _RANK.fullmatch(path.name) for path in folder.glob("*_states.pt"))


def read_original(folder: Path) -> dict[str, Tensor]:
    """All parameters under our names, the parts of tensor parallelism merged.

    Raises CorruptData where a file is cut off, holds anything but tensors and plain values, or parts are missing;
    UsageError where the model is not of GPT-NeoX's kind.
    """
    return _whole(_layers(folder), folder)


def load_original(folder: Path, config: ModelConfig) -> GPTNeoX:
    """The model in a checkpoint folder of gpt-neox, whose files do not say their shape: `config`, as of its recipe.

    Rows of the vocabulary are taken as they are. Raises as `read_original`, and UsageError where shapes differ.
    """
    layers = _layers(folder)
    blocks = sum("input_layernorm.weight" in parts[0] for parts in layers.values())
    # Before anything is merged: a file may claim any number of layers.
    if blocks != config.layers:
        raise UsageError(f"{folder} has {blocks} layers, the recipe {config.layers}", hint="the recipe it was made by")
    state = _whole(layers, folder)
    rows = len(state["embed.weight"])
    model = build_on_meta(msgspec.structs.replace(config, vocab_size=rows, vocab_multiple=1, vocab_tensor_degree=1))
    if fault := misfit(model, state):
        raise UsageError(f"the tensors in {folder} are not the recipe's: {fault}", hint="the recipe it was made by")
    return assigned(model, state)


def _whole(layers: dict[int, list[Mapping[str, Tensor]]], folder: Path) -> dict[str, Tensor]:
    # The embedding is layer 0 and the first block layer 2; norm and head follow the last block with one between.
    first_block: int = 2
    state: dict[str, Tensor] = {}
    for number in sorted(layers):
        # Given up once merged: a model of the size of memory's half is read.
        parts = layers.pop(number)
        names = {name for part in parts for name in part}
        for name in sorted(names):
            if _DERIVED.search(name):
                continue
            missing = [rank for rank, part in enumerate(parts) if name not in part]
            if missing:
                raise CorruptData(f"{folder}: layer {number} has {name}, but not in the part of rank {missing[0]}")
            ours = _renamed(name, number - first_block, folder)
            state[ours] = _merged(ours, [part[name] for part in parts], folder)
    return _without_gaps(state, folder)


def _layers(folder: Path) -> dict[int, list[Mapping[str, Tensor]]]:
    """The parts of each layer in the order of ranks."""
    found: dict[int, dict[int, Mapping[str, Tensor]]] = {}
    for (layer, rank), path in _numbered(folder, _LAYER).items():
        found.setdefault(layer, {})[rank] = _tensors(path, _load(path))
    if not found:
        for (rank,), path in _numbered(folder, _RANK).items():
            for layer, tensors in _of_one_rank(path).items():
                found.setdefault(layer, {})[rank] = tensors
    if not found:
        raise UsageError(f"{folder} holds no model states of gpt-neox", hint="a folder such as global_step150000")
    ranks = {rank for parts in found.values() for rank in parts}
    for layer, parts in found.items():
        if sorted(parts) != list(range(len(ranks))):
            raise CorruptData(f"{folder}: layer {layer} has parts {sorted(parts)}, others have {sorted(ranks)}")
    return {layer: [parts[rank] for rank in sorted(parts)] for layer, parts in found.items()}


def _numbered(folder: Path, pattern: re.Pattern[str]) -> dict[tuple[int, ...], Path]:
    """The files of a name, by the numbers in it. Only files: a pipe would be waited for."""
    found: dict[tuple[int, ...], Path] = {}
    for path in sorted(folder.glob("*_states.pt")):
        if (match := pattern.fullmatch(path.name)) and path.is_file():
            other = found.setdefault(tuple(map(int, match.groups())), path)
            if other is not path:
                raise CorruptData(f"{folder} has {other.name} and {path.name}, which are the same part")
    return found


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        # What a seek before the beginning of a short file gives; any other says nothing about the content.
        if error.errno != errno.EINVAL:
            raise
        raise _unreadable(path, error) from error
    except MemoryError:
        raise
    except Exception as error:
        # A hostile file can make the unpickler raise anything; its own error's module is not imported here.
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CorruptData:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return CorruptData(
        f"{path} is cut off, or holds more than tensors and plain values: {reason}",
        hint="only files of tensors are read: nothing in a checkpoint is run",
    )


def _of_one_rank(path: Path) -> dict[int, dict[str, Tensor]]:
    whole = _load(path)
    module = whole.get("module") if isinstance(whole, dict) else None
    layers: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _tensors(path, module).items():
        match = _SEQUENTIAL.fullmatch(name)
        if match is None:
            raise UsageError(f"{path}: '{name}' is no parameter of a GPT-NeoX model")
        layers.setdefault(int(match[1]), {})[match[2]] = tensor
    return layers


def _tensors(path: Path, loaded: Any) -> dict[str, Tensor]:
    if not isinstance(loaded, dict):
        raise CorruptData(f"{path} holds no table of tensors")
    found = {name: value for name, value in loaded.items() if isinstance(name, str) and isinstance(value, torch.Tensor)}
    for name, tensor in found.items():
        # One value that is repeated by its strides may claim to be larger than any memory.
        if tensor.layout != torch.strided or tensor.nbytes > tensor.untyped_storage().nbytes():
            raise CorruptData(f"{path}: {name} claims {tensor.numel():,} values that are not in the file")
    return found


def _renamed(name: str, block: int, folder: Path) -> str:
    module, _, kind = name.rpartition(".")
    if module in _OUTSIDE:
        return f"{_OUTSIDE[module]}.{kind}"
    if module in _BLOCK:
        return f"blocks.{block}.{_BLOCK[module]}.{kind}"
    raise UsageError(f"{folder}: '{name}' is no parameter of a GPT-NeoX model")


def _merged(name: str, parts: Sequence[Tensor], folder: Path) -> Tensor:
    try:
        return _rule(name)(parts)
    except (RuntimeError, IndexError) as error:
        shapes = [tuple(part.shape) for part in parts]
        raise CorruptData(f"{folder}: the parts of {name} have shapes {shapes}, which do not fit together") from error


def _rule(name: str) -> Callable[[Sequence[Tensor]], Tensor]:
    """How gpt-neox cuts a parameter, undone."""
    module, _, kind = name.rpartition(".")
    if module.endswith(("ln1", "ln2", "norm")):
        # Each rank trains its own copy; they drift apart by rounding.
        return _mean
    if module.endswith(("attention.out", "mlp.down")):
        # Rows of the input are split; each rank adds a bias of its own to its partial product.
        return (lambda parts: torch.cat(list(parts), dim=1)) if kind == "weight" else _sum
    return lambda parts: torch.cat(list(parts), dim=0)


def _sum(parts: Sequence[Tensor]) -> Tensor:
    return _precise(parts).sum(0).to(parts[0].dtype)


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return _precise(parts).mean(0).to(parts[0].dtype)


def _precise(parts: Sequence[Tensor]) -> Tensor:
    # Halves are added in float32, and rounded once.
    return torch.stack([part.to(torch.promote_types(part.dtype, torch.float32)) for part in parts])


def _without_gaps(state: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    blocks = sorted({int(name.split(".")[1]) for name in state if name.startswith("blocks.")})
    if blocks != list(range(len(blocks))) or not blocks:
        raise CorruptData(f"{folder} has blocks {blocks}: some are missing", hint="copy the layer files again")
    for name in ("embed.weight", "norm.weight", "norm.bias", "head.weight"):
        if name not in state:
            raise CorruptData(f"{folder} has no {name}", hint="a model with tied embeddings is not of this kind")
    return state
