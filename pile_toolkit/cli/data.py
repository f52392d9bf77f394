"""`pile components | download | build`: from sources to the plan and the corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pile_toolkit.cli.filters import chosen_filters, filter_options, filters_of, show_filtered, show_filters
from pile_toolkit.cli.mixture import mixture_options, show_dry_mixture
from pile_toolkit.cli.options import (
    TextOrTable,
    config_option,
    json_option,
    print_dry_run,
    print_result,
    root_option,
    seed_option,
    stage_options,
    writing,
)
from pile_toolkit.core.console import print_table, reporter, size
from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@root_option
@json_option
@config_option
def components(root: Path, as_json: bool) -> None:
    """The 22 components as published: raw size, documents, epochs, share, mean document size, availability."""
    from pipelines.catalog import components as catalog

    print_result(catalog(), as_json=as_json, show=lambda rows: _show_components(rows, root))


def _show_components(rows: Any, root: Path) -> None:
    from pile_toolkit.core.components import downloaded_slugs, read_component

    documents = {slug: f"{read_component(root, slug).documents:,}" for slug in downloaded_slugs(root)}
    here = [">here"] if documents else []
    print_table(
        ["slug", ">raw GiB", ">documents", "?>epochs", ">weight", "?>mean KiB", *here, "availability"],
        [
            (
                row.slug,
                f"{row.raw_gib:,.2f}",
                f"{row.documents:,}",
                f"{row.epochs:g}",
                f"{row.weight:.2f}%",
                f"{row.mean_document_kib:,.2f}",
                *[documents.get(row.slug, "-") for _ in here],
                row.availability,
            )
            for row in rows
        ],
    )
    if documents:
        click.echo(f"\nhere: documents of the component in {root}")


@click.command()
@click.argument("slugs", nargs=-1, metavar="[SLUG]...")
@click.option("--all", "every", is_flag=True, help="All 22 components.")
@click.option(
    "--from",
    "source",
    type=TextOrTable(),
    default="sample:",
    show_default=True,
    help="sample: (built in), a folder with <slug>.jsonl.zst, an http(s) URL of one, or hf://owner/name.",
)
@click.option(
    "--max-rejects",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Bad lines to tolerate per component.",
)
@filter_options
@stage_options
@click.pass_context
def download(
    context: click.Context,
    slugs: tuple[str, ...],
    every: bool,
    source: Any,
    max_rejects: int,
    filters: tuple[str, ...],
    mask: Any,
    original_filters: bool,
    list_filters: bool,
    root: Path,
    jobs: int,
    scheduler: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring components here and read them once from end to end.

    \b
    pile download --all                            the built-in sample, offline
    pile download arxiv github --from ./my-pile    files are pointed at, not copied
    pile download arxiv --from hf://owner/name
    pile download --all --filter length:min_words=50 --filter pile-cc/language:languages=en --mask email,ip
    """
    from pipelines.download import download as library

    if list_filters:
        return show_filters(as_json=as_json)
    chosen = _chosen(context, slugs, every)
    asked = {"filters": chosen_filters(context, filters), "mask": mask, "original_filters": original_filters}
    if dry_run:
        return _show_dry_download(root, chosen, source, filters_of(asked), as_json=as_json)
    with writing(root):
        result = library(
            root,
            components=chosen,
            source=source,
            max_rejects=max_rejects,
            **asked,
            jobs=jobs,
            scheduler=scheduler,
            reporter=reporter(),
        )
    return print_result(result, as_json=as_json, show=_show_download)


def _chosen(context: click.Context, slugs: tuple[str, ...], every: bool) -> Any:
    """The typed components, or those of the file of `--config`."""
    configured = (context.default_map or {}).get("components")
    typed = context.get_parameter_source("slugs") is ParameterSource.COMMANDLINE
    if (every and typed) or not (every or typed or configured):
        raise UsageError("no components are named, or some and --all", hint="pile download --all, pile download arxiv")
    if typed:
        return list(slugs)
    return "all" if every else configured


