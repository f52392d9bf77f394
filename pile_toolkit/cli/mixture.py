"""Options that say what a mixture shall be, for `pile build` and `pile shards mix`, and the mixture as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pile_toolkit.cli.options import TextOrTable, percent, print_dry_run
from pile_toolkit.core.console import print_table, size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from click.core import ParameterSource


class _ShareOption(click.Option):
    """--share, as often as there are shares; the file of `--config` has them as one table."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        value, source = super().consume_value(ctx, opts)
        if isinstance(value, dict):
            value = tuple(f"{slug}={part!r}" for slug, part in value.items())
        return value, source


def _shares(context: click.Context, option: click.Parameter, texts: Sequence[str]) -> dict[str, float]:
    from pile_toolkit.core.errors import UsageError
    from pipelines.mixture import parse_share

    shares: dict[str, float] = {}
    for slug, part in map(parse_share, texts):
        if slug in shares:
            raise UsageError(f"--share names '{slug}' twice, {shares[slug]:g} and {part:g}", hint="name it once")
        shares[slug] = part
    return shares


def mixture_options(unit: str, example: str, *, weights: str | None = "pile") -> Callable[[Callable], Callable]:
    """--weights, --total, --share, --temperature and --max-epochs, measured in `unit`."""
    options = (
        click.option(
            "--weights",
            type=TextOrTable(),
            default=weights,
            show_default=True if weights else "pile, with one of the options below",
            help='"pile", or a TOML file of epochs per slug, a line such as: arxiv = 2.0; or: default = 1.0',
        ),
        click.option(
            "--total", metavar="SIZE", help=f"Scale the weights: {unit} of the train split, such as {example}."
        ),
        click.option(
            "--share",
            cls=_ShareOption,
            multiple=True,
            metavar="SLUG=PART",
            callback=_shares,
            help=f"Part of the train split's {unit}, such as arxiv=0.2; repeatable, the others keep their proportions.",
        ),
        click.option(
            "--temperature",
            type=float,
            help="Make shares proportional to share^(1/T): 1 leaves them, more makes them more equal.",
        ),
        click.option("--max-epochs", type=float, help="No component more often than this; the others get what is cut."),
    )

    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def show_dry_mixture(
    stage: str,
    folder: Path,
    options: Mapping[str, Any],
    rows: Sequence[Any] | None,
    *,
    as_json: bool,
    unit: str = "bytes",
) -> None:
    """What a stage would do, and the mixture that would come of it; `rows` None where that cannot be known yet."""
    parameters = {name: value for name, value in options.items() if value not in (None, {})}

    def show() -> None:
        if rows is None:
            missing = "deduplication: `pile dedup`" if unit == "bytes" else "the shards: `pile shards write`"
            click.echo(f"the mixture is known after {missing}")
            return
        shown = size if unit == "bytes" else "{:,}".format
        whole, copied = sum(row.bytes for row in rows), sum(row.effective_bytes for row in rows)
        table = [
            (row.component, shown(row.bytes), f"{row.epochs:.6g}", shown(row.effective_bytes), percent(row.share, 1))
            for row in rows
        ]
        columns = ["train split", f">{unit}", ">epochs", f">{unit} of copies", ">share"]
        print_table(columns, [*table, ("total", shown(whole), "", shown(copied), "")])

    print_dry_run(stage, folder, parameters, as_json=as_json, more={"mixture": rows}, show_more=show)
