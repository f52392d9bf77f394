"""A document's id in, where it stood at its source, or why it went there, out; read from the tables about filters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from pile_toolkit.core.components import component_documents, component_folder, downloaded_slugs, file_name
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import read_manifest
from pipelines.filters.decisions import CHANGES, DROPPED_FILE, dropped_lines, open_changed, open_dropped
from pipelines.filters.stage import SOURCE

if TYPE_CHECKING:
    from pile_toolkit.core.tables import TableFile


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a source: `written` is its document's id, None where it was dropped, by `filter` for `reason`.

    `value` is what was measured and `limit` what it is beyond, None where there is no number. `changed` counts places.
    """

    source: str
    written: str | None
    filter: str | None = None
    reason: str | None = None
    value: float | None = None
    limit: float | None = None
    changed: dict[str, int] = {}
    lines: list[str] = []


def is_filtered(root: Path, slug: str) -> bool:
    """Whether a component's lines are not those of its source."""
    manifest = read_manifest(component_folder(root, slug))
    return manifest is not None and any(output.path == DROPPED_FILE for output in manifest.outputs)


def id_of_place(root: Path, place: str, *, source: bool) -> str | None:
    """The id of a line of a component's file, or of its source's, by the file's path; None where it is no such path."""
    path, _, line = place.rpartition(":")
    if not (line.isdecimal() and Path(path).is_file()):
        return None
    for slug in downloaded_slugs(root):
        folder = component_folder(root, slug)
        made_from = folder / SOURCE if source and is_filtered(root, slug) else folder
        manifest = read_manifest(made_from)
        for output in manifest.outputs if manifest is not None else ():
            if file_name(output.path) == Path(path).name and _same(made_from / output.path, path):
                return f"{slug}/{file_name(output.path)}:{line}"
    return None


def _same(one: Path, other: str) -> bool:
    return one.exists() and one.samefile(other)


def trace_source(root: Path, slug: str, file: str, line: int) -> Trace:
    """What became of a source's line. Raises UsageError for one that there was not."""
    table, number, documents = _open(root, slug, file)
    rows, gone = dropped_lines(table, number)
    if not 1 <= line <= documents + len(gone):
        raise UsageError(f"{file} of '{slug}' has {documents + len(gone):,} lines at its source, and no line {line:,}")
    place = int(np.searchsorted(gone, line))
    if place == len(gone) or gone[place] != line:
        return _kept(root, slug, file, number, source_line=line, written_line=line - place)
    row = table.rows(range(rows.start + place, rows.start + place + 1)).to_pylist()[0]
    said = {name: row[name] for name in ("filter", "reason", "value", "limit")}
    return _with_lines(Trace(source=f"{slug}/{file}:{line}", written=None, **said))


def trace_written(root: Path, slug: str, file: str, line: int) -> Trace:
    """Where a document of a filtered component stood. Raises UsageError for a line that there is not."""
    table, number, documents = _open(root, slug, file)
    if not 1 <= line <= documents:
        raise UsageError(f"{file} of '{slug}' has {documents:,} documents, and none on line {line:,}")
    _, gone = dropped_lines(table, number)
    # Before each line that went so many stayed: those with fewer than this one's number stand before it.
    before = gone.astype(np.int64) - 1 - np.arange(len(gone))
    source_line = line + int(np.searchsorted(before, line))
    return _kept(root, slug, file, number, source_line=source_line, written_line=line)


def _open(root: Path, slug: str, file: str) -> tuple[TableFile, int, int]:
    """(table of what went, number of the file in it, documents of the file as it is written)."""
    folder = component_folder(root, slug)
    manifest = read_manifest(folder)
    if manifest is None or not (folder / DROPPED_FILE).exists():
        raise UsageError(f"'{slug}' was not filtered: its lines are those of its source", hint=f"pile why {slug}/...")
    table = open_dropped(folder)
    files = table.header["files"]
    if file not in files:
        raise UsageError(f"'{slug}' has no file {file}", hint=f"known: {', '.join(files[:5])}")
    counts = {item.counts.name: item.counts for item in component_documents(root, slug, manifest).files}
    return table, files.index(file), counts[file].documents


def _kept(root: Path, slug: str, file: str, number: int, *, source_line: int, written_line: int) -> Trace:
    table = open_changed(component_folder(root, slug))
    rows = table.rows(table.find(file=number))
    at = np.flatnonzero(rows.column("line").to_numpy() == source_line)
    row = rows.slice(int(at[0]), 1).to_pylist()[0] if at.size else {}
    changed = {name: row[name] for name in CHANGES if row.get(name)}
    trace = Trace(source=f"{slug}/{file}:{source_line}", written=f"{slug}/{file}:{written_line}", changed=changed)
    return _with_lines(trace)


def _with_lines(trace: Trace) -> Trace:
    if trace.written is None:
        measured = "" if trace.value is None else f" ({trace.value:g}{_beyond(trace)})"
        line = f"download: {trace.source} of the source was dropped by {trace.filter}: {trace.reason}{measured}"
    else:
        edits = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in trace.changed.items())
        line = f"download: {trace.source} of the source" + (f", changed: {edits}" if edits else ", unchanged")
    return msgspec.structs.replace(trace, lines=[line])


def _beyond(trace: Trace) -> str:
    if trace.value is None or trace.limit is None:
        return ""
    return f", at {'least' if trace.value < trace.limit else 'most'} {trace.limit:g} passes"
