"""A document id in, every decision taken on that document out, each with what decided it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.components import component_folder, downloaded_slugs
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import read_manifest
from pile_toolkit.core.plan import SPLITS, Plan
from pipelines.decontamination.evidence import EVIDENCE_FILE, open_evidence
from pipelines.filters.tracing import Trace, id_of_place, is_filtered, trace_source, trace_written
from pipelines.keep_list import REASONS, open_clusters, open_keep_list

if TYPE_CHECKING:
    from pile_toolkit.core.manifest import Manifest
    from pile_toolkit.core.plan import PlanComponent
    from pile_toolkit.core.tables import TableFile

# A file's name may hold anything but a slash.
_ID = re.compile(r"(?P<slug>[^/]+)/(?P<file>[^/]+):(?P<line>[0-9]+)")
_EXACT = "exact duplicate"


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What a document shares with one record of an evaluation set: n-grams, the first of them and where it stands."""

    set: str
    line: int
    field: str
    ngrams: int
    start: int
    end: int
    ngram: str


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one document, stage by stage; None where a stage has not run or did not see it.

    `cluster` is the id of the document that its cluster is named by, the one preferred to all others; `preferred` says
    why to this one. `similarity` is the Jaccard similarity to that document, `least_similarity` the smallest of the
    cluster, both None where nobody compared (without `--verify`). `source` is where it stood before filters ran, None
    where none did, or others since.
    """

    document: str
    bytes: int
    kept: bool
    reason: str
    cluster: str
    cluster_documents: int
    cluster_bytes: int
    preferred: str | None
    similarity: float | None
    least_similarity: float | None
    split: str | None
    copies: int | None
    pieces: int | None
    contamination: list[Shared]
    lines: list[str]
    source: Trace | None = None


def explain(root: str | Path, document_id: str) -> Decisions:
    """Deduplication, split and copies of `<slug>/<file>:<line>`, or of a line of that file named by its path.

    Raises UsageError for an id that names no document.
    """
    root = Path(root)
    slug, file, line = _parts(root, document_id, source=False)
    document_id = f"{slug}/{file}:{line}"
    table = open_keep_list(root)
    numbers = _numbers(table.header, slug, file)
    row = _row(table, numbers, line)
    if row is None:
        hint = f"pile why --source {document_id}: lines as its source has them"
        if not is_filtered(root, slug):
            hint = _lines_there(table, numbers, f"{slug}/{file}")
        raise UsageError(f"{file} of '{slug}' had no document on line {line:,} when duplicates were sought", hint=hint)
    found = table.rows(range(row, row + 1)).to_pylist()[0]
    first = table.rows(range(found["cluster"], found["cluster"] + 1)).to_pylist()[0]
    split, copies, pieces = _planned(root, slug, file, line)
    decided: dict[str, Any] = {
        "document": document_id,
        "bytes": found["bytes"],
        "kept": found["kept"],
        "reason": REASONS[found["reason"]],
        "cluster": _name(table.header, first),
        **_cluster(root, found),
        "preferred": None if row == found["cluster"] else _preferred(table.header, first, found),
        "similarity": found["similarity"],
        "split": split,
        "copies": copies,
        "pieces": pieces,
        "contamination": _shared(root, slug, file, line),
    }
    first_line, *others = _lines(decided, same_text=_are_equal(root, found, first))
    source = _trace(root, slug, file, line)
    traced = source.lines if source is not None else []
    return Decisions(**decided, lines=[first_line, *traced, *others], source=source)


def explain_source(root: str | Path, source_id: str) -> Decisions | Trace:
    """What became of a document that stood on a line of its source, before filters: `<slug>/<source file>:<line>`.

    The source's file may be named by its path. A Trace where it was dropped, or no duplicates were sought yet. Raises
    UsageError for an id that names no line.
    """
    root = Path(root)
    slug, file, line = _parts(root, source_id, source=True)
    if not is_filtered(root, slug):
        return explain(root, f"{slug}/{file}:{line}")
    trace = trace_source(root, slug, file, line)
    manifest = read_manifest(root / "dedup")
    if trace.written is None or manifest is None or not _is_current(root, slug, manifest):
        return trace
    return explain(root, trace.written)


def _parts(root: Path, document_id: str, *, source: bool) -> tuple[str, str, int]:
    parts = _ID.fullmatch(document_id)
    if parts is None or parts["slug"] not in downloaded_slugs(root):
        parts = _ID.fullmatch(id_of_place(root, document_id, source=source) or document_id)
    if parts is None:
        hint = "<slug>/<file>:<line>, e.g. arxiv/00.jsonl.zst:17; --source with a path of the source's file"
        raise UsageError(f"{document_id!r} is no document id", hint=hint)
    return parts["slug"], parts["file"], int(parts["line"])


def _is_current(root: Path, slug: str, deduplicated: Manifest) -> bool:
    """Whether a component is the one in which duplicates were sought: else its lines are others."""
    manifest = read_manifest(component_folder(root, slug))
    return manifest is not None and deduplicated.key.inputs.get(slug) == manifest.digest()


def _trace(root: Path, slug: str, file: str, line: int) -> Trace | None:
    manifest = read_manifest(root / "dedup")
    if manifest is None or not is_filtered(root, slug) or not _is_current(root, slug, manifest):
        return None
    return trace_written(root, slug, file, line)


def _are_equal(root: Path, one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the two are exact duplicates, as the stage had to see it."""
    manifest = read_manifest(root / "dedup")
    normalized = manifest is not None and manifest.key.parameters.get("exact_on") == "normalized"
    name = "normalized_hash" if normalized else "text_hash"
    return bool(one[name] == other[name])


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


