"""`pile stats | diff | lock`: what a corpus holds, how two differ, and what it takes to make one again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from pile_toolkit.cli.options import (
    config_option,
    dry_run_option,
    json_option,
    percent,
    print_dry_run,
    print_result,
    root_option,
    stage_options,
    writing,
)
from pile_toolkit.core.console import print_table, reporter, size

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE = click.Path(dir_okay=False)
OF = ("components", "plan", "all")
SHOWN_LANGUAGES = 3


@click.command()
@click.option(
    "--of",
    default="all",
    show_default=True,
    type=click.Choice(OF),
    help="Documents as they are, or splits with copies.",
)
@click.option("--tokenizer", type=click.Path(exists=True), help="A tokenizer.json to count with, not the root's own.")
@click.option("--estimate-tokens", is_flag=True, help="Encode nothing: tokens are those of the shards, or a guess.")
@click.option("--languages/--no-languages", default=True, show_default=True, help="Where a detector is installed.")
@click.option("--html", type=FILE, help="Write a page with plots as well.")
@stage_options
def stats(
    root: Path, jobs: int, scheduler: str, dry_run: bool, as_json: bool, html: str | None, **options: Any
) -> None:
    """Documents, bytes, characters, tokens, lengths, languages, duplicates and compression, per component and split.

    Files are read once; what is found is kept in stats/ of the root, as Parquet and JSON, until they change.

    \b
    pile stats                              components, and the plan where there is one
    pile stats --of plan --json             train, val and test, copies counted
    pile stats --html stats.html            with histograms of lengths
    pile stats --tokenizer gpt2.json        tokens of another tokenizer
    """
    from pile_toolkit.chain.statistics import stats as library

    if dry_run:
        return print_dry_run("stats", root / "stats", {"of": options["of"]}, as_json=as_json)
    started = time.monotonic()
    with writing(root):
        result = library(root, **options, jobs=jobs, scheduler=scheduler, reporter=reporter())
    elapsed_s = time.monotonic() - started
    if html is not None:
        from pile_toolkit.report.statistics import write_statistics_page

        write_statistics_page(html, result)
    print_result(result, as_json=as_json, show=_show_stats)
    if not result.up_to_date:
        click.echo(
            f"{size(result.text_bytes)} of text in {elapsed_s:.1f} s, {result.text_bytes / elapsed_s / 1e6:,.0f} MB/s",
            err=True,
        )
    if html is not None:
        click.echo(html, err=as_json)
    return None


def _show_stats(result: Any) -> None:
    whole = [row for row in result.groups if row.of == "components"]
    if whole:
        _show_groups(whole, ["component"], lambda row: (row.component or "all",))
        click.echo()
    planned = [row for row in result.groups if row.of == "plan" and (row.split == "all" or row.component is None)]
    if planned:
        _show_groups(planned, ["in the plan", "split"], lambda row: (row.component or "all", row.split or ""))
        click.echo()
    for note in result.notes:
        click.echo(note)
    click.echo(f"tables: {result.folder}")


def _show_groups(rows: list[Any], names: list[str], named: Any) -> None:
    with_languages = any(row.languages is not None for row in rows)
    whole = rows[0].of == "components"
    columns = [*names, ">documents", ">text", ">mean", ">p50", ">p99", ">tokens", ">bytes/token"]
    columns += ["?>duplicates", "?>file ratio", "?>zstd -3"] if whole else []
    columns += ["?languages"] if with_languages else []
    print_table(columns, [(*named(row), *_cells(row, with_languages=with_languages)) for row in rows])


def _cells(row: Any, *, with_languages: bool) -> Iterable[str]:
    lengths = row.lengths["bytes"].quantiles
    about = "~" if row.tokens_from == "estimate" else ""
    yield f"{row.copies:,}"
    yield size(row.bytes)
    yield _size(row.mean_bytes)
    yield _size(lengths.get("p50"))
    yield _size(lengths.get("p99"))
    yield f"{about}{row.tokens:,}"
    yield "-" if row.bytes_per_token is None else f"{about}{row.bytes_per_token:.3f}"
    if row.of == "components":
        yield "-" if row.duplicates is None else percent(row.duplicates.documents_share, 1)
        yield _ratio(row.compression.ratio)
        yield _ratio(row.compression.zstd3_ratio)
    if with_languages:
        shown = (row.languages or [])[:SHOWN_LANGUAGES]
        yield ", ".join(f"{item.language} {percent(item.bytes, row.bytes)}" for item in shown)


def _size(value: float | None) -> str:
    return "-" if value is None else size(round(value))


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


@click.command()
@root_option
@click.option("-o", "--output", default="pile.lock", show_default=True, type=FILE, help="The file to write.")
@dry_run_option
@json_option
@config_option
def lock(root: Path, output: str, dry_run: bool, as_json: bool) -> None:
    """One file from which `pile run --locked` makes the same corpus again, or says what no longer matches.

    It holds the configuration, parameters, formats and versions, and the hash of every input and output up to the
    shards; no data, and no paths of this machine. Sources that are folders are named anew with --from.

    \b
    pile lock -o pile.lock
    pile run --locked pile.lock --root again --from ./my-pile
    pile run --locked pile.lock --dry-run    compares versions and inputs only
    """
    from pile_toolkit.chain.lock import lock as library

    if dry_run:
        return print_dry_run("lock", root, {"output": output}, as_json=as_json, standing=f"as the file {output}")
    return print_result(library(root, output), as_json=as_json, show=_show_lock)


def _show_lock(result: Any) -> None:
    click.echo(f"{result.path}: {result.files:,} files of {len(result.stages)} stages, {size(result.bytes)}")
