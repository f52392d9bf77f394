"""`pile shards write` and `pile shards mix`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pile_toolkit.cli.options import (
    config_option,
    dry_run_option,
    json_option,
    print_dry_run,
    print_result,
    root_option,
    stage_options,
    take_over_option,
    writing,
)
from pile_toolkit.core.console import print_table, reporter


@click.command(short_help="Encode the plan into .bin, .idx and .docs.arrow.")
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path, dir_okay=False),
    show_default="that of the root",
    help="A tokenizer.json of the GPT-2 or NeoX kind.",
)
@click.option(
    "--materialize",
    is_flag=True,
    help="Write every copy out, for readers that take slices or merge files and ignore pointers.",
)
@stage_options
def write(
    tokenizer: Path | None, materialize: bool, root: Path, jobs: int, scheduler: str, dry_run: bool, as_json: bool
) -> None:
    """Encode every planned document once and write .bin, .idx and .docs.arrow of each split.

    Upsampled copies are entries of the index that share their document's bytes, which gpt-neox and Megatron-LM read
    as they read any other.
    """
    from pile_toolkit.chain.stages import write_shards

    if dry_run:
        return print_dry_run("shards", root / "shards", {"materialize": materialize}, as_json=as_json)
    with writing(root):
        result = write_shards(
            root,
            tokenizer=tokenizer,
            materialize=materialize,
            jobs=jobs,
            scheduler=scheduler,
            reporter=reporter(),
        )
    return print_result(result, as_json=as_json, show=_show_written)


@click.command(short_help="Other weights over the same shards, in a second.")
@click.argument("name")
@click.option("--weights", required=True, help='"pile", or a TOML file of epochs per slug, a line such as: arxiv = 2.0')
@root_option
@take_over_option
@dry_run_option
@json_option
@config_option
def mix(name: str, weights: str, root: Path, dry_run: bool, as_json: bool) -> None:
    """Other weights over the same shards: a new index under mixes/NAME, nothing is encoded again."""
    from pile_toolkit.chain.mix import mix_shards

    if dry_run:
        return print_dry_run("mix", root / "mixes" / name, {"weights": weights}, as_json=as_json)
    with writing(root):
        result = mix_shards(root, name, weights=weights)
    return print_result(result, as_json=as_json, show=_show_written)


def _show_written(result: Any) -> None:
    rows = [
        (split, f"{row.sequences:,}", f"{row.tokens:,}", f"{row.stored:,}", f"{row.stored_tokens:,}")
        for split, row in result.splits.items()
    ]
    print_table(["split", ">sequences", ">tokens", ">stored documents", ">stored tokens"], rows)
    click.echo(f"{result.folder} ({result.dtype}, {result.vocab_size:,} ids)")
