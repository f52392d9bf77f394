"""`pile shards stats`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import click

from pile_toolkit.cli.options import config_option, json_option, percent, print_result, root_option
from pile_toolkit.cli.shards.inputs import (
    FILE,
    PREFIX,
    chosen_prefix,
    safe,
    split_option,
    threads_option,
    tokenizer_option,
)
from pile_toolkit.core.console import print_table, reporter, size
from pile_toolkit.report.numbers import quantile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NUMBER = click.IntRange(min=1)


@click.command(short_help="Tokens, documents, lengths, epochs and the use of ids.")
@PREFIX
@split_option
@click.option("--length", "--sequence-length", "sequence_length", type=NUMBER, help="Of a run, with --samples.")
@click.option("--samples", type=NUMBER, help="How many samples a run reads: steps times the global batch.")
@click.option("--run", metavar="NAME", help="A run of the root: its shards, its length, and what it read, counted.")
@click.option(
    "--listed", default=10, show_default=True, type=click.IntRange(min=0), help="Most, least and unused ids to list."
)
@click.option("--html", type=FILE, help="Write a page with plots as well.")
@click.option("--parquet", type=FILE, help="Write a table of all ids and their counts as well.")
@click.option("--exposures", type=FILE, help="With --run, write a table of how often every document is read as well.")
@tokenizer_option
@threads_option
@root_option
@json_option
@config_option
def stats(prefix: Path | None, split: str | None, html: Path | None, root: Path, as_json: bool, **options: Any) -> None:
    """What a prefix holds, counted over every id: per component, how long sequences are, which tokens occur.

    "stored" counts each document once, "read" as often as one epoch reads it. With the length of a run, how many
    epochs it makes of each component. With --run they are counted from its samples, over all its phases, and so is how
    often every document is read.

    \b
    pile shards stats
    pile shards stats --split val --html val.html
    pile shards stats --length 2048 --samples 146432000      143,000 steps of 1,024 samples
    pile shards stats --run debug --parquet ids.parquet
    pile shards stats --run debug --exposures documents.parquet
    """
    from pile_toolkit.chain.study import study

    studied = study(chosen_prefix(prefix, split, root), root=root, reporter=reporter(), **options)
    if html is not None:
        from pile_toolkit.report.shards import write_shard_page

        write_shard_page(html, studied)
    print_result(studied, as_json=as_json, show=_show_stats)
    for path in filter(None, (html, options["parquet"], options["exposures"])):
        click.echo(str(path), err=as_json)


def _show_stats(result: Any) -> None:
    _show_components(result)
    _show_lengths(result)
    _show_ids(result)
    click.echo()
    ratio = "" if result.bytes_per_token is None else f", {result.bytes_per_token:.3f} bytes a token"
    click.echo(f"{result.sequences:,} sequences, {result.tokens:,} tokens ({result.stored_tokens:,} stored){ratio}")
    if result.run is not None:
        run = result.run
        length = f"{run.samples:,} samples of {run.sequence_length:,} are {run.tokens:,} tokens"
        click.echo(f"{length}: {run.epochs:.4f} passes over the index")
    if getattr(result, "documents", None) is not None:
        _show_exposures(result)


def _show_components(result: Any) -> None:
    if not result.components:
        click.echo("the shards do not say which documents they hold\n")
        return
    epochs = {row.slug: row.epochs for row in result.run.components} if result.run else {}
    columns = ["component", ">documents", ">copies", "?>stored tokens", ">tokens", ">share", ">text", ">bytes a token"]
    rows = [
        (
            safe(row.slug),
            f"{row.documents:,}",
            f"{row.copies:,}",
            f"{row.stored_tokens:,}",
            f"{row.tokens:,}",
            percent(row.share, 1),
            size(row.bytes),
            f"{row.bytes / row.tokens:.3f}" if row.tokens else "-",
            *((f"{epochs[row.slug]:.3f}",) if epochs else ()),
        )
        for row in result.components
    ]
    print_table(columns + ([">epochs"] if epochs else []), rows)
    click.echo()


def _show_exposures(result: Any) -> None:
    rows = [(f"{one.first_sample:,}", f"{one.samples:,}", safe(one.prefix), one.index) for one in result.phases]
    click.echo()
    print_table([">sample from", ">samples", "shards", "index"], rows, title="phases of the run")
    listed = {row.slug for row in result.components}
    for row in result.run.components:
        if row.slug not in listed:
            click.echo(f"{safe(row.slug)}, in earlier phases only: {row.epochs:.3f} epochs, {row.tokens:,} tokens")
    documents = result.documents
    times = ", ".join(f"{quantile(share)} {count:.3f}" for share, count in documents.quantiles.items())
    click.echo(f"{documents.read:,} of {documents.documents:,} documents are read; how often: {times}")
    rows = [(safe(one.document), f"{one.tokens:,}", f"{one.read:,}", f"{one.times:.3f}") for one in documents.most]
    print_table(["document", ">tokens", ">read", ">times"], rows, title="read most often")


def _show_lengths(result: Any) -> None:
    lengths = list(itertools.dropwhile(lambda row: not row.sequences, result.length_histogram))
    rows = [(f"{row.least:,}", f"{row.most:,}", f"{row.sequences:,}") for row in lengths]
    print_table([">tokens from", ">to", ">sequences"], rows)
    quantiles = ", ".join(f"{quantile(share)} {length:,}" for share, length in result.length_quantiles.items())
    click.echo(f"tokens a sequence: {quantiles}\n" if quantiles else "")


def _show_ids(result: Any) -> None:
    use = result.token_use
    for title, rows in (("most frequent", use.most), ("least frequent", use.least), ("special", use.special)):
        _show_rows(title, rows)
    if use.unused_examples:
        _show_rows("unused, the first", use.unused_examples)
    unread = f", {use.unread_tokens:,} stored tokens are read by no sequence" if use.unread_tokens else ""
    click.echo(f"{use.used:,} of {use.ids:,} ids occur, {use.unused:,} do not ({percent(use.unused, use.ids)}){unread}")
    if use.white_space is not None:
        space = use.white_space
        click.echo(
            f"white-space tokens: {space.read:,} ({percent(space.share, 1)}), {space.used:,} of {space.ids:,} ids"
        )
    click.echo(f"padding: {percent(use.padding, 1)}, samples are cut from one stream")


def _show_rows(title: str, rows: Sequence[Any]) -> None:
    from tokenizer.comparing.results import quoted

    if rows:
        cells = [
            (
                f"{row.id}",
                quoted(row.token) if row.token is not None else "-",
                f"{row.read:,}",
                f"{row.stored:,}",
                percent(row.share, 1),
            )
            for row in rows
        ]
        print_table(["id", "token", ">read", ">stored", ">share"], cells, title=title)
        click.echo()
