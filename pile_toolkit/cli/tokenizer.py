"""`pile tokenizer train | encode | decode | compare | show`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from pile_toolkit.cli.options import (
    OrderedGroup,
    config_option,
    json_option,
    print_dry_run,
    print_result,
    root_option,
    stage_options,
    writing,
)
from pile_toolkit.core.console import print_table, reporter
from pile_toolkit.core.errors import UsageError
from tokenizer.layout import DEFAULT_LAYOUT, DEFAULT_MAX_SPACE_RUN, DEFAULT_VOCAB_SIZE, LAYOUTS

FILE = click.Path(path_type=Path, dir_okay=False)
tokenizer_option = click.option(
    "--tokenizer", type=FILE, default=None, show_default="that of the root", help="A tokenizer.json."
)


@click.group(cls=OrderedGroup)
def tokenizer() -> None:
    """Train, use and compare byte-level BPE tokenizers of the GPT-NeoX kind."""


@tokenizer.command(short_help="Train on the train split of the plan.")
@click.option("--vocab-size", default=DEFAULT_VOCAB_SIZE, show_default=True, help="Ids, in the default layout all.")
@click.option(
    "--max-space-run", default=DEFAULT_MAX_SPACE_RUN, show_default=True, help="Longest run of spaces that is one token."
)
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default=DEFAULT_LAYOUT,
    show_default=True,
    help="neox-20b: NFC, and the runs of spaces on top of --vocab-size, as in the released file.",
)
@click.option("--add-prefix-space", is_flag=True, help="A text begins with a space, as the paper says.")
@click.option("--allow-smaller", is_flag=True, help="Accept fewer ids where the text has too few pairs to merge.")
@click.option(
    "--min-count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Leave out words that occur less often: for more distinct words than memory holds.",
)
@click.option(
    "--sample-bytes",
    type=click.IntRange(min=1),
    default=None,
    show_default="all text",
    help="Train on documents of so many bytes together, chosen by their content.",
)
@stage_options
def train(root: Path, jobs: int, scheduler: str, dry_run: bool, as_json: bool, **parameters: Any) -> None:
    """Train on the train split of the plan, every document counted as often as it is copied."""
    from tokenizer.stage import train_on_plan

    if dry_run:
        return print_dry_run("tokenizer", root / "tokenizer", parameters, as_json=as_json)
    with writing(root):
        result = train_on_plan(root, **parameters, jobs=jobs, scheduler=scheduler, reporter=reporter())
    return print_result(result, as_json=as_json, show=_show_trained)


def _show_trained(result: Any) -> None:
    click.echo(f"{result.vocab_size:,} ids ({result.merges:,} merges) from {result.copies:,} copies")
    if result.dropped_words:
        rare, all_words = f"{result.dropped_words:,}", f"{result.words:,}"
        click.echo(f"left out {rare} rare words of {all_words}, {result.dropped_occurrences:,} occurrences")
    click.echo(f"{result.folder}/tokenizer.json")


@tokenizer.command(short_help="Ids of a text.")
@click.argument("text", required=False)
@tokenizer_option
@click.option("--allow-special", is_flag=True, help="Let <|endoftext|> in the text be the token, not text.")
@root_option
@json_option
@config_option
def encode(text: str | None, tokenizer: Path | None, allow_special: bool, root: Path, as_json: bool) -> None:
    """Ids of TEXT, or of standard input."""
    encoder = _load(tokenizer, root)
    ids = encoder.encode(_input(text), allow_special=allow_special).tolist()
    print_result({"ids": ids}, as_json=as_json, show=lambda result: click.echo(" ".join(map(str, result["ids"]))))


@tokenizer.command(short_help="The text of ids.")
@click.argument("ids", nargs=-1, type=int)
@tokenizer_option
@root_option
@json_option
@config_option
def decode(ids: tuple[int, ...], tokenizer: Path | None, root: Path, as_json: bool) -> None:
    """The text of IDS, or of the numbers on standard input."""
    try:
        numbers = list(ids) or [int(word) for word in _input(None).split()]
    except ValueError as error:
        raise UsageError(f"ids are whole numbers: {error}", hint="pile tokenizer decode 12 345") from error
    text = _load(tokenizer, root).decode(numbers)
    # Into a file or a pipe goes the text and no byte more.
    end = sys.stdout.isatty()
    print_result({"text": text}, as_json=as_json, show=lambda result: click.echo(result["text"], nl=end))


@tokenizer.command(short_help="Tokens and bytes per token of tokenizers on a split.")
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


@tokenizer.command(short_help="A text with its token boundaries.")
@click.argument("text", required=False)
@tokenizer_option
@root_option
@json_option
@config_option
def show(text: str | None, tokenizer: Path | None, root: Path, as_json: bool) -> None:
    """TEXT, or standard input, with every token in its own colour; a separator where there are no colours."""
    from tokenizer.show import boundaries

    pieces = [piece.decode(errors="backslashreplace") for piece in boundaries(_load(tokenizer, root), _input(text))]
    print_result({"tokens": pieces}, as_json=as_json, show=_show_pieces)


def _show_pieces(result: dict[str, list[str]]) -> None:
    pieces = result["tokens"]
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        backgrounds = ("blue", "green", "magenta", "cyan")
        click.echo("".join(click.style(p, bg=backgrounds[n % 4], fg="white") for n, p in enumerate(pieces)))
    else:
        click.echo("|".join(pieces))
    click.echo(f"{len(pieces):,} tokens")


def _load(tokenizer: Path | None, root: Path) -> Any:
    from tokenizer.encoder import Encoder

    return Encoder.load(tokenizer or root / "tokenizer" / "tokenizer.json")


def _input(text: str | None) -> str:
    try:
        # Under an ASCII locale Python takes the bytes of an argument for surrogates.
        return sys.stdin.buffer.read().decode() if text is None else os.fsencode(text).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"the text is not UTF-8: {error}", hint="iconv -t utf-8 FILE | pile tokenizer ...") from error
