"""`pile shards verify`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from pile_toolkit.cli.options import config_option, json_option, print_result, root_option
from pile_toolkit.cli.shards.inputs import PREFIX, chosen_prefix, safe, split_option, threads_option
from pile_toolkit.core.console import reporter
from pile_toolkit.core.errors import CorruptData

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Hashes, pointers, sizes, ids and provenance, checked.")
@PREFIX
@split_option
@click.option("--vocab-size", type=click.IntRange(min=1), show_default="the manifest's", help="Ids must lie below it.")
@click.option("--end-of-text", type=click.IntRange(min=0), help="The id that every sequence must end with.")
@threads_option
@root_option
@json_option
@config_option
def verify(
    prefix: Path | None,
    split: str | None,
    vocab_size: int | None,
    end_of_text: int | None,
    jobs: int,
    root: Path,
    as_json: bool,
) -> None:
    """Read a prefix through: hashes of its manifest, pointers and sizes inside the file, ids, sums and provenance.

    Entries that share a pointer are legal, and ranges that overlap otherwise a note. Damage is exit code 4.

    \b
    pile shards verify
    pile shards verify --split val
    pile shards verify /data/pile_20B_tokenizer_text_document --vocab-size 50277 --end-of-text 0
    """
    from shards.verify import verify_shards

    prefix = chosen_prefix(prefix, split, root)
    result = verify_shards(prefix, vocab_size, end_of_text, jobs=jobs, reporter=reporter())
    print_result(result, as_json=as_json, show=_show_result)
    if result.problems:
        first = result.problems[0]
        others = f" (and {len(result.problems) - 1} more)" if len(result.problems) > 1 else ""
        hint = first.hint or f"restore it, or pile shards write --root {shlex.quote(str(root))}"
        named = "" if first.file in first.what else f"{first.file}: "
        raise CorruptData(safe(f"{named}{first.what}{others}"), hint=hint)


def _show_result(result: Any) -> None:
    for problem in result.problems:
        click.echo(safe(f"{problem.file}: {problem.what}"))
    for note in result.notes:
        click.echo(f"note: {safe(note)}")
    if not result.problems:
        ids = f"ids below {result.vocab_size:,}" if result.vocab_size else "ids not checked against a vocabulary"
        hashed = f"{len(result.hashed)} files as their manifest says" if result.hashed else "no manifest beside it"
        counted = f"{result.sequences:,} sequences, {result.tokens:,} tokens, {ids}, {hashed}"
        click.echo(safe(f"{result.prefix} is sound: {counted}"))
