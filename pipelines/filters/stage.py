"""A component as its source has it in, the component as filters leave it out: files of the same names, and two tables.

The source's files are never touched: they stay where they are, listed in a manifest of their own in `source/`. So other
filters need no second download, and what is written follows from the source's content and the steps alone.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.components import component_folder
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import fsync_folder, remove
from pile_toolkit.core.held import refuse_if_displaced
from pile_toolkit.core.manifest import (
    TIMINGS,
    StageKey,
    describe,
    is_of_key,
    publish,
    put_back,
    read_manifest,
    withdraw,
)
from pile_toolkit.core.stages import finished
from pile_toolkit.core.tasks import Task, run_tasks, work_folder
from pipelines.filters.decisions import CHANGED_FILE, DROPPED_FILE
from pipelines.filters.settings import FILTERING, described_steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pile_toolkit.core.components import ComponentDocuments
    from pile_toolkit.core.manifest import Manifest
    from pile_toolkit.core.tasks import Workers
    from pipelines.filters.settings import Step

SOURCE = "source"


class Filtered(msgspec.Struct, frozen=True, kw_only=True):
    """What filters did to a component: documents read, and gone by filter and reason; what edits did, by filter.

    An edit counts `documents` and the places in them, by what was done.
    """

    read: int
    rejects: int
    dropped: dict[str, dict[str, int]]
    changed: dict[str, dict[str, int]]

    @property
    def dropped_documents(self) -> int:
        """Documents that went, whatever the filter."""
        return sum(sum(reasons.values()) for reasons in self.dropped.values())


def filter_component(
    root: Path,
    slug: str,
    source: ComponentDocuments,
    steps: Sequence[Step],
    *,
    format: int,
    parameters: Mapping[str, Any],
    workers: Workers,
) -> tuple[Manifest, bool]:
    """(manifest, whether it was there already) of a component behind its steps.

    `format` and `parameters` are those of its download. Raises UsageError where no document is left.
    """
    folder = component_folder(root, slug)
    described = described_steps(steps)
    key = StageKey(
        stage="download",
        format=format,
        inputs={SOURCE: source.digest},
        parameters={**parameters, FILTERING: described},
    )
    if (manifest := finished(folder, key)) is not None:
        return manifest, True
    started_at = time.time()
    withdraw(folder)
    with work_folder(folder, key, needs_bytes=source.text_bytes // 2) as work:
        # Named by content: a file that changed in the middle of a run is filtered again.
        tasks = [
            Task(
                f"filter-{number}-{file.hash}",
                (str(file.path.absolute()), file.hash, described["steps"]),
                size=file.counts.text_bytes,
            )
            for number, file in enumerate(source.files)
        ]
        results = run_tasks(_filter_file, tasks, work=work, workers=workers, label=f"{slug}: filters", unit="bytes")
        counts = _counts(results, source)
        _refuse_nothing_left(slug, sum(result["documents"] for result in results), counts)
        paths = _publish(folder, work, tasks, results, [file.counts.name for file in source.files])
        files = [
            {"name": file.counts.name, "rejects": 0, **{name: result[name] for name in ("documents", "text_bytes")}}
            for file, result in zip(source.files, results, strict=True)
        ]
        outputs = [describe(folder, path) for path in paths]
        published = {"files": files, "filtered": msgspec.to_builtins(counts)}
        manifest = publish(folder, key, outputs=outputs, counts=published, started_at=started_at)
    return manifest, False


def _filter_file(*arguments: Any) -> dict[str, Any]:
    from pipelines.filters.apply import filter_file

    return filter_file(*arguments)


def _counts(results: Sequence[Mapping[str, Any]], source: ComponentDocuments) -> Filtered:
    dropped: dict[str, Counter[str]] = {}
    changed: dict[str, Counter[str]] = {}
    for result in results:
        for name, reason, count in result["dropped"]:
            dropped.setdefault(name, Counter())[reason] += count
        for name, edits in result["changed"].items():
            changed.setdefault(name, Counter()).update(edits)
    return Filtered(
        read=sum(result["read"] for result in results),
        rejects=source.rejects,
        dropped={name: dict(sorted(reasons.items())) for name, reasons in sorted(dropped.items())},
        changed={name: dict(sorted(edits.items())) for name, edits in sorted(changed.items())},
    )


def _refuse_nothing_left(slug: str, documents: int, counts: Filtered) -> None:
    if documents or not counts.read:
        return
    by_filter = {name: sum(reasons.values()) for name, reasons in counts.dropped.items()}
    most = max(by_filter, key=lambda name: by_filter[name])
    reason = max(counts.dropped[most], key=lambda name: counts.dropped[most][name])
    listed = ", ".join(f"{name} {count:,}" for name, count in by_filter.items())
    raise UsageError(
        f"of the {counts.read:,} documents of '{slug}' none passes the filters: {listed} (most often: {reason})",
        hint=f"other limits, or --filter {slug}/{most}:off, or leave the component out",
    )


def _publish(
    folder: Path, work: Path, tasks: Sequence[Task], results: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> list[Path]:
    """Puts the tasks' documents under their names; a run that was killed here finds some of them moved already."""
    from pipelines.filters.apply import DOCUMENTS
    from pipelines.filters.decisions import write_tables

    parts = [work / task.name for task in tasks]
    paths = []
    for part, name in zip(parts, names, strict=True):
        refuse_if_displaced()
        if (part / DOCUMENTS).exists():
            (part / DOCUMENTS).replace(folder / name)
        paths.append(folder / name)
    fsync_folder(folder)
    _remove_others(folder, {*names})
    return [*paths, *write_tables(folder, parts, [result["reasons"] for result in results], names)]


def _remove_others(folder: Path, names: set[str]) -> None:
    """Removes document files of an earlier download, which had other names."""
    for path in folder.glob("*.jsonl.zst"):
        if path.name not in names:
            path.unlink()


def move_source(before: Path, after: Path, key: StageKey) -> None:
    """What a source brought goes to where it belongs once filters are set, or taken away: it is not fetched again."""
    manifest = read_manifest(before)
    if manifest is None or not is_of_key(before, key) or is_of_key(after, key):
        return
    withdraw(after)
    withdraw(before)
    after.mkdir(parents=True, exist_ok=True)
    for name in [*(output.path for output in manifest.outputs if not output.path.startswith("/")), TIMINGS]:
        if (before / name).exists():
            (after / name).parent.mkdir(parents=True, exist_ok=True)
            (before / name).replace(after / name)
    put_back(after, manifest)


def remove_filtered(folder: Path, manifest: Manifest) -> None:
    """Removes what filters wrote of a component that is now as its source has it, and the folder of its source."""
    if not (folder / SOURCE).is_dir():
        return
    refuse_if_displaced()
    names = {output.path for output in manifest.outputs}
    for path in [*folder.glob("*.jsonl.zst"), folder / DROPPED_FILE, folder / CHANGED_FILE]:
        if path.name not in names:
            path.unlink(missing_ok=True)
    remove(folder / SOURCE)
