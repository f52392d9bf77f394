"""Columns in, the files of the plan out, a group of rows at a time: the table, and beside it the copies that moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path
from pile_toolkit.core.manifest import current_manifest, read_manifest
from pile_toolkit.core.plan.order import Entries
from pile_toolkit.core.tables import GROUP_ROWS, HEADER_KEY, TableFile, column_array, integers, joined, write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from pile_toolkit.core.manifest import Manifest

PLAN_FILE = "plan.parquet"
MOVED_FILE = "moved.parquet"
SPLITS = ("train", "val", "test")
# Of the others hardly a value occurs twice in a group.
_FEW_VALUES = ["component", "file", "split", "copies", "ordinal"]


class PlanComponent(msgspec.Struct, frozen=True, kw_only=True):
    """A component as the plan numbers it: its place in `PlanHeader.components` is the column `component`."""

    slug: str
    # Sorted names; the place in this list is the column `file`. Where they lie stands in the component's manifest.
    files: list[str]


class PlanHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What the numbers in the table's columns stand for; `moved_copies` is the length of the table of those."""

    seed: int
    components: list[PlanComponent]
    moved_copies: int = 0


def schema() -> pa.Schema:
    """Column names and types; a null piece is the whole document, otherwise half-open in code points."""
    import pyarrow as pa

    return pa.schema(
        [
            ("component", pa.uint8()),
            ("file", pa.uint32()),
            ("line", pa.uint64()),
            ("piece_start", pa.uint64()),
            ("piece_end", pa.uint64()),
            ("split", pa.uint8()),
            ("copies", pa.uint16()),
            ("bytes", pa.uint64()),
            ("text_hash", pa.binary(16)),
            ("ordinal", pa.uint32()),
        ]
    )


def moved_schema() -> pa.Schema:
    """A row per copy that has another key than its own, in the order (row, copy); `row` is one of the plan, from 0."""
    import pyarrow as pa

    return pa.schema([("row", pa.uint64()), ("copy", pa.uint16()), ("key", pa.uint64())])


def write_plan(path: Path, header: PlanHeader, columns: Mapping[str, Any]) -> None:
    """Writes the plan; `columns` maps the names of `schema` to values of one length, in plan order."""
    import pyarrow as pa

    arrays = [column_array(columns[field.name], field.type) for field in schema()]
    table = pa.Table.from_arrays(arrays, schema=schema())
    write_plan_parts(path, header, [table], needs_bytes=table.nbytes)


def write_plan_parts(path: Path, header: PlanHeader, parts: Iterable[pa.Table], *, needs_bytes: int = 0) -> None:
    """Writes the plan of rows that come some at a time; in memory are a group of rows and a part.

    `needs_bytes` is about what they take, for what is said where the disk is full.
    """
    import pyarrow.parquet as pq

    with (
        atomic_path(path, needs_bytes=needs_bytes) as temporary,
        # store_schema would write the library's own description of the schema: the bytes must not depend on more.
        pq.ParquetWriter(
            temporary, schema(), compression="zstd", store_schema=False, use_dictionary=_FEW_VALUES
        ) as writer,
    ):
        for group in _groups(parts):
            writer.write_table(group, row_group_size=GROUP_ROWS)
        writer.add_key_value_metadata({HEADER_KEY: msgspec.json.encode(header)})


def _groups(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, GROUP_ROWS at a time, the last ones fewer."""
    import pyarrow as pa

    waiting = schema().empty_table()
    for part in parts:
        waiting = pa.concat_tables([waiting, part])
        while len(waiting) >= GROUP_ROWS:
            yield waiting.slice(0, GROUP_ROWS).combine_chunks()
            waiting = waiting.slice(GROUP_ROWS)
    if len(waiting):
        yield waiting.combine_chunks()


def open_plan(root: Path) -> TableFile:
    """The table of a root; its header is a PlanHeader. Raises as TableFile does."""
    path = root / "plan" / PLAN_FILE
    return TableFile(path, schema(), PlanHeader, name="plan", command=f"pile build --root {root}")


def plan_manifest(root: Path) -> Manifest:
    """The manifest of the plan of a root, whose tables it describes.

    Raises UsageError where none was built, CorruptData where other tables lie there: what follows them would be of
    another plan than it says.
    """
    folder = root / "plan"
    manifest = read_manifest(folder)
    if manifest is None:
        raise UsageError(f"{root} has no plan yet", hint=f"pile build --root {root}")
    if current_manifest(folder, manifest.key) is None:
        raise CorruptData(
            f"the tables in {folder} are not those that its manifest describes", hint=f"pile build --root {root}"
        )
    return manifest


def write_moved(path: Path, moved: Entries) -> None:
    """Writes the table of moved copies, ascending by (row, copy); where there are none there is no file."""
    if not len(moved.row):
        path.unlink(missing_ok=True)
        return
    columns = {"row": moved.row.astype("uint64"), "copy": moved.copy, "key": moved.key}
    write_table(path, moved_schema(), columns, None)


def read_moved(root: Path, header: PlanHeader) -> Entries:
    """The moved copies of a root's plan. Raises CorruptData where they are not those of the plan."""
    import numpy as np

    if not header.moved_copies:
        return Entries.none()
    path, command = root / "plan" / MOVED_FILE, f"pile build --root {root}"
    if path.exists():
        _, table = TableFile(path, moved_schema(), None, name="table of moved copies", command=command).read()
        if len(table) == header.moved_copies:
            row, copy, key = (integers(joined(table, name)) for name in moved_schema().names)
            return Entries(row.astype(np.int64), copy, key)
    fact = f"{path} does not hold the {header.moved_copies:,} moved copies of the plan beside it"
    raise CorruptData(fact, hint=f"rm {path.with_name('manifest.json')} && {command}")
