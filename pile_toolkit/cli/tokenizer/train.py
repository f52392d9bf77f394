"""`pile tokenizer train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pile_toolkit.cli.options import print_dry_run, print_result, stage_options, writing
from pile_toolkit.core.console import reporter, size
from tokenizer.layout import DEFAULT_LAYOUT, DEFAULT_MAX_SPACE_RUN, DEFAULT_VOCAB_SIZE, LAYOUTS

if TYPE_CHECKING:
    from pathlib import Path

# A pair seen so seldom says little about text outside of the corpus.
FEW_OCCURRENCES = 10


@click.command(short_help="Train on the train split of the plan.")
@click.option(
    "--vocab-size",
    default=DEFAULT_VOCAB_SIZE,
    show_default=True,
    help="How many ids the tokenizer has in all: special tokens, bytes, merges and runs of spaces.",
)
@click.option(
    "--max-space-run",
    default=DEFAULT_MAX_SPACE_RUN,
    show_default=True,
    help="Runs of 2 up to so many spaces are single tokens, which code needs; 1 makes none.",
)
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default=DEFAULT_LAYOUT,
    show_default=True,
    help="neox-20b is that of the released file: texts are normalized (NFC), and the runs of spaces come on top of "
    "--vocab-size.",
)
@click.option("--add-prefix-space", is_flag=True, help="Texts begin with a space, as the paper says; not lossless.")
@click.option(
    "--allow-smaller",
    is_flag=True,
    help="Where the text has too few pairs to merge, make a smaller tokenizer and no error.",
)
@click.option(
    "--min-count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Leave out words that occur less often, so that the others fit into memory. This is not the min_frequency of "
    "the tokenizers library, which stops at pairs that are rarer.",
)
@click.option(
    "--sample-bytes",
    type=click.IntRange(min=1),
    default=None,
    show_default="all text",
    help="Train on so many bytes of documents, chosen by a hash of their text.",
)
@stage_options
def train(root: Path, jobs: int, scheduler: str, dry_run: bool, as_json: bool, **parameters: Any) -> None:
    """Train a byte-level BPE tokenizer on the train split of the plan.

    A document counts as often as it is copied. The merges are those of the tokenizers library, in order, whatever
    --jobs and --scheduler are. The file works with transformers: PreTrainedTokenizerFast(tokenizer_file=...).

    \b
    pile tokenizer train                                 50,257 ids, as GPT-NeoX
    pile tokenizer train --vocab-size 8000 --root small  for a small corpus
    pile tokenizer train --sample-bytes 10000000000      on 10 GB of a larger one
    """
    from tokenizer.stage import check_training, train_on_plan

    check_training(**parameters)
    if dry_run:
        return print_dry_run("tokenizer", root / "tokenizer", parameters, as_json=as_json)
    with writing(root):
        result = train_on_plan(root, **parameters, jobs=jobs, scheduler=scheduler, reporter=reporter())
    return print_result(result, as_json=as_json, show=_show_trained)


def _show_trained(result: Any) -> None:
    read = f"{result.documents:,} documents ({result.copies:,} with copies, {size(result.bytes)})"
    click.echo(f"{result.vocab_size:,} ids ({result.merges:,} merges) from {read}, {result.words:,} distinct words")
    if result.dropped_words:
        click.echo(f"left out {result.dropped_words:,} rare words, {result.dropped_occurrences:,} occurrences")
    if result.rarest_merge is not None:
        few = result.rarest_merge < FEW_OCCURRENCES
        advice = ": more text or a smaller --vocab-size would serve better" if few else ""
        times = "once" if result.rarest_merge == 1 else f"{result.rarest_merge:,} times"
        click.echo(f"the last merge is of a pair that occurs {times}{advice}")
    click.echo(f"{result.folder}/tokenizer.json")
