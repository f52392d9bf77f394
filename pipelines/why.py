"""A document id in, every decision taken on that document out, each with what decided it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from pile_toolkit.core.components import read_component
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.plan import SPLITS, Plan
from pipelines.keep_list import REASONS, read_keep_list

_ID = re.compile(r"(?P<slug>[^/]+)/(?P<file>.+):(?P<line>\d+)")


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one document, stage by stage; None where a stage has not run or did not see it."""

    document: str
    bytes: int
    kept: bool
    reason: str
    cluster: str
    cluster_documents: int
    split: str | None
    copies: int | None
    lines: list[str]


def explain(root: str | Path, document_id: str) -> Decisions:
    """Deduplication, split and copies of `<slug>/<file>:<line>`. Raises UsageError for an id that names no document."""
    import numpy as np

    root = Path(root)
    parts = _ID.fullmatch(document_id)
    if parts is None:
        raise UsageError(f"{document_id!r} is no document id", hint="<slug>/<file>:<line>, e.g. arxiv/00.jsonl.zst:17")
    component, file = _locate(root, parts["slug"], parts["file"])
    _, table = read_keep_list(root)
    columns = {
        name: table.column(name).to_numpy() for name in ("component", "file", "line", "bytes", "cluster", "reason")
    }
    place = (columns["component"] == component) & (columns["file"] == file) & (columns["line"] == int(parts["line"]))
    if not place.any():
        raise UsageError(f"{parts['file']} of '{parts['slug']}' has no document on line {parts['line']}")
    row = int(np.flatnonzero(place)[0])
    kept_row = int(columns["cluster"][row])
    reason = REASONS[columns["reason"][row]]
    split, copies = _planned(root, component, file, int(parts["line"])) if reason == "kept" else (None, None)
    decided: dict[str, Any] = {
        "document": document_id,
        "bytes": int(columns["bytes"][row]),
        "kept": reason == "kept",
        "reason": reason,
        "cluster": _name(root, columns, kept_row),
        "cluster_documents": int((columns["cluster"] == kept_row).sum()),
        "split": split,
        "copies": copies,
    }
    return Decisions(**decided, lines=_lines(decided))


def _locate(root: Path, slug: str, file: str) -> tuple[int, int]:
    components, _ = read_keep_list(root)
    slugs = [component.slug for component in components]
    if slug not in slugs:
        raise UsageError(f"component '{slug}' is not in {root}", hint=f"it has {', '.join(slugs)}")
    names = [item.counts.name for item in read_component(root, slug).files]
    if file not in names:
        raise UsageError(f"component '{slug}' has no file {file}", hint=f"it has {', '.join(names[:5])}")
    return slugs.index(slug), names.index(file)


def _name(root: Path, columns: dict[str, Any], row: int) -> str:
    components, _ = read_keep_list(root)
    component = components[columns["component"][row]]
    return f"{component.slug}/{component.files[columns['file'][row]]}:{columns['line'][row]}"


def _planned(root: Path, component: int, file: int, line: int) -> tuple[str | None, int | None]:
    import numpy as np

    try:
        plan = Plan.read(root)
    except UsageError:
        return None, None
    mine = (plan.column("component") == component) & (plan.column("file") == file) & (plan.column("line") == line)
    rows = np.flatnonzero(mine)
    return (SPLITS[plan.column("split")[rows[0]]], int(plan.column("copies")[rows[0]])) if rows.size else (None, None)


def _lines(decided: dict[str, Any]) -> list[str]:
    lines = [f"{decided['document']}: {decided['bytes']:,} bytes of text"]
    if not decided["kept"]:
        return [*lines, f"dedup: removed as {decided['reason']} of {decided['cluster']}"]
    others = decided["cluster_documents"] - 1
    lines.append("dedup: kept" + (f", before {others:,} duplicates of it" if others else ", no duplicates"))
    if decided["split"] is None:
        return [*lines, "build: not run yet"]
    copies = "1 copy" if decided["copies"] == 1 else f"{decided['copies']} copies"
    return [*lines, f"build: split {decided['split']}, {copies}"]
