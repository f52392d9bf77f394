"""A source in, the document files of components out: taken in, read once from end to end, counted and hashed.

A file that needs no change is not copied: the component's manifest points at it. Lines that are no documents are
written to `rejects.jsonl`, and are an error past `max_rejects`. Where filters or masks are asked for, the component is
what they leave, and its source stands as it came under `source/`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from pile_toolkit.core.components import component_documents, component_folder, downloaded_slugs
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.documents import Document, read_records, write_json_lines
from pile_toolkit.core.errors import CorruptData, PileError, SourceUnavailable
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import StageKey, describe, publish, put_back, read_manifest, withdraw
from pile_toolkit.core.stages import finished
from pile_toolkit.core.tasks import Task, Workers, run_tasks, work_folder
from pipelines.catalog import Component, components, select
from pipelines.filters.settings import read_filtering
from pipelines.filters.stage import SOURCE, Filtered, filter_component, move_source, remove_filtered
from pipelines.sources import Source, parse_sources

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pile_toolkit.core.components import ComponentDocuments
    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.manifest import Manifest
    from pipelines.filters.settings import Step

FORMAT = 2
REJECTS = "rejects.jsonl"


class DownloadConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"source": "from"}):
    """`from`: a folder, a URL, hf://owner/name or sample:, or one of these per slug with a `default`.

    `filters`, `mask` and `original_filters` are those of `pipelines.filters.read_filtering`; none by default.
    """

    components: Literal["all"] | list[str] = "all"
    source: str | dict[str, str] = "sample:"
    filters: dict[str, dict[str, Any]] = {}
    mask: list[str] | dict[str, Any] = []
    original_filters: bool = False


class ComponentDownload(msgspec.Struct, frozen=True, kw_only=True):
    """One component on this disk; `filtered` is None where nothing was asked of it."""

    slug: str
    files: int
    documents: int
    text_bytes: int
    rejects: int
    up_to_date: bool
    filtered: Filtered | None = None


class DownloadResult(msgspec.Struct, frozen=True, kw_only=True):
    """What is on this disk now."""

    folder: str
    up_to_date: bool
    documents: int
    text_bytes: int
    rejects: int
    components: list[ComponentDownload]


@holding_root
def download(
    root: str | Path,
    *,
    components: Sequence[str] | Literal["all"] = "all",
    source: str | Mapping[str, str] = "sample:",
    max_rejects: int = 0,
    filters: Mapping[str, Any] | Sequence[str] = (),
    mask: Mapping[str, Any] | Sequence[str] | str = (),
    original_filters: bool = False,
    jobs: int = 1,
    scheduler: str = "process",
    reporter: Reporter = SILENT,
) -> DownloadResult:
    """Brings components under `root/components/`, from `sample:`, a folder, a URL or `hf://owner/name`.

    `filters` (a table of tables of options, or texts such as "length:min_words=50"), `mask` ("email,ip,phone") and
    `original_filters` decide on the way which documents stay, and with which text: docs/filters.md.
    Goes on past a component that cannot be had and raises SourceUnavailable at the end, naming all of them. Raises
    CorruptData for damaged files and past `max_rejects` bad lines in one component, UsageError for filters that are
    not known and where a component has no document left.
    """
    root = Path(root)
    sources, filtering = parse_sources(source), read_filtering(filters, mask, original_filters)
    workers = Workers(jobs=jobs, scheduler=scheduler, reporter=reporter)
    rows: list[ComponentDownload] = []
    missing: dict[str, SourceUnavailable] = {}
    for component in select(components):
        try:
            one = _Download(root, component, sources(component.slug), workers, max_rejects)
            rows.append(_download_one(one, filtering[component.slug]))
        except SourceUnavailable as error:
            missing[component.slug] = error
    if missing:
        raise _missing(missing, len(rows), reporter)
    return DownloadResult(
        folder=str(root / "components"),
        up_to_date=all(row.up_to_date for row in rows),
        documents=sum(row.documents for row in rows),
        text_bytes=sum(row.text_bytes for row in rows),
        rejects=sum(row.rejects for row in rows),
        components=rows,
    )


def _missing(missing: Mapping[str, SourceUnavailable], had: int, reporter: Reporter) -> SourceUnavailable:
    """One sentence on all that could not be had; of several, the reason of each is said before it."""
    slug, first = next(iter(missing.items()))
    if len(missing) == 1:
        return SourceUnavailable(f"component '{slug}' could not be had: {first.message}", hint=first.hint)
    for other, error in missing.items():
        reporter.say(f"{other}: {error.message}")
    listed = f"{len(missing)} of {had + len(missing)} components could not be had: {', '.join(missing)}"
    return SourceUnavailable(f"{listed}; {slug} because {first.message}", hint=first.hint)


class _Download(NamedTuple):
    root: Path
    component: Component
    source: Source
    workers: Workers
    max_rejects: int


def _download_one(one: _Download, steps: Sequence[Step]) -> ComponentDownload:
    slug = one.component.slug
    folder, kept = component_folder(one.root, slug), component_folder(one.root, slug) / SOURCE
    parameters = {"component": slug, **one.source.parameters()}
    key = StageKey(stage="download", format=FORMAT, parameters=parameters)
    if not steps:
        move_source(kept, folder, key)
        manifest, up_to_date = _take_in(one, folder, key)
        documents = component_documents(one.root, slug, manifest)
        _refuse_rejects(documents.rejects, one.max_rejects, folder)
        remove_filtered(folder, manifest)
        return _row(documents, up_to_date)
    move_source(folder, kept, key)
    manifest, _ = _take_in(one, kept, key)
    source = component_documents(one.root, f"{slug}/{SOURCE}", manifest)
    _refuse_rejects(source.rejects, one.max_rejects, kept)
    manifest, up_to_date = filter_component(
        one.root, slug, source, steps, format=FORMAT, parameters=parameters, workers=one.workers
    )
    filtered = msgspec.convert(manifest.counts["filtered"], Filtered)
    return _row(component_documents(one.root, slug, manifest), up_to_date, filtered)


def _take_in(one: _Download, folder: Path, key: StageKey) -> tuple[Manifest, bool]:
    """(manifest of the source's files in `folder`, whether it was there already)."""
    if (manifest := finished(folder, key)) is not None:
        return manifest, True
    started_at = time.time()
    paths = _fetch(one.source, one.component, folder, one.workers.reporter)
    with work_folder(folder, key) as work:
        outputs = [describe(folder, path) for path in paths]
        hashes = [output.hash for output in outputs]
        surveyed = _survey(one.component.slug, paths, hashes, work, one.workers)
        counts = _counts(surveyed, folder, one.max_rejects)
        if (folder / REJECTS).exists():
            outputs.append(describe(folder, folder / REJECTS))
        manifest = publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    return manifest, False


def _row(documents: ComponentDocuments, up_to_date: bool, filtered: Filtered | None = None) -> ComponentDownload:
    return ComponentDownload(
        slug=documents.slug,
        files=len(documents.files),
        documents=documents.documents,
        text_bytes=documents.text_bytes,
        rejects=documents.rejects if filtered is None else filtered.rejects,
        up_to_date=up_to_date,
        filtered=filtered,
    )


def _fetch(source: Source, component: Component, folder: Path, reporter: Reporter) -> list[Path]:
    """The source's files. What stood in `folder` stays where the source gives nothing to put in its place."""
    before = read_manifest(folder)
    withdraw(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return source.fetch(component, folder, reporter)
    except (PileError, OSError):
        # Sources write only what they have whole: nothing was replaced.
        if before is not None:
            put_back(folder, before)
        raise


def _survey(
    slug: str,
    paths: Sequence[Path],
    hashes: Sequence[str],
    work: Path,
    workers: Workers,
) -> list[Any]:
    # Named by content: a file mended after a failed run is read again.
    tasks = [Task(f"survey-{number}-{hashes[number]}", (str(path.absolute()),)) for number, path in enumerate(paths)]
    return run_tasks(survey_file, tasks, work=work, workers=workers, label=slug, unit="files")


def _counts(surveyed: Sequence[Any], folder: Path, max_rejects: int) -> dict[str, Any]:
    rejects = [row for _, rows in surveyed for row in rows]
    (folder / REJECTS).unlink(missing_ok=True)
    if rejects:
        write_json_lines(folder / REJECTS, rejects)
    _refuse_rejects(len(rejects), max_rejects, folder)
    return {"files": [counts for counts, _ in surveyed]}


def survey_file(folder: Path, path: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A task: reads every line of one document file. Returns its counts, and a row per rejected line."""
    name = Path(path).name
    documents = text_bytes = 0
    rejects = []
    for record in read_records(Path(path)):
        if isinstance(record, Document):
            documents += 1
            text_bytes += len(record.text.encode())
        else:
            rejects.append({"file": name, "line": record.line, "reason": record.reason})
    counts = {"name": name, "documents": documents, "text_bytes": text_bytes, "rejects": len(rejects)}
    return counts, rejects


def _refuse_rejects(rejects: int, max_rejects: int, folder: Path) -> None:
    if rejects > max_rejects:
        lines = "1 line is no document" if rejects == 1 else f"{rejects:,} lines are no documents"
        raise CorruptData(
            f"{lines} and at most {max_rejects:,} may be: {_first_reject(folder)}, see {folder / REJECTS}",
            hint=f"mend them, or leave them out knowingly with --max-rejects {rejects}",
        )


def _first_reject(folder: Path) -> str:
    with (folder / REJECTS).open("rb") as file:
        first = msgspec.json.decode(file.readline())
    return f"line {first['line']:,} of {first['file']} ({first['reason']})"


def present_slugs(root: Path) -> list[str]:
    """The components of a root in catalog order, those of one's own after them: the order that numbers them."""
    present = downloaded_slugs(root)
    published = [component.slug for component in components() if component.slug in present]
    return [*published, *(slug for slug in present if slug not in published)]


def pile_set_name(slug: str) -> str:
    """What `meta.pile_set_name` says for a component; of one's own components, the slug."""
    return next((component.name for component in components() if component.slug == slug), slug)
