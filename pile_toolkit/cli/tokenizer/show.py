"""`pile tokenizer show`."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import click

from pile_toolkit.cli.options import config_option, json_option, print_result, root_option
from pile_toolkit.cli.tokenizer.inputs import FILE, file_or_text, load_encoder, readable, tokenizer_of, tokenizer_option

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizer.show import SideBySide


@click.command(short_help="A text with its token boundaries, under one tokenizer or several.")
@click.argument("source", required=False, metavar="[FILE|TEXT]")
@tokenizer_option
@click.option("--with", "others", type=FILE, multiple=True, help="A tokenizer.json to show too; may be repeated.")
@click.option("--text", help="A text that would otherwise be taken for the name of a file.")
@click.option("--html", type=FILE, help="Write a page, instead of showing the text here.")
@root_option
@json_option
@config_option
def show(
    source: str | None,
    tokenizer: Path | None,
    others: tuple[Path, ...],
    text: str | None,
    html: Path | None,
    root: Path,
    as_json: bool,
) -> None:
    """The text of FILE, TEXT itself, or standard input, with every token in its own colour, else behind a separator.

    An argument is a FILE where there is one of that name, or where it looks like a name (no blanks, and a "/" or an
    ending such as ".py"); else it is the TEXT. Tokenizers are those of --tokenizer and --with in this order, without
    any that of the root; several stand side by side, with their numbers of tokens and the ratio to the first.

    \b
    pile tokenizer show "def f(x):"
    pile tokenizer show main.py --with 20B_tokenizer.json --with gpt2_tokenizer.json
    pile tokenizer show paper.tex --with ours.json --with gpt2.json --html boundaries.html
    git diff | pile tokenizer show --tokenizer gpt2.json
    """
    from tokenizer.show import show_tokens

    files: list[Path | None] = [*filter(None, [tokenizer]), *others] or [None]
    encoders = [(readable(file or tokenizer_of(root)), load_encoder(file, root)) for file in files]
    name, content = file_or_text(source, text)
    result = show_tokens(encoders, content)
    if html is not None:
        from pile_toolkit.report.boundaries import write_boundaries

        write_boundaries(html, result, title=name)
    print_result(result, as_json=as_json, show=lambda result: _show(result, html))


def _show(result: SideBySide, html: Path | None) -> None:
    from pile_toolkit.cli.tokenizer.screen import heading, side_by_side

    shown = [result, *result.others]
    if html is not None:
        for one in shown:
            click.echo(": ".join(heading(one)))
        click.echo(html)
        return
    terminal = sys.stdout.isatty()
    colours = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size().columns if terminal else None
    for line in side_by_side(shown, width=width, colours=colours):
        click.echo(line)
