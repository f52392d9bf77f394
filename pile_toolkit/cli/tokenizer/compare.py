"""`pile tokenizer compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pile_toolkit.cli.options import config_option, json_option, percent, print_result, root_option
from pile_toolkit.cli.tokenizer.inputs import FILE
from pile_toolkit.core.console import print_table, reporter
from pile_toolkit.core.runners import available_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

LIST = click.IntRange(min=0)


@click.command(short_help="Tokens per component under several tokenizers, on any texts.")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@click.option(
    "--data",
    default="val",
    show_default=True,
    help="train, val or test of the root's plan, or a file or folder of *.jsonl.zst, *.jsonl, *.jsonl.gz, *.txt.",
)
@click.option("--longest", default=10, show_default=True, type=LIST, help="How many of the longest tokens to list.")
@click.option("--unused", default=10, show_default=True, type=LIST, help="How many of the unused tokens to list.")
@click.option(
    "--worst", default=5, show_default=True, type=LIST, help="of the documents with the fewest bytes a token."
)
@click.option("--html", default=None, type=click.Path(path_type=Path, dir_okay=False), help="Write a page as well.")
@click.option(
    "--jobs", default=available_jobs, show_default="all processors", type=click.IntRange(min=1), help="Threads."
)
@root_option
@json_option
@config_option
def compare(
    files: tuple[Path, ...], data: str, html: Path | None, jobs: int, root: Path, as_json: bool, **limits: int
) -> None:
    """Tokens of tokenizer.json files on the same texts, as in the paper's Tables 14-16; ratios are to the first FILE.

    Per component and in all, with and without white-space tokens, and the paper's figures beside them; the longest and
    the unused tokens; the documents that take the most tokens. The paper's ratios have GPT-2's file first.
    """
    from tokenizer.compare import compare_tokenizers

    comparison = compare_tokenizers(files, data, root=root, threads=jobs, reporter=reporter(), **limits)
    if html is not None:
        from pile_toolkit.report.comparison import write_comparison

        write_comparison(html, comparison)
    print_result(comparison, as_json=as_json, show=_show_comparison)
    if html is not None:
        click.echo(str(html), err=as_json)


def _show_comparison(comparison: Any) -> None:
    numbers = {name: number for number, name in enumerate(comparison.encoders, start=1)}
    for name, number in numbers.items():
        click.echo(f"({number}) {name}")
    click.echo(f"\n{comparison.data}{_notes(comparison)}\n")
    rows = (*comparison.rows, comparison.total)
    _show_counts("all tokens", numbers, rows, rows)
    _show_counts("without white-space tokens", numbers, rows, [row.without_white_space for row in rows])
    _show_published(comparison.in_the_paper)
    _show_vocabularies(comparison, numbers)
    _show_worst(comparison, numbers)


def _notes(comparison: Any) -> str:
    notes = ""
    if comparison.without_text:
        notes += f"\nof documents without a `text` all strings count: {comparison.without_text:,}"
    if comparison.rejected:
        notes += f"\nlines passed over: {comparison.rejected:,}, the first {comparison.first_rejected}"
    return notes


def _show_counts(title: str, numbers: dict[str, int], rows: Sequence[Any], counts: Sequence[Any]) -> None:
    columns = ["component", "?>documents", "?>bytes"]
    for number in numbers.values():
        columns += [f">tokens ({number})", ">bytes each", ">ratio"]
    cells = [[row.component, f"{row.documents:,}", f"{row.bytes:,}"] for row in rows]
    for line, count in zip(cells, counts, strict=True):
        for name in numbers:
            line += [f"{count.tokens[name]:,}", _number(count.bytes_per_token[name]), _number(count.ratio[name])]
    print_table(columns, cells, title=title)
    click.echo()


def _show_published(published: Sequence[Any]) -> None:
    names = list(published[0].tokens)
    cells = [
        [
            row.data if row.white_space else f"{row.data}, without white-space tokens",
            *(f"{row.tokens[name]:,}" for name in names),
            _number(row.ratio),
        ]
        for row in published
    ]
    columns = ["data", *(f">tokens of {name}" for name in names), ">ratio"]
    print_table(columns, cells, title=f"in the paper ({published[0].reference})")
    click.echo()


def _show_vocabularies(comparison: Any, numbers: dict[str, int]) -> None:
    from tokenizer.comparing.results import quoted

    for name, number in numbers.items():
        use = comparison.vocabularies[name]
        share = percent(use.unused, use.ids)
        kinds = f"{use.unused_special:,} special, {use.unused_bytes:,} single bytes"
        click.echo(f"({number}) {use.unused:,} of {use.ids:,} tokens never occurred ({share}; {kinds})")
        if use.examples:
            click.echo("    such as " + ", ".join(quoted(token.token) for token in use.examples))
    click.echo()
    cells = [
        [f"({number})", f"{token.bytes:,}", f"{token.occurrences:,}", f"{token.id}", quoted(token.token)]
        for name, number in numbers.items()
        for token in comparison.vocabularies[name].longest
    ]
    if cells:
        print_table(["", ">bytes", ">occurrences", ">id", "token"], cells, title="longest tokens")
        click.echo()


def _show_worst(comparison: Any, numbers: dict[str, int]) -> None:
    cells = [
        [
            f"({number})",
            _number(found.bytes_per_token),
            f"{found.bytes:,}",
            f"{found.tokens:,}",
            found.component,
            found.place,
            found.begins,
        ]
        for name, number in numbers.items()
        for found in comparison.worst[name]
    ]
    if cells:
        columns = ["", ">bytes each", ">bytes", ">tokens", "component", "document", "begins"]
        print_table(columns, cells, title="worst documents")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
