"""`pile shards write | mix | stats | show | verify`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import click

from pile_toolkit.cli.options import (
    OrderedGroup,
    config_option,
    dry_run_option,
    json_option,
    percent,
    print_dry_run,
    print_result,
    root_option,
    seed_option,
    stage_options,
    take_over_option,
    writing,
)
from pile_toolkit.core.console import print_table, reporter, size
from pile_toolkit.core.errors import CorruptData

ENDINGS = (".bin", ".idx", ".docs.arrow")


def _without_ending(context: click.Context, argument: click.Parameter, path: Path | None) -> Path | None:
    """The prefix of shards that are named by one of their files, as completion in a shell does."""
    ending = next((ending for ending in ENDINGS if path and path.name.endswith(ending)), "")
    return path.with_name(path.name.removesuffix(ending)) if path and ending else path


PREFIX = click.argument("prefix", required=False, type=click.Path(path_type=Path), callback=_without_ending)


@click.group(cls=OrderedGroup)
def shards() -> None:
    """Token shards: Megatron-LM and gpt-neox read the .bin/.idx pairs, upsampled copies share their bytes.

    PREFIX is a path without ending, default the train split of the root: pile-data/shards/train
    """


@shards.command(short_help="Encode the plan into .bin, .idx and .docs.arrow.")
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path, dir_okay=False),
    show_default="that of the root",
    help="A tokenizer.json of the GPT-2 or NeoX kind.",
)
@stage_options
def write(tokenizer: Path | None, root: Path, jobs: int, scheduler: str, dry_run: bool, as_json: bool) -> None:
    """Encode every planned document once and write .bin, .idx and .docs.arrow of each split."""
    from pile_toolkit.chain.stages import write_shards

    if dry_run:
        return print_dry_run("shards", root / "shards", {}, as_json=as_json)
    with writing(root):
        result = write_shards(root, tokenizer=tokenizer, jobs=jobs, scheduler=scheduler, reporter=reporter())
    return print_result(result, as_json=as_json, show=_show_written)


@shards.command(short_help="Other weights over the same shards, in a second.")
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


@shards.command(short_help="Tokens, documents and bytes per component; lengths.")
@PREFIX
@root_option
@json_option
@config_option
def stats(prefix: Path | None, root: Path, as_json: bool) -> None:
    """Tokens, documents and bytes of a prefix, per component, and how long its sequences are."""
    from shards.stats import shard_stats

    print_result(shard_stats(prefix or root / "shards" / "train"), as_json=as_json, show=_show_stats)


def _show_stats(result: Any) -> None:
    rows = [
        (row.slug, f"{row.documents:,}", f"{row.copies:,}", f"{row.tokens:,}", percent(row.share, 1), size(row.bytes))
        for row in result.components
    ]
    print_table(["component", ">documents", ">copies", ">tokens", ">share", ">text"], rows)
    lengths = list(itertools.dropwhile(lambda row: not row.sequences, result.length_histogram))
    click.echo()
    print_table(
        [">tokens from", ">to", ">sequences"],
        [(f"{row.least:,}", f"{row.most:,}", f"{row.sequences:,}") for row in lengths],
    )
    click.echo()
    ratio = "" if result.bytes_per_token is None else f", {result.bytes_per_token:.3f} bytes a token"
    click.echo(f"{result.sequences:,} sequences, {result.tokens:,} tokens ({result.stored_tokens:,} stored){ratio}")


@shards.command(short_help="One training sample as text, with its documents.")
@PREFIX
@click.option(
    "--index",
    "number",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Which sample of the training order.",
)
@click.option("--sequence-length", default=2048, show_default=True, help="Of the run whose order is shown.")
@click.option("--samples", default=1, show_default=True, help="Samples of the run: the order depends on their number.")
@seed_option
@root_option
@json_option
@config_option
def show(
    prefix: Path | None, number: int, sequence_length: int, samples: int, seed: int, root: Path, as_json: bool
) -> None:
    """One training sample as text, with the document that each piece of it comes from."""
    from shards.dataset import TokenDataset
    from shards.index import SampleIndex
    from shards.show import show_sample
    from tokenizer.encoder import Encoder

    decode = Encoder.load(root / "tokenizer" / "tokenizer.json").decode
    with TokenDataset(prefix or root / "shards" / "train") as dataset:
        index = SampleIndex.build(dataset, sequence_length=sequence_length, samples=max(samples, number + 1), seed=seed)
        pieces = show_sample(index, number, decode)
    print_result(pieces, as_json=as_json, show=_show_pieces)


def _show_pieces(pieces: Any) -> None:
    for piece in pieces:
        source = piece.document or f"sequence {piece.sequence}"
        head = f"--- {source}, tokens {piece.start:,} to {piece.stop:,}"
        click.secho(head + ("" if piece.ends_document else ", cut"), fg="cyan")
        click.echo(piece.text)


@shards.command(short_help="Pointers, sizes, ids and provenance, checked.")
@PREFIX
@click.option("--vocab-size", type=int, help="Ids must lie below it.")
@root_option
@json_option
@config_option
def verify(prefix: Path | None, vocab_size: int | None, root: Path, as_json: bool) -> None:
    """Check a prefix: pointers and sizes inside the file, ids in range, provenance for every sequence."""
    from shards.verify import verify_shards

    prefix = prefix or root / "shards" / "train"
    problems = verify_shards(prefix, vocab_size)
    print_result(problems, as_json=as_json, show=_show_problems)
    if problems:
        raise CorruptData(f"{prefix} has {len(problems)} problems", hint=f"pile shards write --root {root}")
    if not as_json:
        click.echo(f"{prefix} is sound")


def _show_problems(problems: Any) -> None:
    for problem in problems:
        click.echo(f"{problem.file}: {problem.what}")
