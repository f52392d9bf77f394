"""What the commands of shards take and say alike: a prefix or split, an order of samples, text safe to print."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.runners import available_jobs

if TYPE_CHECKING:
    from collections.abc import Callable

ENDINGS = (".bin", ".idx", ".docs.arrow")
# As core.plan.SPLITS and shards.index.ORDERS, which a test compares: help imports nothing of the library.
SPLITS = ("train", "val", "test")
ORDERS = ("neox", "megatron", "stateless")
FILE = click.Path(path_type=Path, dir_okay=False)


def _without_ending(context: click.Context, argument: click.Parameter, path: Path | None) -> Path | None:
    """The prefix of shards that are named by one of their files, as completion in a shell does."""
    ending = next((ending for ending in ENDINGS if path and path.name.endswith(ending)), "")
    return path.with_name(path.name.removesuffix(ending)) if path and ending else path


PREFIX = click.argument("prefix", required=False, type=click.Path(path_type=Path), callback=_without_ending)
split_option = click.option("--split", type=click.Choice(SPLITS), help="Of the root, instead of a PREFIX.")
tokenizer_option = click.option(
    "--tokenizer", type=FILE, default=None, show_default="that of the root", help="A tokenizer.json."
)
threads_option = click.option(
    "--jobs", default=available_jobs, show_default="all processors", type=click.IntRange(min=1), help="Threads."
)


def chosen_prefix(prefix: Path | None, split: str | None, root: Path) -> Path:
    """PREFIX, else the split of the root, by default train. Raises UsageError for both."""
    if prefix is not None and split is not None:
        raise UsageError(f"there are two places to look at: {prefix} and --split {split}", hint="one of the two")
    return prefix or root / "shards" / (split or "train")


def order_options(command: Callable) -> Callable:
    """The options that say in which order samples are numbered."""
    number = click.IntRange(min=1)
    options = (
        click.option("--run", metavar="NAME", help="The order of a run of the root; the next five are then its own."),
        click.option(
            "--length",
            "--sequence-length",
            "sequence_length",
            default=2048,
            show_default=True,
            type=number,
            help="Ids that a sample has to predict.",
        ),
        click.option(
            "--samples",
            default=1,
            show_default=True,
            type=number,
            help="Of the whole run: in the orders neox and megatron every sample depends on it.",
        ),
        click.option("--batch", type=number, help="Samples in one step."),
        click.option(
            "--order",
            type=click.Choice(ORDERS),
            default="neox",
            show_default=True,
            help="How documents and samples are shuffled.",
        ),
        click.option(
            "--seed", default=1234, show_default=True, type=click.IntRange(0, 2**32 - 1), help="Of that order."
        ),
    )
    return functools.reduce(lambda function, option: option(function), reversed(options), command)


def order_of(options: dict[str, Any]) -> Any:
    """The options above as an `Order`."""
    from pile_toolkit.chain.orders import Order

    return Order(**options)


def safe(text: str) -> str:
    """Text that does nothing to a terminal but end lines: control characters and turning ones stand as escapes."""
    return "".join(
        char if char in "\n\t" or char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