def _show_dry_download(root: Path, chosen: Any, source: Any, asked: dict[str, Any], *, as_json: bool) -> None:
    from pile_toolkit.core.components import downloaded_slugs
    from pipelines.catalog import select
    from pipelines.sources import mask_setting, parse_sources

    source_of, slugs = parse_sources(source), [component.slug for component in select(chosen)]
    for slug in slugs:
        source_of(slug)
    here = [slug for slug in slugs if slug in downloaded_slugs(root)]
    standing = f"there already: {', '.join(here)}" if here else "nothing is there yet"
    parameters = {"components": chosen, "from": mask_setting(source), **asked}
    print_dry_run("download", root / "components", parameters, as_json=as_json, standing=standing)


def _show_download(result: Any) -> None:
    rows = [
        (row.slug, f"{row.files:,}", f"{row.documents:,}", size(row.text_bytes), f"{row.rejects:,}")
        for row in result.components
    ]
    total = ("total", "", f"{result.documents:,}", size(result.text_bytes), f"{result.rejects:,}")
    print_table(["component", ">files", ">documents", ">text", ">rejects"], [*rows, total])
    show_filtered(result)


@click.command()
@mixture_options("bytes", "100GB")
@click.option(
    "--mode",
    default="exact",
    show_default=True,
    type=click.Choice(["exact", "the-pile"]),
    help="Exact copies, or drawn one by one as the Pile's original builder draws them.",
)
@click.option("--train-shards", default=30, show_default=True, help="Files of the train split.")
@click.option("--val-share", default=0.001, show_default=True, help="Share of documents held out for validation.")
@click.option("--test-share", default=0.001, show_default=True, help="Share of documents held out for testing.")
@click.option("--write-corpus/--no-write-corpus", default=True, show_default=True, help="The .jsonl.zst files.")
@click.option(
    "--duplicates",
    type=click.Choice(["drop", "keep"]),
    default="drop",
    show_default=True,
    help="keep: what deduplication marked stays, on one side of the split with what it is a duplicate of.",
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="Of all processes that write the corpus files, such as 4GiB.  [default: half of the machine's]",
)
@seed_option
@stage_options
def build(root: Path, jobs: int, scheduler: str, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Plan the corpus (splits, copies, order) and write its files.

    Tokenizer and shards follow the plan; the corpus files are for people and tools that want them.

    \b
    pile build --weights weights.toml              epochs per component
    pile build --total 100GB --share arxiv=0.2     what it shall come to
    pile build --temperature 2 --max-epochs 4 --dry-run
    """
    from pipelines.build import build as library

    if dry_run:
        return _show_dry_build(root, options, as_json=as_json)
    with writing(root):
        result = library(root, **options, jobs=jobs, scheduler=scheduler, reporter=reporter())
    return print_result(result, as_json=as_json, show=_show_build)


def _show_dry_build(root: Path, options: dict[str, Any], *, as_json: bool) -> None:
    from pipelines.build import planned_mixture

    rows = planned_mixture(root, **{name: options[name] for name in options if name not in ("write_corpus", "memory")})
    show_dry_mixture("build", root / "plan", options, rows, as_json=as_json)


def _show_build(result: Any) -> None:
    rows = [
        (
            slug,
            f"{row.documents:,}",
            f"{row.epochs:.6g}",
            f"{row.epochs_reached:.6g}",
            f"{row.copies:,}",
            size(row.bytes),
            f"{100 * row.share:.2f}%",
            f"{100 * row.share_reached:.2f}%",
            f"{row.deviation_bytes:+,}",
            f"{row.val_documents:,}",
            f"{row.test_documents:,}",
        )
        for slug, row in result.components.items()
    ]
    columns = ["component", ">documents", ">epochs", ">reached", ">copies", ">text"]
    columns += ["?>share", "?>reached", "?>bytes off", ">val", ">test"]
    print_table(columns, rows)
    click.echo(f"{result.documents:,} documents, {result.copies:,} copies, {size(result.bytes)} of text")
    if result.without_held_out:
        click.echo(f"without held-out documents: {', '.join(result.without_held_out)}")
    if result.without_documents:
        click.echo(f"without documents, all went as duplicates: {', '.join(result.without_documents)}")
    if result.adjacent_copies:
        click.echo(f"{result.adjacent_copies:,} copies stand behind one of the same text, because no order is without")
