"""The keep-lists and plans of two roots in, what became of their documents out: by the hash of the text, in parts.

Two texts are the same document where their hashes are equal, wherever they stand. A component of more than PART_ROWS
documents is compared in parts by the first bits of the hash, each a pass over its rows, so that memory is bounded:
some 150 bytes for each document of a part, and nine for each of the component that differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from pile_toolkit.core.plan import PLAN_FILE, SPLITS, PlanHeader
from pile_toolkit.core.plan import schema as plan_schema
from pile_toolkit.core.tables import TableFile, hash_columns, integers, joined
from pipelines.keep_list import open_keep_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

PART_ROWS = 4 << 20
_ROWS_AT_ONCE = 1 << 20


class ComponentDiff(msgspec.Struct, frozen=True, kw_only=True):
    """One component in both roots. `changed` documents have another text on the same line of the same file.

    They are not among the `removed` of the left root and the `added` of the right one. `planned_left` and
    `planned_right` are texts of both components that only one plan has; of those in both plans `moved` counts by
    "train to val", and `copies_differ` those with other copies.
    """

    slug: str
    left_documents: int
    right_documents: int
    added: int
    removed: int
    changed: int
    planned_left: int = 0
    planned_right: int = 0
    moved: dict[str, int] = {}
    copies_differ: int = 0
    left_copies: int = 0
    right_copies: int = 0

    @property
    def differs(self) -> bool:
        """Whether anything of it does."""
        told = (self.added, self.removed, self.changed, self.planned_left, self.planned_right, self.copies_differ)
        return any(told) or bool(self.moved)


class _Rows(NamedTuple):
    """Rows of one component of a table: where they stand, in columns that are asked for."""

    table: TableFile
    rows: range

    def columns(self, names: Sequence[str]) -> Iterator[tuple[int, Any]]:
        """(place among these rows, columns) of some rows at a time."""
        for first in range(self.rows.start, self.rows.stop, _ROWS_AT_ONCE):
            some = range(first, min(first + _ROWS_AT_ONCE, self.rows.stop))
            yield first - self.rows.start, self.table.rows(some, names)


class _Side:
    """The tables of one root."""

    def __init__(self, root: Path, *, planned: bool) -> None:
        self._keep_list = open_keep_list(root)
        self._components = {item.slug: number for number, item in enumerate(self._keep_list.header)}
        self.files = {item.slug: item.files for item in self._keep_list.header}
        self._plan: TableFile | None = None
        if planned:
            command = f"pile build --root {root}"
            self._plan = TableFile(root / "plan" / PLAN_FILE, plan_schema(), PlanHeader, name="plan", command=command)

    @property
    def slugs(self) -> list[str]:
        return list(self._components)

    def documents(self, slug: str) -> _Rows:
        number = self._components.get(slug)
        rows = range(0) if number is None else self._keep_list.find(component=number)
        return _Rows(self._keep_list, rows)

    def planned(self, slug: str) -> _Rows | None:
        if self._plan is None:
            return None
        slugs = [item.slug for item in self._plan.header.components]
        rows = self._plan.find(component=slugs.index(slug)) if slug in slugs else range(0)
        return _Rows(self._plan, rows)


def diff_documents(left: Path, right: Path, *, planned: bool) -> list[ComponentDiff]:
    """Every component of either root; what the plans say where both are `planned`."""
    sides = _Side(left, planned=planned), _Side(right, planned=planned)
    slugs = list(dict.fromkeys([*sides[0].slugs, *sides[1].slugs]))
    return [_component(slug, sides) for slug in slugs]


def _component(slug: str, sides: tuple[_Side, _Side]) -> ComponentDiff:
    documents = [side.documents(slug) for side in sides]
    gone, new = _unmatched(documents[0], documents[1])
    names = sorted({name for side in sides for name in side.files.get(slug, ())})
    ids = [
        _ids(rows, marks, [names.index(name) for name in side.files.get(slug, ())])
        for rows, marks, side in zip(documents, (gone, new), sides, strict=True)
    ]
    changed = len(np.intersect1d(ids[0], ids[1], assume_unique=True))
    found = ComponentDiff(
        slug=slug,
        left_documents=len(documents[0].rows),
        right_documents=len(documents[1].rows),
        added=int(new.sum()) - changed,
        removed=int(gone.sum()) - changed,
        changed=changed,
    )
    plans = [side.planned(slug) for side in sides]
    if plans[0] is None or plans[1] is None:
        return found
    return msgspec.structs.replace(found, **_planned(plans[0], plans[1]))


def _parts(left: _Rows, right: _Rows) -> int:
    return max(-(-max(len(left.rows), len(right.rows)) // PART_ROWS), 1)


def _of_part(hashes: NDArray[np.uint64], part: int, parts: int) -> NDArray[np.bool_]:
    # By the last bits of the first half: the order of a little-endian number is not that of the hash, nor need it be.
    return hashes[:, 0] % np.uint64(parts) == np.uint64(part)


def _hashes(rows: _Rows, part: int, parts: int, names: Sequence[str] = ()) -> tuple[NDArray, NDArray, list[NDArray]]:
    """(hashes, places among the rows, further columns) of one part."""
    found: list[list[NDArray]] = [[np.empty((0, 2), np.uint64)], [np.empty(0, np.int64)], *([] for _ in names)]
    for first, table in rows.columns(["text_hash", *names]):
        hashes = hash_columns(table)
        mine = np.flatnonzero(_of_part(hashes, part, parts))
        found[0].append(hashes[mine])
        found[1].append(first + mine)
        for column, name in zip(found[2:], names, strict=True):
            column.append(integers(joined(table, name))[mine].astype(np.int64))
    empty = np.empty(0, np.int64)
    hashes, places, *columns = (np.concatenate(pieces) if pieces else empty for pieces in found)
    return hashes, places, columns


def _groups(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> tuple[NDArray, NDArray, int]:
    """The number of the group of equal hashes of each row, left and right, and how many groups there are."""
    both = np.concatenate([left, right])
    order = np.lexsort((both[:, 1], both[:, 0]))
    ordered = both[order]
    starts = np.ones(len(both), np.int64)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    group = np.empty(len(both), np.int64)
    group[order] = np.cumsum(starts) - 1
    return group[: len(left)], group[len(left) :], int(starts.sum())


def _unmatched(left: _Rows, right: _Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Marks the rows of each side that the other has no equal for; of equal ones the last are left over."""
    marks = np.zeros(len(left.rows), bool), np.zeros(len(right.rows), bool)
    parts = _parts(left, right)
    for part in range(parts):
        hashes, places = zip(*(_hashes(rows, part, parts)[:2] for rows in (left, right)), strict=True)
        *groups, count = _groups(*hashes)
        times = [np.bincount(group, minlength=count) for group in groups]
        for side, group in enumerate(groups):
            marks[side][places[side]] = _nth_in_group(group) >= times[1 - side][group]
    return marks


