"""`pile tokenizer encode` and `pile tokenizer decode`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from pile_toolkit.cli.options import config_option, json_option, print_result, root_option
from pile_toolkit.cli.tokenizer.inputs import input_text, load_encoder, tokenizer_option
from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Ids of a text.")
@click.argument("text", required=False)
@tokenizer_option
@click.option("--allow-special", is_flag=True, help="Let <|endoftext|> in the text be the token, not text.")
@root_option
@json_option
@config_option
def encode(text: str | None, tokenizer: Path | None, allow_special: bool, root: Path, as_json: bool) -> None:
    """Ids of TEXT, or of standard input.

    \b
    pile tokenizer encode "def f(x):"
    pile tokenizer encode --tokenizer gpt2.json < main.py
    """
    encoder = load_encoder(tokenizer, root)
    ids = encoder.encode(input_text(text), allow_special=allow_special).tolist()
    print_result({"ids": ids}, as_json=as_json, show=lambda result: click.echo(" ".join(map(str, result["ids"]))))


@click.command(short_help="The text of ids.")
@click.argument("ids", nargs=-1, type=int)
@tokenizer_option
@root_option
@json_option
@config_option
def decode(ids: tuple[int, ...], tokenizer: Path | None, root: Path, as_json: bool) -> None:
    """The text of IDS, or of the numbers on standard input.

    \b
    pile tokenizer decode 1552 293 4
    pile tokenizer encode < main.py | pile tokenizer decode      main.py again
    """
    try:
        numbers = list(ids) or [int(word) for word in input_text(None).split()]
    except ValueError as error:
        raise UsageError(f"ids are whole numbers: {error}", hint="pile tokenizer decode 12 345") from error
    text = load_encoder(tokenizer, root).decode(numbers)
    # Into a file or a pipe goes the text and no byte more.
    end = sys.stdout.isatty()
    print_result({"text": text}, as_json=as_json, show=lambda result: click.echo(result["text"], nl=end))
