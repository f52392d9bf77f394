"""`pile shards index`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pile_toolkit.cli.options import config_option, json_option, print_result, root_option
from pile_toolkit.cli.shards.inputs import ORDERS
from pile_toolkit.core.console import print_table, size
from pile_toolkit.core.errors import UsageError

NUMBER = click.IntRange(min=1)


def _weights(context: click.Context, option: click.Parameter, given: str | None) -> list[float] | None:
    if given is None:
        return None
    try:
        return [float(weight) for weight in given.split(",")]
    except ValueError as error:
        raise UsageError(f"--weights {given} are no numbers", hint="--weights 0.7,0.3") from error


@click.command(short_help="Build or find the sample index of a run, of one prefix or several.")
@click.argument("prefixes", nargs=-1, type=click.Path(path_type=Path), metavar="[PREFIX]...")
@click.option("--length", "--sequence-length", "sequence_length", type=NUMBER, required=True, help="Ids of an input.")
@click.option("--samples", type=NUMBER, default=None, show_default="one pass", help="Steps times the global batch.")
@click.option("--weights", callback=_weights, help="Shares of several prefixes in the blend, such as 0.7,0.3.")
@click.option("--order", type=click.Choice(ORDERS), default="neox", show_default=True, help="See docs/shards.md.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1234, show_default=True, help="Of the order.")
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    show_default="the user's cache folder",
    help="Where the arrays are kept, however small.",
)
@root_option
@json_option
@config_option
def index(prefixes: tuple[Path, ...], root: Path, as_json: bool, **options: Any) -> None:
    """The order in which a run reads its samples: built once, then mapped by every process that asks for the same.

    Training builds it by itself; here it is built ahead, on one machine, or looked at. The default prefix is the train
    split of the root.

    \b
    pile shards index --length 2048 --samples 146432000
    pile shards index a/train b/train --weights 0.7,0.3 --length 2048 --cache-dir /scratch/index
    """
    from shards.index.report import index_shards

    found = index_shards(list(prefixes) or [root / "shards" / "train"], **options)
    print_result(found, as_json=as_json, show=_show)


def _show(found: Any) -> None:
    rows = []
    for one in found.indexes:
        passes = f"{one.epochs:,}"
        stored = size(sum(array.bytes for array in one.arrays))
        rows.append([one.prefix, f"{one.share:.3f}", f"{one.tokens:,}", f"{one.samples:,}", passes, stored])
    print_table(["prefix", ">share", ">tokens", ">samples", ">passes", ">index"], rows)
    for one in found.indexes:
        if one.cache is not None:
            click.echo(one.cache)
    click.echo(f"{found.samples:,} samples, order {found.indexes[0].order}, index {found.hash}")
