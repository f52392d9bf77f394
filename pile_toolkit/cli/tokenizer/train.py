"""`pile tokenizer train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pile_toolkit.cli.options import print_dry_run, print_result, stage_options, writing
from pile_toolkit.core.console import reporter
from tokenizer.layout import DEFAULT_LAYOUT, DEFAULT_MAX_SPACE_RUN, DEFAULT_VOCAB_SIZE, LAYOUTS

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Train on the train split of the plan.")
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
