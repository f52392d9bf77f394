"""`pile dedup | why`: which documents stay, and every decision on one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pile_toolkit.cli.contamination import against_options, show_contamination
from pile_toolkit.cli.options import (
    config_option,
    json_option,
    percent,
    print_dry_run,
    print_result,
    root_option,
    stage_options,
    writing,
)
from pile_toolkit.core.console import print_table, reporter
from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# How the help of an option begins that other methods have no use for.
_MINHASH = "minhash: "


class Slugs(click.ParamType):
    """Names with commas between them; a list of the file of `--config` goes through as it is."""

    name = "slug,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """The names."""
        return value if isinstance(value, list) else [slug.strip() for slug in value.split(",") if slug.strip()]


def _choice(name: str, default: str, choices: list[str], text: str) -> Callable:
    return click.option(name, default=default, show_default=True, type=click.Choice(choices), help=text)


def _flag(name: str, default: bool, text: str) -> Callable:
    return click.option(f"--{name}/--no-{name}", default=default, show_default=True, help=text)


def _number(name: str, default: int | float | None, text: str) -> Callable:
    kind = float if isinstance(default, float) else int
    return click.option(name, default=default, show_default=default is not None, type=kind, help=text)


_OPTIONS = (
    _choice("--method", "exact", ["none", "exact", "minhash"], "What counts as a duplicate."),
    _choice("--exact-on", "text", ["text", "normalized"], "Texts are equal as they stand, or but for case and spaces."),
    click.option(
        "--priority", default="", type=Slugs(), help="Components kept before others; the rest in catalog order."
    ),
    _number("--threshold", 0.8, "minhash: Jaccard similarity of shingle sets."),
    _number("--num-perm", 128, "minhash: length of a signature."),
    _number("--bands", None, "minhash: bands, with --rows; else datasketch's for the threshold."),
    _number("--rows", None, "minhash: rows of a band."),
    _choice("--shingle", "words", ["words", "characters"], "minhash: what a shingle is made of."),
    _number("--shingle-size", 5, "minhash: how many of them."),
    _choice("--scheme", "affine32", ["affine32", "legacy"], "minhash: datasketch's permutations."),
    _choice("--hash", "xxh64", ["xxh64", "sha1"], "minhash: of shingles."),
    _flag("nfc", True, "minhash: texts are in NFC."),
    _flag("fold-case", True, "minhash: case does not count."),
    _flag("remove-punctuation", False, "minhash: punctuation and symbols are spaces."),
    _flag("zero-digits", False, "minhash: every digit is 0."),
    _flag("fold-spaces", True, "minhash: white space is one space."),
    _flag("verify", False, "minhash: compare the shingles of candidates, which reads their files again."),
    click.option("--memory", metavar="SIZE", help="Of all processes, such as 4GiB.  [default: half of the machine's]"),
)


def _dedup_options(command: Callable) -> Callable:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@_dedup_options
@against_options
@click.option(
    "--report",
    is_flag=True,
    help="Write a page about duplicates as well, reports/dedup.html in the root; alone: of what was decided before.",
)
@stage_options
def dedup(root: Path, jobs: int, scheduler: str, dry_run: bool, as_json: bool, report: bool, **options: Any) -> None:
    """Decide which documents are kept: of a cluster the first component's, then the longest, then the first.

    \b
    pile dedup                                       equal texts
    pile dedup --method minhash --threshold 0.7      and similar ones
    pile dedup --method minhash --verify --memory 4GiB
    pile dedup --against evaluation-sets             what these share with the corpus is cut out of it
    pile dedup --method minhash --verify --report    and a page with samples
    pile dedup --report                              the page alone, of what was decided before
    """
    from pipelines.dedup import dedup as library

    _refuse_idle(options)
    there = _decided(root) if report and not _settings_given(options) else None
    if dry_run:
        planned = ("dedup", root / "dedup", _parameters(options)) if there is None else ("report", root / "reports", {})
        print_dry_run(*planned, as_json=as_json)
        return
    with writing(root):
        result = there or library(root, **options, jobs=jobs, scheduler=scheduler, reporter=reporter())
        page = _write_page(root) if report else None
    print_result(result, as_json=as_json, show=_show_dedup)
    if page is not None:
        click.echo(page, err=as_json)


def _settings_given(options: dict[str, Any]) -> bool:
    """Whether any option that the result depends on was typed, or stands in the file of `--config`."""
    source = click.get_current_context().get_parameter_source
    return any(source(name) is not ParameterSource.DEFAULT for name in options if name != "memory")


def _refuse_idle(options: dict[str, Any]) -> None:
    """Raises UsageError for a typed option that the method has no use for: silence would let it pass for done."""
    context = click.get_current_context()
    for option in context.command.params:
        if context.get_parameter_source(option.name or "") is not ParameterSource.COMMANDLINE:
            continue
        about = getattr(option, "help", None) or ""
        off = option.secondary_opts and not options.get(option.name or "")
        name = option.secondary_opts[0] if off else option.opts[0]
        if about.startswith(_MINHASH) and options["method"] != "minhash":
            fact = f"{name} is for the method minhash, and the method is {options['method']}"
            raise UsageError(fact, hint=f"pile dedup --method minhash, or without {name}")
        if option.opts[0].startswith("--against-") and options["against"] is None:
            fact = f"{name} is for evaluation sets, and --against names none"
            raise UsageError(fact, hint=f"pile dedup --against FOLDER, or without {name}")


def _decided(root: Path) -> Any:
    """What deduplication decided before, None where it has not run."""
    from pile_toolkit.core.manifest import read_manifest
    from pile_toolkit.report.finished import Finished, counts_of
    from pipelines.dedup import DedupResult

    manifest = read_manifest(root / "dedup")
    return None if manifest is None else counts_of(DedupResult, Finished(root / "dedup", "dedup", manifest))


def _write_page(root: Path) -> Path:
    from pile_toolkit.report.dedup import write_dedup_page
    from pipelines.dedup.stage import PAGE

    page = root / PAGE
    write_dedup_page(page, root)
    return page


def _parameters(options: dict[str, Any]) -> dict[str, Any]:
    from pipelines.dedup.settings import dedup_config, resolve
    from pipelines.dedup.stage import parameters_of

    config = dedup_config(options)
    return parameters_of(config, resolve(config))


def _show_dedup(result: Any) -> None:
    rows = [
        (slug, f"{row.documents:,}", f"{row.kept:,}", f"{row.exact:,}", f"{row.near:,}")
        for slug, row in result.components.items()
    ]
    print_table(["component", ">documents", ">kept", ">exact duplicates", ">near duplicates"], rows)
    share = percent(result.removed, result.documents)
    click.echo(f"{result.kept:,} of {result.documents:,} documents kept, {result.removed:,} removed ({share})")
    if (found := result.verification) is not None:
        below = percent(found.share_below_threshold, 1)
        click.echo(
            f"{found.failed_pairs:,} pairs refused; of the pairs inside clusters {below} are below the threshold"
        )
        if found.capped_members:
            limit = f"{found.comparisons_per_member} comparisons a member"
            click.echo(f"{found.capped_members:,} members of {found.capped_buckets:,} buckets left out after {limit}")
    if result.contamination is not None:
        show_contamination(result.contamination)


@click.command()
@click.argument("document_id")
@click.option("--source", is_flag=True, help="DOCUMENT_ID is a line of the source, before filters.")
@root_option
@json_option
@config_option
def why(document_id: str, source: bool, root: Path, as_json: bool) -> None:
    """Every decision taken on one document.

    DOCUMENT_ID is <slug>/<file>:<line>, or the path of that file, a colon and the line. Lines count from 1.

    \b
    pile why arxiv/00.jsonl.zst:17
    pile why arxiv/00.jsonl.zst:17 --json
    pile why --source my-pile/arxiv.jsonl.zst:17      a line as it came, before filters
    """
    from pipelines.why import explain, explain_source

    decisions = explain_source(root, document_id) if source else explain(root, document_id)
    print_result(decisions, as_json=as_json, show=_show_why)


def _show_why(decisions: Any) -> None:
    for line in decisions.lines:
        click.echo(line)
