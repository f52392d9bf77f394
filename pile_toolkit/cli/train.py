"""`pile train | export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pile_toolkit.cli.options import (
    config_option,
    dry_run_option,
    json_option,
    print_dry_run,
    print_result,
    root_option,
)
from pile_toolkit.cli.train_plan import plan_options, print_plan
from pile_toolkit.core.console import reporter
from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command()
@click.argument("recipe")
@click.option("--steps", type=click.IntRange(min=1), help="Instead of the recipe's number of steps.")
@click.option("--name", help="Folder under runs/.  [default: the recipe's name]")
@click.option("--mix", help="Train on mixes/NAME instead of shards/.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a key of the recipe: train.precision=bf16.",
)
@click.option(
    "--new-phase", is_flag=True, help="Go on with an existing run on other shards, from its newest checkpoint on."
)
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    show_default="the user's cache folder",
    help="Where the arrays of the sample index are kept, however small.",
)
@click.option("--take-over", is_flag=True, help="Displace a training of another host that is gone.")
@plan_options
@root_option
@dry_run_option
@json_option
@config_option
@click.pass_context
def train(
    context: click.Context,
    recipe: str,
    steps: int | None,
    name: str | None,
    mix: str | None,
    assignments: tuple[str, ...],
    new_phase: bool,
    cache_dir: Path | None,
    take_over: bool,
    planning: Mapping[str, Any] | None,
    root: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train RECIPE, a name or a TOML file, on the shards of the root; a run that was cut off continues.

    Recipes that come with the package: debug, gpt-neox-20b, gpt-neox-20b-bf16, pythia-1.4b, pythia-12b, pythia-14m,
    pythia-160m, pythia-1b, pythia-2.8b, pythia-31m, pythia-410m, pythia-6.9b, pythia-70m.

    It writes runs/NAME: checkpoints, metrics.jsonl, recipe.toml with all values. `pile report` draws its curves,
    `pile export` makes a Hugging Face model of it. docs/training.md explains the keys of a recipe.

    \b
    pile train debug --steps 100
    pile train debug --set optimizer.learning_rate=1e-3 --name slow
    pile train pythia-70m --set data.micro_batch=8        less memory, same losses
    pile train pythia-70m --set checkpoint.interval=100   and killed, the same command continues
    torchrun --nproc-per-node 2 -m pile_toolkit train debug

    New weights in the midst of a run, if its recipe says data.order = "stateless". End it once the checkpoint of
    the step is there, and:

    \b
    pile shards mix more-code --weights weights.toml
    pile train mine.toml --mix more-code --new-phase
    pile train mine.toml --mix more-code              once more, should it be cut off

    \b
    What it would take on GPUs that need not be there; --dry-run traces the memory of the real model as well:
    pile train --plan gpt-neox-20b --gpus 96 --gpu a100-40 --price 1.5
    pile train --plan gpt-neox-20b --gpus 64 --gpu h100 --set train.activation_checkpointing=selective
    pile train --plan gpt-neox-20b --gpus 96 --gpu a100-40 --dry-run
    """
    from pile_toolkit.chain.stages import train as library
    from trainer.config import load_recipe

    configured = (context.default_map or {}).get("set", {})
    overrides = {**configured, **dict(map(_assignment, assignments))}
    if planning is not None:
        return print_plan(recipe, planning, overrides=overrides, steps=steps, dry_run=dry_run, as_json=as_json)
    if dry_run:
        loaded = load_recipe(recipe, overrides)
        parameters = {"recipe": recipe, "steps": steps or loaded.train.steps, **overrides}
        return print_dry_run("train", root / "runs" / (name or Path(recipe).stem), parameters, as_json=as_json)
    result = library(
        recipe,
        root=root,
        steps=steps,
        name=name,
        mix=mix,
        overrides=overrides,
        new_phase=new_phase,
        cache_dir=cache_dir,
        take_over=take_over,
        reporter=reporter(),
    )
    return print_result(result, as_json=as_json, show=_show_trained)


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text} has no '='", hint="--set optimizer.learning_rate=1e-3")
    return key.strip(), value.strip()


def _show_trained(result: Any) -> None:
    click.echo(f"{result.parameters:,} parameters, {result.steps:,} steps, {result.tokens:,} tokens")
    click.echo(f"loss {result.first_loss:.4f} to {result.last_loss:.4f}")
    if result.validation_loss is not None:
        bits = result.validation_bits_per_byte
        click.echo(f"validation loss {result.validation_loss:.4f}" + (f", {bits:.4f} bits per byte" if bits else ""))
    click.echo(result.folder)


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("target", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--to", "kind", type=click.Choice(["hf"]), default="hf", show_default=True, help="Format.")
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    show_default="that of the root it lies in",
    help="tokenizer.json to put beside it.",
)
@click.option("--recipe", help="The shape of a checkpoint of gpt-neox itself: a name or a TOML file.")
@dry_run_option
@json_option
def export(
    checkpoint: Path,
    target: Path | None,
    kind: str,
    tokenizer: Path | None,
    recipe: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """CHECKPOINT, a run folder or one step of it, as a Hugging Face model in TARGET, default CHECKPOINT/hf.

    \b
    pile export pile-data/runs/debug ./model
    python -c "from transformers import AutoModelForCausalLM as M; M.from_pretrained('./model')"

    \b
    A checkpoint of gpt-neox, its tensor-parallel parts merged:
    pile export global_step150000 ./20b --recipe gpt-neox-20b --tokenizer 20B_tokenizer.json
    """
    from pile_toolkit.chain.stages import export as library

    target = target or checkpoint / kind
    if dry_run:
        parameters = {"checkpoint": str(checkpoint), "to": kind} | ({"recipe": recipe} if recipe else {})
        return print_dry_run("export", target, parameters, as_json=as_json)
    files = library(checkpoint, target, to=kind, tokenizer=tokenizer, recipe=recipe)
    return print_result(files, as_json=as_json, show=lambda result: click.echo("\n".join(result.files)))
