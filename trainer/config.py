"""A recipe file in, frozen typed structs out; no torch here, so that recipes are read on machines without it.

An unknown key, a wrong type or a wrong product of numbers is an error that names the file, the key path, what was
expected and the nearest valid name.
"""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pile_toolkit.core.config import convert, nearest, read_toml
from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RECIPES = Path(__file__).parent / "recipes"

Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Beta = Annotated[float, Meta(ge=0.0, lt=1.0)]
PositiveFloat = Annotated[float, Meta(gt=0.0)]
NonNegativeFloat = Annotated[float, Meta(ge=0.0)]

# TOML has no null, so every optional value is None where it is left out.
# What may differ when a run is resumed: neither the model nor the order of the data depends on it.
FREE_ON_RESUME = (
    "recipe.checkpoint.",
    "recipe.validation.",
    "recipe.track.",
    "recipe.data.micro_batch",
    "recipe.parallel.",
    "recipe.train.device",
    "recipe.train.activation_checkpointing",
    "recipe.train.peak_tflop_per_s",
)


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of a GPT-NeoX model, and how its weights begin.

    `vocab_size` is the highest id + 1, None takes that of the token shards; it is padded so that `vocab_tensor_degree`
    devices could share the rows. The two methods are those of gpt-neox under the same names.
    """

    layers: Positive
    hidden_size: Positive
    heads: Positive
    feed_forward_size: Positive
    max_positions: Positive = 2048
    vocab_size: Positive | None = None
    vocab_multiple: Positive = 128
    vocab_tensor_degree: Positive = 1
    rotary_pct: Fraction = 0.25
    rotary_base: PositiveFloat = 10_000.0
    layer_norm_eps: PositiveFloat = 1e-5
    activation: Literal["gelu_tanh", "gelu_erf"] = "gelu_tanh"
    init_method: Literal["small_init", "normal"] = "small_init"
    output_layer_init_method: Literal["wang_init", "scaled_normal"] = "wang_init"

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads:
            # Of sizes that no model has, which a foreign file may claim, the divisors are not searched.
            divisors = [d for d in range(1, min(self.hidden_size, 1 << 20) + 1) if self.hidden_size % d == 0]
            closest = min(divisors, key=lambda d: abs(d - self.heads))
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}; the nearest number of heads "
                f"that divides it is {closest}"
            )
        if self.rotary_size < 2 or self.rotary_size % 2:
            raise ValueError(
                f"rotary_pct {self.rotary_pct} x head size {self.head_size} = {self.rotary_size} rotary dimensions; "
                "an even number from 2 on is needed"
            )

    @property
    def head_size(self) -> int:
        """Dimensions of one attention head."""
        return self.hidden_size // self.heads

    @property
    def rotary_size(self) -> int:
        """The first dimensions of each head that carry positions."""
        return int(self.head_size * self.rotary_pct)

    @property
    def padded_vocab_size(self) -> int:
        """Rows of embedding and head: `vocab_size` rounded up to `vocab_multiple` x `vocab_tensor_degree`."""
        if self.vocab_size is None:
            raise UsageError("the vocabulary size is not known yet", hint="set model.vocab_size, or give token shards")
        multiple = self.vocab_multiple * self.vocab_tensor_degree
        return -(-self.vocab_size // multiple) * multiple


class AttentionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `reset_at_eod` no token sees what stands before the last `eod_id`; positions run on, as in gpt-neox."""

    reset_at_eod: bool = False
    eod_id: Count = 0


class OptimizerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """AdamW, a linear warm-up over `warmup_fraction` of the steps, then a cosine down to `min_learning_rate`.

    `clip_norm` None leaves gradients as they are.
    """

    learning_rate: PositiveFloat
    min_learning_rate: NonNegativeFloat
    warmup_fraction: Fraction = 0.01
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01
    clip_norm: PositiveFloat | None = None

    def __post_init__(self) -> None:
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(f"min_learning_rate {self.min_learning_rate} is above learning_rate {self.learning_rate}")


class DataConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`global_batch` sequences a step on any layout, `micro_batch` at once on each rank; `seed` is the order's."""

    sequence_length: Positive
    global_batch: Positive
    micro_batch: Positive
    order: Literal["neox", "megatron", "stateless"] = "neox"
    seed: Annotated[int, Meta(ge=0, lt=1 << 32)] = 1234

    def __post_init__(self) -> None:
        if self.global_batch % self.micro_batch:
            raise ValueError(f"global_batch {self.global_batch} is not a multiple of micro_batch {self.micro_batch}")


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long and how precisely; `seed` is that of the initial weights. Device None: cuda where there is one.

    Half precisions compute on copies of float32 weights. Activations of a block that are not kept are computed a second
    time: "full" keeps none, "selective" those of matrix products and attention. `peak_tflop_per_s` is what utilisation
    is a share of, None takes what is known of the GPU.
    """

    steps: Positive
    seed: Annotated[int, Meta(ge=0, lt=1 << 32)] = 1234
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: Literal["cpu", "cuda"] | None = None
    activation_checkpointing: Literal["none", "selective", "full"] = "none"
    compile: bool = False
    peak_tflop_per_s: PositiveFloat | None = None


class LossScaleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The dynamic loss scale of fp16, as DeepSpeed's: doubled after `window` steps without an overflow.

    It begins at 2 ** `initial_scale_power`, and is halved by an overflow once `hysteresis` - 1 others were let pass.
    """

    initial_scale_power: Annotated[int, Meta(ge=0, le=32)] = 12
    window: Positive = 1000
    hysteresis: Positive = 2
    minimum: PositiveFloat = 1.0


class CheckpointConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A checkpoint every `interval` steps, after each of `steps` (0 is before the first), and at the end.

    The `keep_last` newest are kept, None keeps all; those of `steps` and multiples of `keep_every` are never removed.
    `asynchronous` ones are written while the training goes on, from a copy in the memory of the host.
    """

    interval: Positive = 500
    keep_last: Positive | None = None
    keep_every: Positive | None = None
    steps: tuple[Count, ...] = ()
    asynchronous: bool = True

    def is_due(self, step: int, *, last: int) -> bool:
        """Whether there is a checkpoint after `step` of `last` steps."""
        return step in self.steps or (step > 0 and (step == last or step % self.interval == 0))

    def stays(self, step: int) -> bool:
        """Whether the checkpoint of `step` is never removed."""
        if self.keep_last is None or step in self.steps:
            return True
        return self.keep_every is not None and step % self.keep_every == 0


class TrackConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where metrics go besides metrics.jsonl: TensorBoard's files in the run folder, a project of Weights & Biases."""

    tensorboard: bool = False
    wandb_project: str | None = None


class ValidationConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every `interval` steps and at the end, over the same `batches` global batches of the val shards."""

    interval: Positive = 1000
    batches: Positive = 10


class ParallelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How ranks share the work: `tensor` x `pipeline` hold one model, all others repeat that with other data.

    Data-parallel ranks keep sharded among them, by ZeRO's stage `zero`, 1 the optimizer's state, 2 gradients too, 3
    parameters too; over several `replicas` of such a group, say one a machine, that is repeated (HSDP). A rank of a
    pipeline has `stages_per_rank` pieces of the model, which "interleaved" needs two of at least. With `cpu_offload`
    parameters, gradients and optimizer live in the memory of the host.
    """

    tensor: Positive = 1
    pipeline: Positive = 1
    replicas: Positive = 1
    zero: Literal[1, 2, 3] = 1
    schedule: Literal["1f1b", "interleaved", "zero-bubble"] = "1f1b"
    stages_per_rank: Positive = 1
    cpu_offload: bool = False

    def __post_init__(self) -> None:
        if (self.stages_per_rank > 1) != (self.schedule == "interleaved") and self.schedule != "zero-bubble":
            raise ValueError(
                f"stages_per_rank {self.stages_per_rank} with the schedule {self.schedule!r}: 1f1b has one, "
                "interleaved two or more"
            )
        if self.schedule == "zero-bubble" and self.zero > 1:
            raise ValueError(
                f"zero {self.zero} with the schedule 'zero-bubble', whose gradients of weights come after the backward "
                "pass that would shard them: zero 1, or another schedule"
            )
        if self.stages_per_rank > 1 and self.pipeline == 1:
            raise ValueError(f"stages_per_rank {self.stages_per_rank} without a pipeline; 1 is what there can be")


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a training run depends on, besides its data."""

    model: ModelConfig
    optimizer: OptimizerConfig
    data: DataConfig
    train: TrainConfig
    checkpoint: CheckpointConfig = CheckpointConfig()
    validation: ValidationConfig = ValidationConfig()
    attention: AttentionConfig = AttentionConfig()
    loss_scale: LossScaleConfig = LossScaleConfig()
    parallel: ParallelConfig = ParallelConfig()
    track: TrackConfig = TrackConfig()

    def __post_init__(self) -> None:
        for key, value in flat(msgspec.to_builtins(self)):
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{key} is {value}, a finite number is needed")
        if self.data.sequence_length > self.model.max_positions:
            raise ValueError(
                f"data.sequence_length {self.data.sequence_length} is above model.max_positions "
                f"{self.model.max_positions}"
            )


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A shipped recipe by name or a TOML file by path, with dotted keys replaced: `{"train.steps": 200}`.

    Override values may be text as typed on a command line ("1e-3", "true", "[0.9, 0.95]"): the field decides.
    Raises UsageError that names file, key path, expectation and the nearest valid name.
    """
    path = _recipe_path(str(name_or_path))
    tables = read_toml(path)
    for key, value in (overrides or {}).items():
        _override(tables, key, value, where=str(path))
    replaced = "".join(f" with {key}={value}" for key, value in (overrides or {}).items())
    return convert(tables, Recipe, where=f"{path}{replaced}")


def _recipe_path(name: str) -> Path:
    if name.endswith(".toml") or "/" in name:
        return Path(name)
    if name not in recipe_names():
        raise UsageError(f"there is no recipe '{name}'", hint=nearest(name, recipe_names()))
    return RECIPES / f"{name}.toml"


def _override(tables: dict[str, Any], key: str, value: Any, *, where: str) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        tables = tables.setdefault(parent, {})
        if not isinstance(tables, dict):
            raise UsageError(f"{where}: '{parent}' in the override '{key}' is a value, not a table")
    tables[leaf] = _parsed(value) if isinstance(value, str) else value


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # A bare word, such as a precision or a device.


def resolved(recipe: Recipe, *, steps: int | None, vocab_size: int) -> Recipe:
    """The recipe with its open values filled in, checked as if it had been read from a file.

    Raises UsageError where the recipe's own vocabulary contradicts the token shards'.
    """
    stated = recipe.model.vocab_size
    if stated not in (None, vocab_size):
        raise UsageError(
            f"the recipe's model.vocab_size is {stated:,}, the token shards were written with {vocab_size:,}",
            hint="leave model.vocab_size out of the recipe",
        )
    if recipe.attention.reset_at_eod and recipe.attention.eod_id >= vocab_size:
        raise UsageError(
            f"attention.eod_id is {recipe.attention.eod_id:,}, the ids of the token shards end at {vocab_size - 1:,}",
            hint="the id of the tokenizer's <|endoftext|>",
        )
    tables = msgspec.to_builtins(recipe)
    tables["model"]["vocab_size"] = vocab_size
    tables["train"]["steps"] = recipe.train.steps if steps is None else steps
    return convert(tables, Recipe, where="recipe")


def flat(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its dotted key."""
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any], *, run: Path) -> None:
    """Raises UsageError that shows both values where `now` would continue `before` as something else."""
    old, new = dict(flat(before)), dict(flat(now))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key) and not key.startswith(FREE_ON_RESUME):
            raise UsageError(
                f"{run} was trained with {key} = {old.get(key)}, it cannot be continued with {new.get(key)}",
                hint=f"another --name keeps both; rm -r {run} gives this one up",
            )


def to_toml(recipe: Recipe) -> str:
    """The recipe as a file that `load_recipe` reads back to the same values."""
    lines = []
    for name, table in msgspec.to_builtins(recipe).items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items() if value is not None]
        lines.append("")
    return "\n".join(lines)
