"""`pile shards write` and `pile shards mix`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pile_toolkit.cli.mixture import mixture_options, show_dry_mixture
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
from pile_toolkit.core.errors import UsageError


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

    \b
    pile shards write
    pile shards write --tokenizer 20B_tokenizer.json      ids of another tokenizer than the root's
    pile shards write --materialize                       for tools that cut or merge .bin files
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
@mixture_options("tokens", "300B", weights=None)
@root_option
@take_over_option
@dry_run_option
@json_option
@config_option
def mix(name: str, root: Path, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Other weights over the same shards: a new index under mixes/NAME, nothing is encoded again.

    Totals and shares are of tokens of the train split, where those of `pile build` are of bytes.

    \b
    pile shards mix more-code --weights weights.toml
    pile shards mix equal --temperature 2 --max-epochs 4 --dry-run
    pile train debug --mix more-code --name more-code     reads it
    """
    from pile_toolkit.chain.mix import mix_shards, planned_mix
    from pile_toolkit.core.manifest import read_manifest

    if not any(options.values()):
        raise UsageError("neither weights nor targets are named", hint="--weights weights.toml, or --total 1B")
    options = {**options, "weights": options["weights"] or "pile"}
    if dry_run:
        rows = planned_mix(root, **options) if read_manifest(root / "shards") else None
        return show_dry_mixture("mix", root / "mixes" / name, options, rows, as_json=as_json, unit="tokens")
    with writing(root):
        result = mix_shards(root, name, **options)
    return print_result(result, as_json=as_json, show=_show_written)


def _show_written(result: Any) -> None:
    rows = [
        (split, f"{row.sequences:,}", f"{row.tokens:,}", f"{row.stored:,}", f"{row.stored_tokens:,}")
        for split, row in result.splits.items()
    ]
    print_table(["split", ">sequences", ">tokens", ">stored documents", ">stored tokens"], rows)
    click.echo(f"{result.folder} ({result.dtype}, {result.vocab_size:,} ids)")