def _nth_in_group(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many rows before each are of the same group."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    starts = np.searchsorted(ordered, ordered, "left")
    nth = np.empty(len(group), np.int64)
    nth[order] = np.arange(len(group)) - starts
    return nth


def _ids(rows: _Rows, marks: NDArray[np.bool_], numbers: Sequence[int]) -> NDArray[np.uint64]:
    """File and line of the marked rows as one number; `numbers` are those of the files in both roots together."""
    found = [np.empty(0, np.uint64)]
    if marks.any():
        known = np.array(numbers, np.uint64)
        for first, table in rows.columns(["file", "line"]):
            mine = marks[first : first + len(table)]
            files, lines = (integers(joined(table, name))[mine] for name in ("file", "line"))
            found.append((known[files] << np.uint64(44)) | lines.astype(np.uint64))
    return np.concatenate(found)


def _planned(left: _Rows, right: _Rows) -> dict[str, Any]:
    """What two plans say of the texts of a component."""
    only, copies = [0, 0], [0, 0]
    differ, moves = 0, np.zeros((len(SPLITS), len(SPLITS)), np.int64)
    parts = _parts(left, right)
    for part in range(parts):
        sides = [_hashes(rows, part, parts, ("split", "copies")) for rows in (left, right)]
        *groups, count = _groups(sides[0][0], sides[1][0])
        there, splits, summed = [], [], []
        for (_, _, (split, copied)), group in zip(sides, groups, strict=True):
            there.append(np.bincount(group, minlength=count) > 0)
            found = np.zeros(count, np.int64)
            # Pieces and equal texts have the same split.
            found[group] = split
            splits.append(found)
            total = np.zeros(count, np.int64)
            np.add.at(total, group, copied)
            summed.append(total)
        both = there[0] & there[1]
        for side in (0, 1):
            only[side] += int((there[side] & ~both).sum())
            copies[side] += int(summed[side].sum())
        differ += int((both & (summed[0] != summed[1])).sum())
        np.add.at(moves, (splits[0][both], splits[1][both]), 1)
    moved = {
        f"{SPLITS[a]} to {SPLITS[b]}": int(moves[a, b])
        for a in range(len(SPLITS))
        for b in range(len(SPLITS))
        if a != b and moves[a, b]
    }
    return {
        "planned_left": only[0],
        "planned_right": only[1],
        "moved": moved,
        "copies_differ": differ,
        "left_copies": copies[0],
        "right_copies": copies[1],
    }
