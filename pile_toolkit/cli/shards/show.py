"""`pile shards show`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from pile_toolkit.cli.options import config_option, json_option, print_result, root_option
from pile_toolkit.cli.shards.inputs import (
    PREFIX,
    chosen_prefix,
    order_of,
    order_options,
    safe,
    split_option,
    threads_option,
    tokenizer_option,
)
from pile_toolkit.core.console import print_table, reporter
from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

# Of what stands around a match, what fits on one line beside it.
CONTEXT_CHARACTERS = 40


def _ids(context: click.Context, option: click.Parameter, text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise UsageError(f"--find-ids takes whole numbers: {error}", hint="--find-ids '12 345'") from error


@click.command(short_help="Samples or steps as text, with their documents; or where a text stands.")
@PREFIX
@split_option
@click.option("--index", type=click.IntRange(min=0), help="Which sample of the order; 0 is the first.")
@click.option("--step", type=click.IntRange(min=1), help="All samples of a step; 1 is the first.")
@order_options
@click.option("--text/--no-text", default=None, help="The text of each piece; by default that of a single sample.")
@click.option("--ids", "as_ids", is_flag=True, help="Ids instead of text.")
@click.option("--find", help="A text to look for in all documents.")
@click.option("--find-ids", callback=_ids, help="Ids to look for: '12 345'.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=0), help="Places of a text to list.")
@tokenizer_option
@threads_option
@root_option
@json_option
@config_option
def show(
    prefix: Path | None,
    split: str | None,
    index: int | None,
    step: int | None,
    text: bool | None,
    as_ids: bool,
    find: str | None,
    find_ids: list[int] | None,
    limit: int,
    tokenizer: Path | None,
    jobs: int,
    root: Path,
    as_json: bool,
    **order: Any,
) -> None:
    """Samples as the trainer reads them: each piece with its component, document (`slug/file:line`) and token range.

    With --find the places of a text instead, in which documents and, with --run or --samples, in which samples and
    steps. A text is looked for as the ids it has by itself, so a blank before it counts: --find " the Pile".

    \b
    pile shards show --index 3                            the fourth sample of the default order
    pile shards show --run debug --step 100               what that run saw in step 100
    pile shards show --run debug --step 100 --text        and its text
    pile shards show --step 7 --batch 1024 --samples 146432000 --length 2048
    pile shards show --split val --find " the Pile" --limit 5
    pile shards show --run debug --find " the Pile"       and in which steps it was read
    """
    from pile_toolkit.chain.study import find_text, show_samples

    prefix = chosen_prefix(prefix, split, root)
    common: dict[str, Any] = {"root": root, "tokenizer": tokenizer}
    if find is not None or find_ids is not None:
        wanted = order_of(order) if order["run"] or order["samples"] > 1 else None
        what = find if find is not None else find_ids or []
        found = find_text(prefix, what, order=wanted, limit=limit, jobs=jobs, reporter=reporter(), **common)
        return print_result(found, as_json=as_json, show=functools.partial(_show_found, as_text=find is not None))
    if index is not None and step is not None:
        raise UsageError(f"--index {index} is one sample, --step {step} are many", hint="one of the two")
    shown = show_samples(prefix, index=index, step=step, order=order_of(order), as_ids=as_ids, **common)
    return print_result(shown, as_json=as_json, show=lambda result: _show_samples(result, text))


def _show_samples(result: Any, text: bool | None) -> None:
    with_text = text if text is not None else len(result.shown) == 1
    if not with_text:
        return _show_table(result)
    for sample in result.shown:
        if len(result.shown) > 1:
            click.secho(f"=== sample {sample.sample:,}", bold=True)
        for piece in sample.pieces:
            click.secho(_head(piece), fg="cyan")
            click.echo(safe(piece.text) if piece.text is not None else " ".join(map(str, piece.ids)))
    return None


def _head(piece: Any) -> str:
    head = f"--- {_source(piece)}, tokens {piece.start:,} to {piece.stop:,}"
    copy = f", copy {piece.copy}" if piece.copy else ""
    return head + copy + ("" if piece.starts_document else ", begun before") + ("" if piece.ends_document else ", cut")


def _source(piece: Any) -> str:
    return safe(piece.document) if piece.document else f"sequence {piece.sequence}"


def _show_table(result: Any) -> None:
    rows = [
        (
            f"{sample.sample}",
            f"{piece.offset:,}",
            piece.component or "-",
            _source(piece),
            f"{piece.copy or 0}",
            f"{piece.start:,}",
            f"{piece.stop:,}",
            ("" if piece.starts_document else "begun before ") + ("" if piece.ends_document else "cut"),
        )
        for sample in result.shown
        for piece in sample.pieces
    ]
    print_table(["sample", ">at", "component", "document", ">copy", ">tokens from", ">to", "?edges"], rows)
    order = f"order {result.order}, length {result.sequence_length:,}, {result.samples:,} samples, seed {result.seed}"
    phase = f", phase from sample {result.first_sample:,} on" if result.first_sample else ""
    click.echo(f"\n{safe(result.prefix)}: {order}{phase}")


def _show_found(result: Any, *, as_text: bool) -> None:
    for phase in (result, *result.later_phases):
        if result.later_phases:
            click.secho(f"=== from sample {phase.first_sample:,} on: {safe(phase.found.prefix)}", bold=True)
        _show_found_in(phase, as_text=as_text)


def _show_found_in(result: Any, *, as_text: bool) -> None:
    found = result.found
    ids = " ".join(map(str, found.ids[:20])) + (" ..." if len(found.ids) > 20 else "")
    click.echo(f"{found.stored:,} places in stored documents, {found.read:,} with copies, of the ids {ids}")
    if as_text and not found.stored:
        click.echo("in a document a word has a blank before it, and with it other ids: --find ' word'")
    for number, one in enumerate(found.occurrences):
        copies = f", {one.copies:,} copies" if one.copies > 1 else ""
        click.secho(f"--- {_source(one)}, tokens {one.start:,} to {one.stop:,}{copies}", fg="cyan")
        if one.text is not None:
            around = [_line(one.before)[-CONTEXT_CHARACTERS:], _line(one.text), _line(one.after)[:CONTEXT_CHARACTERS]]
            click.echo(around[0] + click.style(around[1], bold=True) + around[2])
        _show_samples_of(result, number)
    if found.stored > len(found.occurrences):
        click.echo(f"... and {found.stored - len(found.occurrences):,} more: --limit {found.stored}")


def _line(text: str) -> str:
    return safe(text).replace("\n", "\\n").replace("\t", "\\t")


def _show_samples_of(result: Any, number: int) -> None:
    said = []
    for place, one in enumerate(result.samples):
        if one.occurrence == number:
            step = f"step {result.steps[place]:,}, " if result.steps else ""
            said.append(f"{step}sample {one.sample:,} at {one.start:,}" + ("" if one.whole else " (cut)"))
    if said:
        click.echo("    read in " + "; ".join(said))
