"""`pile tokenizer show`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from pile_toolkit.cli.options import config_option, json_option, print_result, root_option
from pile_toolkit.cli.tokenizer.inputs import input_text, load_encoder, tokenizer_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="A text with its token boundaries.")
@click.argument("text", required=False)
@tokenizer_option
@root_option
@json_option
@config_option
def show(text: str | None, tokenizer: Path | None, root: Path, as_json: bool) -> None:
    """TEXT, or standard input, with every token in its own colour; a separator where there are no colours."""
    from tokenizer.show import boundaries

    pieces = [
        piece.decode(errors="backslashreplace") for piece in boundaries(load_encoder(tokenizer, root), input_text(text))
    ]
    print_result({"tokens": pieces}, as_json=as_json, show=_show_pieces)


def _show_pieces(result: dict[str, list[str]]) -> None:
    pieces = result["tokens"]
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        backgrounds = ("blue", "green", "magenta", "cyan")
        click.echo("".join(click.style(p, bg=backgrounds[n % 4], fg="white") for n, p in enumerate(pieces)))
    else:
        click.echo("|".join(pieces))
    click.echo(f"{len(pieces):,} tokens")
