"""A document id in, every decision taken on that document out, each with what decided it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import read_manifest
from pile_toolkit.core.plan import SPLITS, Plan
from pipelines.keep_list import REASONS, open_keep_list

if TYPE_CHECKING:
    from pile_toolkit.core.plan import PlanComponent
    from pile_toolkit.core.tables import TableFile

# A file's name may hold anything but a slash.
_ID = re.compile(r"(?P<slug>[^/]+)/(?P<file>[^/]+):(?P<line>[0-9]+)")


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
    root = Path(root)
    parts = _ID.fullmatch(document_id)
    if parts is None:
        raise UsageError(f"{document_id!r} is no document id", hint="<slug>/<file>:<line>, e.g. arxiv/00.jsonl.zst:17")
    slug, file, line = parts["slug"], parts["file"], int(parts["line"])
    table = open_keep_list(root)
    row = _row(table, _numbers(table.header, slug, file), line)
    if row is None:
        raise UsageError(f"{file} of '{slug}' had no document on line {line:,} when duplicates were sought")
    found = table.rows(range(row, row + 1)).to_pylist()[0]
    reason = REASONS[found["reason"]]
    stays = table.rows(range(found["cluster"], found["cluster"] + 1)).to_pylist()[0]
    split, copies = _planned(root, slug, file, line) if reason == "kept" else (None, None)
    decided: dict[str, Any] = {
        "document": document_id,
        "bytes": found["bytes"],
        "kept": reason == "kept",
        "reason": reason,
        "cluster": _name(table.header, stays),
        "cluster_documents": _members(table, found["cluster"]),
        "split": split,
        "copies": copies,
    }
    return Decisions(**decided, lines=_lines(decided, same_text=found["text_hash"] == stays["text_hash"]))


def _numbers(components: list[PlanComponent], slug: str, file: str) -> tuple[int, int]:
    """The numbers that a table with these names gives a component and its file: those of another table may differ."""
    slugs = [component.slug for component in components]
    if slug not in slugs:
        raise UsageError(f"component '{slug}' was not there when duplicates were sought", hint=_known(slugs))
    number = slugs.index(slug)
    if file not in components[number].files:
        raise UsageError(
            f"component '{slug}' had no file {file} when duplicates were sought", hint=_known(components[number].files)
        )
    return number, components[number].files.index(file)


def _known(names: list[str]) -> str:
    return f"known then: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}; pile dedup looks again"


def _row(table: TableFile, numbers: tuple[int, int], line: int) -> int | None:
    """The row of a document, found without a look at those of other files."""
    import numpy as np

    component, file = numbers
    rows = table.find(component=component, file=file)
    places = np.flatnonzero(table.rows(rows, ["line"]).column("line").to_numpy() == line)
    return rows.start + int(places[0]) if places.size else None


def _members(table: TableFile, cluster: int) -> int:
    return sum(int((some.column("cluster").to_numpy() == cluster).sum()) for _, some in table.groups(["cluster"]))


def _name(components: list[PlanComponent], row: dict[str, Any]) -> str:
    component = components[row["component"]]
    return f"{component.slug}/{component.files[row['file']]}:{row['line']}"


def _planned(root: Path, slug: str, file: str, line: int) -> tuple[str | None, int | None]:
    """(split, copies) of a kept document; (None, None) where no plan was built from this very keep-list."""
    import numpy as np

    kept, built = read_manifest(root / "dedup"), read_manifest(root / "plan")
    if kept is None or built is None or built.key.inputs.get("dedup") != kept.digest():
        return None, None
    plan = Plan.read(root)
    part = plan.part(*_numbers(plan.header.components, slug, file))
    places = np.flatnonzero(part.column("line") == line)
    if not places.size:
        return None, None
    return SPLITS[part.column("split")[places[0]]], int(part.column("copies")[places[0]])


def _lines(decided: dict[str, Any], *, same_text: bool) -> list[str]:
    lines = [f"{decided['document']}: {decided['bytes']:,} bytes of text"]
    if not decided["kept"]:
        exact = decided["reason"] == "exact duplicate"
        # Its twin went too, both for a third document that is only like them.
        of = "a near duplicate of " if exact and not same_text else ""
        return [*lines, f"dedup: removed as {decided['reason']} of {of}{decided['cluster']}"]
    others = decided["cluster_documents"] - 1
    lines.append("dedup: kept" + (f", before {others:,} duplicates of it" if others else ", no duplicates"))
    if decided["split"] is None:
        return [*lines, "build: not run since deduplication"]
    copies = "1 copy" if decided["copies"] == 1 else f"{decided['copies']} copies"
    return [*lines, f"build: split {decided['split']}, {copies}"]
