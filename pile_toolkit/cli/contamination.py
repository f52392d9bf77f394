"""`pile dedup --against`: its options, and the table of what evaluation sets and corpus share."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from pile_toolkit.core.console import print_table

if TYPE_CHECKING:
    from collections.abc import Callable


def against_options(command: Callable) -> Callable:
    """Which evaluation sets, and what counts."""
    options = (
        click.option(
            "--against",
            type=click.Path(file_okay=False),
            help="Folder of evaluation sets (.jsonl, .jsonl.zst, .json, .txt) that the corpus may not hold.",
        ),
        click.option("--against-ngram", default=13, show_default=True, help="Words in a row that may not be shared."),
        click.option(
            "--against-common",
            default=10,
            show_default=True,
            help="N-grams in more documents than this are phrases and do not count.",
        ),
        click.option(
            "--against-action",
            default="cut",
            show_default=True,
            type=click.Choice(["cut", "drop"]),
            help="cut: the n-gram and 200 characters on each side go, the pieces stay. drop: the document goes.",
        ),
    )
    return functools.reduce(lambda function, option: option(function), reversed(options), command)


def show_contamination(found: Any) -> None:
    """Prints `ContaminationCounts`: per evaluation set and per component, those that are concerned."""
    sets = [
        (name, f"{row.records:,}", f"{row.found_ngrams:,}", f"{row.documents:,}", f"{row.characters:,}")
        for name, row in found.sets.items()
        if row.documents
    ]
    components = [
        (slug, f"{row.searched:,}", f"{row.dropped:,}", f"{row.cut:,}", f"{row.pieces:,}", f"{row.characters:,}")
        for slug, row in found.components.items()
        if row.dropped or row.cut
    ]
    click.echo(
        f"\n{found.documents:,} documents share n-grams with {len(sets):,} of {len(found.sets):,} evaluation sets "
        f"({found.ngrams:,} n-grams sought, {found.common_ngrams:,} were common): "
        f"{found.dropped:,} go, {found.cut:,} are cut, {found.characters:,} characters go"
    )
    if sets:
        print_table(["evaluation set", ">records", ">n-grams", ">documents", ">characters"], sets)
        print_table(["component", ">searched", ">dropped", ">cut", ">pieces", ">characters"], components)
    too_short = sum(row.too_short for row in found.sets.values())
    if too_short or found.ignored:
        click.echo(f"not sought: {too_short:,} records that are too short, {len(found.ignored):,} files of other kinds")
