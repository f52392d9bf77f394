"""What differs between two roots in, one self-contained HTML page out: parameters side by side, charts per component.

The page asks for nothing from outside and forbids itself scripts; all text that came from outside is escaped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

import pile_toolkit
from pile_toolkit.core.files import write_bytes
from pile_toolkit.report.figures import Figure
from pile_toolkit.report.page import render_page
from pile_toolkit.report.plots import Bar, bars

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pile_toolkit.chain.diff import Change, DiffResult
    from pile_toolkit.chain.diff_documents import ComponentDiff

TEMPLATE = "diff.html.j2"
LABEL_CHARACTERS = 20
COUNTED = ("added", "removed", "changed")
SIDES = ("left", "right")
COPIES = ("copies_differ", "left_copies", "right_copies")
# Enough to tell hashes apart by eye, and narrow enough for two beside a name.
HASH_CHARACTERS = 8


class Table(NamedTuple):
    """A table of the page; cells are text already, the first `text` columns are words, the others numbers."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: int = 1


def write_diff_page(path: str | Path, result: DiffResult) -> None:
    """Writes the page to `path`, whole or not at all."""
    write_bytes(Path(path), diff_page(result).encode())


def diff_page(result: DiffResult) -> str:
    """The whole HTML page."""
    rows = result.components
    return render_page(
        TEMPLATE,
        filters={},
        result=result,
        totals={name: sum(getattr(row, name) for row in rows) for name in (*COUNTED, *COPIES)},
        moved=sum(sum(row.moved.values()) for row in rows),
        parameters=[_changes("Parameters", result.parameters), _changes("Training", result.runs)],
        charts=[chart for chart in (_documents(rows), _moved_chart(rows), _copies_chart(rows)) if chart],
        documents=[table for table in (_components(rows), _moved(rows)) if table],
        tokens=[table for table in (_tokenizer(result), _shards(result)) if table],
        files=[_hashes("Inputs", result.inputs), _hashes("Outputs", result.outputs)],
        versions=_changes("Versions of libraries", result.versions),
        version=pile_toolkit.__version__,
    )


def _documents(rows: Sequence[ComponentDiff]) -> Figure | None:
    drawn = []
    for row in rows:
        counts = [getattr(row, name) for name in COUNTED]
        if any(counts):
            tips = [f"{row.slug}: {count:,} {name}" for name, count in zip(COUNTED, counts, strict=True)]
            text = " / ".join(f"{count:,}" for count in counts)
            drawn.append(Bar(label=_label(row.slug), values=counts, tooltips=tips, text=text))
    if not drawn:
        return None
    chart = bars(drawn, unit="documents", name="Documents that differ, per component", stacked=True)
    return Figure(title="Documents", svg=chart, legend=COUNTED)


def _moved_chart(rows: Sequence[ComponentDiff]) -> Figure | None:
    drawn = []
    for row in rows:
        if count := sum(row.moved.values()):
            tip = ", ".join(f"{number:,} {way}" for way, number in row.moved.items())
            drawn.append(
                Bar(label=_label(row.slug), values=(count,), tooltips=(f"{row.slug}: {tip}",), text=f"{count:,}")
            )
    if not drawn:
        return None
    chart = bars(drawn, unit="texts", name="Texts moved, per component")
    return Figure(title="Texts on another side of a split", svg=chart)


def _copies_chart(rows: Sequence[ComponentDiff]) -> Figure | None:
    drawn = []
    for row in rows:
        if row.copies_differ:
            counts = (row.left_copies, row.right_copies)
            tips = [f"{row.slug}: {count:,} copies {side}" for count, side in zip(counts, SIDES, strict=True)]
            text = " / ".join(f"{count:,}" for count in counts)
            drawn.append(Bar(label=_label(row.slug), values=counts, tooltips=tips, text=text))
    if not drawn:
        return None
    chart = bars(drawn, unit="copies", name="Copies left and right, per component")
    note = "Of the texts that both plans have, in all splits."
    return Figure(title="Copies", svg=chart, legend=SIDES, note=note)


def _components(rows: Sequence[ComponentDiff]) -> Table | None:
    if not rows:
        return None
    planned = ("planned_left", "planned_right", "copies_differ", "left_copies", "right_copies")
    names = ("left_documents", "right_documents", *COUNTED, *planned)
    head = ("component", "documents, left", "right", *COUNTED, "planned only left", "only right", "with other copies")
    cells = [(row.slug, *(f"{getattr(row, name):,}" for name in names)) for row in rows]
    cells.append(("total", *(f"{sum(getattr(row, name) for row in rows):,}" for name in names)))
    return Table("Components that differ", (*head, "their copies, left", "copies, right"), cells)


def _moved(rows: Sequence[ComponentDiff]) -> Table | None:
    ways = sorted({way for row in rows for way in row.moved})
    moved = [row for row in rows if row.moved]
    if not moved:
        return None
    cells = [(row.slug, *(f"{row.moved.get(way, 0):,}" for way in ways)) for row in moved]
    cells.append(("total", *(f"{sum(row.moved.get(way, 0) for row in moved):,}" for way in ways)))
    return Table("Texts on another side of a split", ("component", *ways), cells)


def _tokenizer(result: DiffResult) -> Table | None:
    found = result.tokenizer
    if found is None:
        return None
    rows: list[tuple[str, ...]] = [
        ("tokens", f"{found.left_tokens:,}", f"{found.right_tokens:,}"),
        ("only there", f"{found.only_left:,}", f"{found.only_right:,}"),
        ("of both, with other ids", f"{found.renumbered:,}", f"{found.renumbered:,}"),
        ("merges", f"{found.left_merges:,}", f"{found.right_merges:,}"),
        ("merges only there", f"{found.merges_only_left:,}", f"{found.merges_only_right:,}"),
    ]
    if found.first_merge:
        merges = (found.first_merge_left, found.first_merge_right)
        rows.append((f"merge {found.first_merge:,}, the first that differs", *map(_value, merges)))
    return Table("Tokenizer", ("", "left", "right"), rows)


def _shards(result: DiffResult) -> Table | None:
    rows = [
        (row.slug, row.split, f"{row.left:,}", f"{row.right:,}", f"{row.right - row.left:+,}") for row in result.shards
    ]
    head = ("component", "split", "left", "right", "more")
    return Table("Tokens in the shards, where they differ", head, rows, text=2) if rows else None


def _changes(caption: str, changes: Sequence[Change]) -> Table | None:
    if not changes:
        return None
    return Table(caption, ("name", "left", "right"), list(_told(changes)), text=3)


def _hashes(caption: str, changes: Sequence[Change]) -> Table | None:
    if not changes:
        return None
    rows = [(name, left[:HASH_CHARACTERS], right[:HASH_CHARACTERS]) for name, left, right in _told(changes)]
    return Table(caption, ("name", *SIDES), rows, text=3)


def _told(changes: Sequence[Change]) -> Iterator[tuple[str, str, str]]:
    for change in changes:
        yield change.name, _value(change.left), _value(change.right)


def _value(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _label(name: str) -> str:
    return name if len(name) <= LABEL_CHARACTERS else f"{name[: LABEL_CHARACTERS - 1]}…"
