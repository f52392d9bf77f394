"""`pile stats | diff | lock`: what a corpus holds, how two differ, and what it takes to make one again."""

from __future__ import annotations

import functools
import sys
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
        speed = f"{result.text_bytes / elapsed_s / 1e6:,.1f} MB/s"
        click.echo(f"{size(result.text_bytes)} of text in {elapsed_s:.1f} s, {speed}", err=True)
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
    columns = [*names, ">documents", ">text", ">mean", ">median", ">99% up to", ">tokens", ">bytes/token"]
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
@click.argument("left", type=click.Path())
@click.argument("right", type=click.Path())
@click.option("--details", is_flag=True, help="List every difference, not only how many there are.")
@click.option("--html", type=FILE, help="Write a page with all of it, and with plots, as well.")
@json_option
def diff(left: str, right: str, details: bool, html: str | None, as_json: bool) -> None:
    """What differs between two roots, or two files of `pile lock`. Exit code 0 where nothing does, else 1.

    Of two roots documents are compared by the hash of their text: added, removed, changed, on another side of a split,
    with other copies; then merges, tokens per component, recipes.

    \b
    pile diff pile-data other-data
    pile diff pile-data other-data --details
    pile diff pile-data other-data --html diff.html
    pile diff before.lock pile-data
    """
    from pile_toolkit.chain.diff import diff as library

    result = library(left, right)
    if html is not None:
        from pile_toolkit.chain.diff_page import write_diff_page

        write_diff_page(html, result)
    print_result(result, as_json=as_json, show=functools.partial(_show_diff, details=details))
    if html is not None:
        click.echo(html, err=as_json)
    if not result.equal:
        # Not through click, which makes it the value of the command where others catch its errors.
        sys.exit(1)


def _show_diff(result: Any, *, details: bool) -> None:
    if rows := [row for row in _summary(result) if row[1]]:
        print_table(["differs", "how much"], rows)
    if details:
        _show_details(result)
    for note in result.notes:
        click.echo(note)
    if result.versions:
        named = ", ".join(f"{item.name} {item.left} / {item.right}" for item in result.versions)
        click.echo(f"versions: {named}")
    if result.equal:
        click.echo(f"{result.left} and {result.right} are equal")
    elif not details:
        click.echo("--details lists all of it")


def _summary(result: Any) -> Iterable[tuple[str, str]]:
    rows = result.components

    def total(name: str) -> int:
        return sum(getattr(row, name) for row in rows)

    yield "parameters", _some([f"{item.name} {_value(item.left)} / {_value(item.right)}" for item in result.parameters])
    yield "inputs", _some([item.name for item in result.inputs])
    if any(total(name) for name in ("added", "removed", "changed")):
        yield "documents", f"{total('added'):,} added, {total('removed'):,} removed, {total('changed'):,} changed"
    if total("planned_left") or total("planned_right"):
        yield "planned", f"{total('planned_left'):,} texts only left, {total('planned_right'):,} only right"
    moved = sum(sum(row.moved.values()) for row in rows)
    yield "splits", f"{moved:,} texts on another side" if moved else ""
    if total("copies_differ"):
        copies = f"{total('left_copies'):,} copies left, {total('right_copies'):,} right"
        yield "copies", f"{total('copies_differ'):,} texts with other copies: {copies}"
    yield "tokenizer", _tokenizer_line(result.tokenizer)
    if result.shards:
        left, right = (sum(getattr(row, side) for row in result.shards) for side in ("left", "right"))
        yield "shards", f"{left:,} / {right:,} tokens where they differ"
    yield "training", _some([f"{item.name} {_value(item.left)} / {_value(item.right)}" for item in result.runs])
    yield "files", _some([item.name for item in result.outputs])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _value(value: Any) -> str:
    return "-" if value is None else str(value)


def _tokenizer_line(found: Any) -> str:
    if found is None:
        return ""
    first = f", merge {found.first_merge:,} is the first" if found.first_merge else ""
    return f"{found.only_left:,} tokens only left, {found.only_right:,} only right{first}"


def _show_details(result: Any) -> None:
    for title, changes in (
        ("parameter", result.parameters),
        ("input", result.inputs),
        ("file", result.outputs),
        ("training", result.runs),
    ):
        if changes:
            click.echo()
            print_table(
                [title, "left", "right"], [(item.name, _value(item.left), _value(item.right)) for item in changes]
            )
    if result.components:
        click.echo()
        numbers = ("added", "removed", "changed", "planned_left", "planned_right", "copies_differ")
        rows = [
            (
                row.slug,
                *(f"{getattr(row, name):,}" for name in numbers),
                ", ".join(f"{count:,} {name}" for name, count in row.moved.items()),
            )
            for row in result.components
        ]
        columns = ["component", ">added", ">removed", ">changed", ">only left", ">only right", ">other copies", "moved"]
        print_table(columns, rows)
    _show_tokenizer(result.tokenizer)
    if result.shards:
        click.echo()
        rows = [(row.split, row.slug, f"{row.left:,}", f"{row.right:,}") for row in result.shards]
        print_table(["shards", "component", ">left, tokens", ">right, tokens"], rows)
    click.echo()


def _show_tokenizer(found: Any) -> None:
    if found is None:
        return
    click.echo()
    rows: list[tuple[str, ...]] = [
        ("tokens", f"{found.left_tokens:,}", f"{found.right_tokens:,}"),
        ("only there", f"{found.only_left:,}", f"{found.only_right:,}"),
        ("merges", f"{found.left_merges:,}", f"{found.right_merges:,}"),
        ("merges only there", f"{found.merges_only_left:,}", f"{found.merges_only_right:,}"),
    ]
    if found.first_merge:
        merges = (_value(found.first_merge_left), _value(found.first_merge_right))
        rows.append((f"merge {found.first_merge:,}", *map(ascii, merges)))
    print_table(["tokenizer", ">left", ">right"], rows)
    click.echo(f"{found.renumbered:,} tokens of both have other ids")


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