def _lines_there(table: TableFile, numbers: tuple[int, int], name: str) -> str:
    component, file = numbers
    rows = table.find(component=component, file=file)
    if not rows:
        return f"{name} had no documents at all"
    ends = [table.rows(range(row, row + 1), ["line"]).column("line")[0].as_py() for row in (rows.start, rows.stop - 1)]
    return f"its documents stand on lines {ends[0]:,} to {ends[1]:,}, such as {name}:{ends[1]}"


def _cluster(root: Path, found: dict[str, Any]) -> dict[str, Any]:
    """What the table of clusters says; a document without others is in none."""
    table = open_clusters(root)
    rows = table.find(cluster=found["cluster"])
    if not rows:
        return {"cluster_documents": 1, "cluster_bytes": found["bytes"], "least_similarity": None}
    cluster = table.rows(rows).to_pylist()[0]
    return {
        "cluster_documents": cluster["documents"],
        "cluster_bytes": cluster["bytes"],
        "least_similarity": cluster["similarity"],
    }


def _preferred(components: list[PlanComponent], first: dict[str, Any], other: dict[str, Any]) -> str:
    """Why the first was preferred to the other: what of component, length and id decides between them."""
    if first["component"] != other["component"]:
        one, two = (components[row["component"]].slug for row in (first, other))
        return f"{one} comes before {two}"
    if first["bytes"] != other["bytes"]:
        return f"it is longer, {first['bytes']:,} bytes"
    return "it has the smaller id"


def _name(components: list[PlanComponent], row: dict[str, Any]) -> str:
    component = components[row["component"]]
    return f"{component.slug}/{component.files[row['file']]}:{row['line']}"


def _shared(root: Path, slug: str, file: str, line: int) -> list[Shared]:
    """What a document shares with evaluation sets, record by record."""
    import numpy as np

    manifest = read_manifest(root / "dedup")
    if manifest is None or all(output.path != EVIDENCE_FILE for output in manifest.outputs):
        return []
    table = open_evidence(root)
    component, number = _numbers(table.header, slug, file)
    rows = table.rows(table.find(component=component, file=number))
    rows = rows.take(np.flatnonzero(rows.column("line").to_numpy() == line))
    of_record: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows.to_pylist():
        of_record.setdefault((row["set"], row["set_line"]), []).append(row)
    return [
        Shared(
            set=name,
            line=record,
            ngrams=len(found),
            **{field: found[0][field] for field in ("field", "start", "end", "ngram")},
        )
        for (name, record), found in of_record.items()
    ]


def _planned(root: Path, slug: str, file: str, line: int) -> tuple[str | None, int | None, int | None]:
    """(split, copies, pieces) of a planned document; nothing known where no plan was built from this very keep-list."""
    import numpy as np

    kept, built = read_manifest(root / "dedup"), read_manifest(root / "plan")
    if kept is None or built is None or built.key.inputs.get("dedup") != kept.digest():
        return None, None, None
    plan = Plan.read(root)
    part = plan.part(*_numbers(plan.header.components, slug, file))
    places = np.flatnonzero(part.column("line") == line)
    if not places.size:
        return None, None, None
    return SPLITS[part.column("split")[places[0]]], int(part.column("copies")[places[0]]), int(places.size)


def _lines(decided: dict[str, Any], *, same_text: bool) -> list[str]:
    lines = [f"{decided['document']}: {decided['bytes']:,} bytes of text"]
    others = decided["cluster_documents"] - 1
    shares = [_passage(shared) for shared in decided["contamination"]]
    if decided["reason"] == REASONS[3]:
        return [*lines, "dedup: removed as contaminated", *shares]
    if not decided["kept"]:
        # Its twin went too, both for a third document that is only like them.
        of = "a near duplicate of " if decided["reason"] == _EXACT and not same_text else ""
        what = f" of {of}{decided['cluster']}" if decided["preferred"] else ""
        lines.append(f"dedup: removed as {decided['reason']}{what}")
        if decided["preferred"]:
            lines.append(f"dedup: that one stays because {decided['preferred']}; {_evidence(decided)}")
        if decided["split"] is not None:
            lines.append(f"build: in the corpus all the same (--duplicates keep), {_place(decided)}")
        return lines
    lines.append(f"dedup: kept, before {_duplicates(others)} of it" if others else "dedup: kept, no duplicates")
    if others:
        least = decided["least_similarity"]
        like = "" if least is None else f", the least similar of them {least:.3f}"
        lines.append(f"dedup: first of {_members(decided)} by component, length and id{like}")
    if shares:
        lines += ["dedup: cut, because it is contaminated", *shares]
    if decided["split"] is None:
        return [*lines, "build: not run since deduplication"]
    pieces = f" of each of {decided['pieces']} pieces" if shares else ""
    return [*lines, f"build: {_place(decided)}{pieces}"]


def _duplicates(count: int) -> str:
    return "1 duplicate" if count == 1 else f"{count:,} duplicates"


def _place(decided: dict[str, Any]) -> str:
    copies = "1 copy" if decided["copies"] == 1 else f"{decided['copies']} copies"
    return f"split {decided['split']}, {copies}"


def _passage(shared: Shared) -> str:
    ngrams = "1 n-gram" if shared.ngrams == 1 else f"{shared.ngrams:,} n-grams"
    place = f"line {shared.line:,} of {shared.set} ({shared.field})"
    return f"  {ngrams} of {place}, at characters {shared.start:,} to {shared.end:,} first: {shared.ngram}"


def _members(decided: dict[str, Any]) -> str:
    return f"{decided['cluster_documents']:,} documents of {decided['cluster_bytes']:,} bytes"


def _evidence(decided: dict[str, Any]) -> str:
    similarity = decided["similarity"]
    how = "" if similarity is None else f"similarity {similarity:.3f}, "
    return f"{how}a cluster of {_members(decided)}"
