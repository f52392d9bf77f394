"""`pile tokenizer import` and `pile tokenizer export`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from pile_toolkit.cli.options import dry_run_option, json_option, print_result
from pile_toolkit.cli.tokenizer.inputs import FILE
from pile_toolkit.core.errors import UsageError

# As tokenizer.formats.recognize.FORMATS, which a test compares: help imports nothing of the library.
FORMATS = ("tokenizer.json", "vocab-merges", "tiktoken", "hf")
PATH = click.Path(path_type=Path)


@click.command(name="import", short_help="A tokenizer of another tool as a tokenizer.json.")
@click.argument("source", type=PATH)
@click.option("-o", "--output", type=FILE, required=True, help="The tokenizer.json to write.")
@click.option(
    "--from", "format", type=click.Choice(FORMATS), show_default="told by the content", help="What SOURCE is."
)
@click.option("--merges", type=FILE, help="The merges.txt of SOURCE, where its name does not tell.")
@click.option("--special", "special", multiple=True, metavar="NAME[=ID]", help="A special token; may be repeated.")
@dry_run_option
@json_option
def import_(
    source: Path,
    output: Path,
    format: str | None,
    merges: Path | None,
    special: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """SOURCE as a tokenizer.json with the same ids: a file or folder of transformers, GPT-2, tiktoken or tokenizers.

    \b
    pile tokenizer import ./gpt2/vocab.json -o gpt2.json              and merges.txt beside it
    pile tokenizer import r50k_base.tiktoken -o r50k.json             <|endoftext|> has the first free id
    pile tokenizer import x.tiktoken --special '<|eot|>=100' -o x.json
    pile tokenizer import ./hugging-face-folder -o tokenizer.json
    """
    from tokenizer.exchange import export_tokenizer, import_tokenizer

    special_tokens = dict(map(_special_token, special)) if special else None
    encoder = import_tokenizer(source, format=format, merges=merges, special_tokens=special_tokens)
    result = export_tokenizer(encoder, output, to="tokenizer.json", dry_run=dry_run)
    print_result(result, as_json=as_json, show=lambda result: _show(result, dry_run=dry_run))


@click.command(short_help="A tokenizer.json in the format of another tool.")
@click.argument("file", type=FILE)
@click.option("--to", type=click.Choice(FORMATS), required=True, help="Format to write.")
@click.option("-o", "--output", type=PATH, required=True, help="File to write; of vocab-merges and hf the folder.")
@dry_run_option
@json_option
def export(file: Path, to: str, output: Path, dry_run: bool, as_json: bool) -> None:
    """FILE, a tokenizer.json, for other tools; what a format cannot hold without changing ids is refused.

    \b
    hf               tokenizer.json and settings, for transformers: AutoTokenizer.from_pretrained(OUTPUT)
    vocab-merges     vocab.json and merges.txt, GPT-2's layout
    tiktoken         ranks, for tiktoken.load.load_tiktoken_bpe(OUTPUT)
    tokenizer.json   the canonical file

    \b
    pile tokenizer export pile-data/tokenizer/tokenizer.json --to hf -o ./my-tokenizer
    """
    from tokenizer.encoder import Encoder
    from tokenizer.exchange import export_tokenizer

    result = export_tokenizer(Encoder.load(file), output, to=to, dry_run=dry_run)
    print_result(result, as_json=as_json, show=lambda result: _show(result, dry_run=dry_run))


def _special_token(text: str) -> tuple[str, int | None]:
    """`NAME=ID`, or a name alone; a name may have '=' in it, an id has digits only."""
    name, equals, written = text.rpartition("=")
    if not equals or not (written.isascii() and written.isdigit()):
        name, written = text, ""
    if not name:
        raise UsageError(f"--special {text!r} has no name", hint="--special '<|endoftext|>=50256'")
    return name, int(written) if written else None


def _show(result: Any, *, dry_run: bool) -> None:
    special = ", ".join(f"{name} = {token_id}" for name, token_id in result.special_tokens.items())
    click.echo(f"{result.vocab_size:,} ids, {result.merges:,} merges, special tokens: {special or 'none'}")
    for fact in result.untold:
        click.echo(f"not in the file: {fact}")
    if result.untold and result.special_tokens:
        again = [f"--special {shlex.quote(f'{name}={number}')}" for name, number in result.special_tokens.items()]
        click.echo(f"back: pile tokenizer import {result.files[0]} {' '.join(again)} -o tokenizer.json")
    for file in result.files:
        click.echo(f"would write {file}" if dry_run else file)
