"""`pile tokenizer compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pile_toolkit.cli.options import config_option, json_option, print_result, root_option
from pile_toolkit.cli.tokenizer.inputs import FILE
from pile_toolkit.core.console import print_table

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Tokens and bytes per token of tokenizers on a split.")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@click.option(
    "--data", type=click.Choice(["train", "val", "test"]), default="val", show_default=True, help="Texts of this split."
)
@root_option
@json_option
@config_option
def compare(files: tuple[Path, ...], data: str, root: Path, as_json: bool) -> None:
    """Tokens and bytes per token of tokenizer.json files on a split, per component; ratios are to the first FILE."""
    from pile_toolkit.core.plan import Plan
    from tokenizer.compare import compare as library
    from tokenizer.encoder import Encoder

    names = [str(file) for file in files]
    plan = Plan.read(root)
    table = library(dict(zip(names, map(Encoder.load, files), strict=True)), plan.component_texts(data))
    print_result(table, as_json=as_json, show=_show_comparison)


def _show_comparison(table: Any) -> None:
    columns = ["component", "?>documents", "?>bytes"]
    numbered = list(enumerate(table.encoders, start=1))
    for number, name in numbered:
        click.echo(f"({number}) {name}")
        columns += [f">tokens ({number})", ">bytes each", ">ratio"]
    click.echo()
    rows = []
    for row in (*table.rows, table.total):
        cells = [row.component, f"{row.documents:,}", f"{row.bytes:,}"]
        for _, name in numbered:
            cells += [f"{row.tokens[name]:,}", _number(row.bytes_per_token[name]), _number(row.ratio[name])]
        rows.append(cells)
    print_table(columns, rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
