"""Which document, which split, how many copies: everything after the build is an iteration over this table.

The plan is one Parquet file, a row per kept piece in the order (component, file, line, piece). Corpus files, tokenizer
training and token shards follow it straight from the components, so the upsampled text need never be written. The order
of the corpus, and of the shards' index, is that of `entries`: by a key per copy that depends on seed and text only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pile_toolkit.core.components import read_component
from pile_toolkit.core.documents import decode_meta, read_documents
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.seeds import keyed_columns, text_hash
from pile_toolkit.core.tables import TableFile, arrow_array, hash_array, integers, joined, write_table
from pile_toolkit.core.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    import pyarrow as pa

PLAN_FILE = "plan.parquet"
SPLITS = ("train", "val", "test")
_ENTRIES_AT_ONCE = 1 << 20


class PlanComponent(msgspec.Struct, frozen=True, kw_only=True):
    """A component as the plan numbers it: its place in `PlanHeader.components` is the column `component`."""

    slug: str
    # Sorted names; the place in this list is the column `file`. Where they lie stands in the component's manifest.
    files: list[str]


class PlanHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What the numbers in the table's columns stand for."""

    seed: int
    components: list[PlanComponent]


class PlannedText(NamedTuple):
    """One row of the plan with its text. `document_id` is `<slug>/<file>:<line>`."""

    row: int
    line: int
    text: str
    meta: bytes


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


class Plan:
    """The table and its header; a column is read when it is first asked for, and then kept.

    All of them are 60 bytes a row, 13 GB for the documents of the whole Pile: a task reads its own file's rows instead.
    """

    def __init__(self, root: Path, header: PlanHeader, table: TableFile | pa.Table, *, first_row: int = 0) -> None:
        self.root = root
        self.header = header
        # Where row 0 stands in the whole plan.
        self.first_row = first_row
        self._table = table
        self._arrays: dict[str, pa.Array] = {}
        self._paths: dict[tuple[int, int], Path] = {}

    @classmethod
    def read(cls, root: Path) -> Plan:
        """The plan of a root folder. Raises UsageError where none was built, CorruptData where it is no plan."""
        file = _open(root)
        return cls(root, file.header, file)

    @classmethod
    def read_file(cls, root: Path, component: int, file: int) -> Plan:
        """`part` of the plan of a root folder: for tasks. Raises as `read` does."""
        return cls.read(root).part(component, file)

    def part(self, component: int, file: int) -> Plan:
        """The rows of one document file, none of any other, numbered from 0; row 0 is `first_row` of this plan.

        Reads, and needs memory for, these rows and two groups of rows, however long the plan is.
        """
        if isinstance(self._table, TableFile):
            rows = self._table.find(component=component, file=file)
            table = self._table.rows(rows)
        else:
            rows = range(*self._file_span(component, file))
            table = self._table.slice(rows.start, len(rows))
        part = Plan(self.root, self.header, table, first_row=self.first_row + rows.start)
        # Not those in the file where `with_copies` gave others.
        part._arrays = {name: array.slice(rows.start, len(rows)) for name, array in self._arrays.items()}
        return part

    def __len__(self) -> int:
        return len(self._table)

    @property
    def table(self) -> pa.Table:
        """All columns, each in one piece."""
        import pyarrow as pa

        return pa.Table.from_arrays([self._array(name) for name in schema().names], schema=schema())

    def _array(self, name: str) -> pa.Array:
        if name not in self._arrays:
            table = self._table
            self._arrays[name] = table.column(name) if isinstance(table, TableFile) else joined(table, name)
        return self._arrays[name]

    @property
    def _hashes(self) -> np.ndarray:
        return hash_array(self._array("text_hash"))

    def column(self, name: str) -> np.ndarray:
        """A numeric column: component, file, line, split, copies, bytes or ordinal."""
        return integers(self._array(name))

    def with_copies(self, copies: np.ndarray) -> Plan:
        """The same pieces and splits with other copies: uint16, one per row."""
        other = Plan(self.root, self.header, self._table, first_row=self.first_row)
        # The columns read so far are those of both.
        other._arrays = {**self._arrays, "copies": arrow_array(copies)}
        return other

    def rows_of(self, component: int, file: int, split: str | None = None) -> np.ndarray:
        """Row numbers of one file, ascending, with at least one copy."""
        import numpy as np

        first, end = self._file_span(component, file)
        wanted = self.column("copies")[first:end] > 0
        if split is not None:
            wanted &= self.column("split")[first:end] == SPLITS.index(split)
        return first + np.flatnonzero(wanted)

    def _file_span(self, component: int, file: int) -> tuple[int, int]:
        # The table is in order, so that a file's rows are found without a look at all the others.
        first, end = _span(self.column("component"), component)
        start, stop = _span(self.column("file")[first:end], file)
        return first + start, first + stop

    def text_hashes(self, rows: np.ndarray) -> list[bytes]:
        """The 16-byte hashes of the documents that rows are pieces of."""
        data = self._hashes[rows].tobytes()
        return [data[start : start + 16] for start in range(0, len(data), 16)]

    def pieces(self, name: str, rows: np.ndarray) -> list[int | None]:
        """`piece_start` or `piece_end` of some rows."""
        array = self._array(name)
        return [None] * len(rows) if array.null_count == len(array) else array.take(arrow_array(rows)).to_pylist()

    def files(self) -> Iterator[tuple[int, int, Path]]:
        """(component, file, path) of every file the plan may read, in its order."""
        for number, component in enumerate(self.header.components):
            for file in range(len(component.files)):
                yield number, file, self.path(number, file)

    def path(self, component: int, file: int) -> Path:
        """Where a file lies today. Raises UsageError where its component is gone or has other files now."""
        if (component, file) not in self._paths:
            planned = self.header.components[component]
            present = {item.counts.name: item.path for item in read_component(self.root, planned.slug).files}
            if missing := [name for name in planned.files if name not in present]:
                raise UsageError(
                    f"the plan names {missing[0]} of component '{planned.slug}', which is no longer there",
                    hint=f"pile build --root {self.root}",
                )
            self._paths.update({(component, n): present[name] for n, name in enumerate(planned.files)})
        return self._paths[component, file]

    def component_texts(self, split: str) -> Iterator[tuple[str, str]]:
        """(slug, text) of every piece of a split, each once."""
        for component, file, _ in self.files():
            part = self.part(component, file)
            for planned in read_file_rows(part, component, file, part.rows_of(component, file, split)):
                yield self.header.components[component].slug, planned.text

    def document_id(self, row: int) -> str:
        """`<slug>/<file>:<line>` of one row."""
        component = self.header.components[self.column("component")[row]]
        return f"{component.slug}/{component.files[self.column('file')[row]]}:{self.column('line')[row]}"

    def entries(self, split: str) -> Entries:
        """Every copy of every piece of a split, in the order of the corpus."""
        import numpy as np

        return self.copies_of(np.flatnonzero(self.column("split") == SPLITS.index(split))).sorted()

    def copies_of(self, rows: np.ndarray) -> Entries:
        """Every copy of ascending `rows`, copies of one row in sequence, with their keys.

        Keys are uniform 64-bit numbers from (seed, text hash, ordinal among equal texts, copy): sorted by them,
        documents stand in a random permutation that does not depend on where they came from.
        """
        import numpy as np

        copies = self.column("copies")[rows].astype(np.int64)
        starts = np.cumsum(copies) - copies
        row = np.repeat(np.arange(len(rows)), copies)
        copy, keys = np.empty(row.size, np.uint16), np.empty(row.size, np.uint64)
        # Some at a time: of all copies of the Pile the intermediate columns alone would be gigabytes.
        for first in range(0, row.size, _ENTRIES_AT_ONCE):
            some = slice(first, first + _ENTRIES_AT_ONCE)
            place = row[some]
            number, row[some] = first + np.arange(place.size) - starts[place], rows[place]
            hashes, ordinal = self._hashes[row[some]], self.column("ordinal")[row[some]]
            keys[some] = keyed_columns(self.header.seed, "order", hashes[:, 0], hashes[:, 1], ordinal, number)
            copy[some] = number
        return Entries(row, copy, keys)


def _open(root: Path) -> TableFile:
    path = root / "plan" / PLAN_FILE
    return TableFile(path, schema(), PlanHeader, name="plan", command=f"pile build --root {root}")


def _span(ascending: np.ndarray, value: int) -> tuple[int, int]:
    """Where `value` starts and ends in an ascending column."""
    import numpy as np

    # Of the column's own type: for another one numpy would first make a copy of the column.
    wanted = np.asarray(value, ascending.dtype)
    return int(np.searchsorted(ascending, wanted, "left")), int(np.searchsorted(ascending, wanted, "right"))


class Entries(NamedTuple):
    """Copies of pieces: the row of the plan, the number of the copy from 0, the key of its place; equal lengths."""

    row: np.ndarray
    copy: np.ndarray
    key: np.ndarray

    def sorted(self) -> Entries:
        """In the order of the corpus: by key, and for equal keys by row and copy."""
        import numpy as np

        order = np.lexsort((self.copy, self.row, self.key))
        return Entries(self.row[order], self.copy[order], self.key[order])


def write_plan(path: Path, header: PlanHeader, columns: Mapping[str, object]) -> None:
    """Writes the plan; `columns` maps the names of `schema` to arrays of one length, in plan order."""
    write_table(path, schema(), columns, header)


def read_file_rows(plan: Plan, component: int, file: int, rows: np.ndarray) -> Iterator[PlannedText]:
    """The texts of ascending `rows` of one file, read once from its beginning.

    Raises CorruptData where the file no longer holds on a planned line what it held at the build: another text may
    stand in another split.
    """
    if not len(rows):
        return
    path = plan.path(component, file)
    lines, hashes = plan.column("line")[rows], plan.text_hashes(rows)
    starts, ends = (plan.pieces(name, rows) for name in ("piece_start", "piece_end"))
    position = 0
    for document in read_documents(path):
        if lines[position] == document.line and text_hash(document.text) != hashes[position]:
            raise _changed(plan, f"{path} has another text on line {document.line} than the one the plan names")
        while position < len(rows) and lines[position] == document.line:
            text = document.text[starts[position] : ends[position]]
            yield PlannedText(int(rows[position]), document.line, text, document.meta)
            position += 1
        if position == len(rows):
            return
    raise _changed(plan, f"{path} has no document on line {lines[position]}, which the plan names")


def _changed(plan: Plan, fact: str) -> CorruptData:
    return CorruptData(
        fact,
        hint=f"it changed after the build: pile download and pile dedup again, then pile build --root {plan.root}",
    )


def file_tasks(plan: Plan, name: str, *arguments: Any) -> list[Task]:
    """A task per file that the plan reads, in its order and as large as its text: for functions of a file's rows.

    Their arguments are root, component, file and then `arguments`.
    """
    tasks = []
    for component, file, _ in plan.files():
        rows = plan.rows_of(component, file)
        if rows.size:
            # Absolute, because workers of another machine stand elsewhere.
            values = (str(plan.root.resolve()), component, file, *arguments)
            task = f"{name}-{plan.header.components[component].slug}-{file}"
            tasks.append(Task(task, values, size=int(plan.column("bytes")[rows].sum())))
    return tasks


def iter_texts(plan: Plan, split: str) -> Iterator[tuple[str, int]]:
    """(text, copies) of every piece of a split, in plan order, each read once."""
    for component, file, _ in plan.files():
        part = plan.part(component, file)
        for planned in read_file_rows(part, component, file, part.rows_of(component, file, split)):
            yield planned.text, int(part.column("copies")[planned.row])


class PlannedDocument(NamedTuple):
    """A document of a corpus as `iter_documents` gives it; `meta` is decoded."""

    id: str
    text: str
    meta: dict
    copies: int


def iter_documents(root: str | Path, split: str = "train") -> Iterator[PlannedDocument]:
    """The documents of a split straight from the components, each once, with the number of its copies.

    In plan order, which is that of the components; the corpus files have the shuffled order with copies written out.
    Raises UsageError where `root` has no plan or there is no such split.
    """
    if split not in SPLITS:
        raise UsageError(f"there is no split {split!r}", hint=f"one of {', '.join(SPLITS)}")
    plan = Plan.read(Path(root))
    for component, file, _ in plan.files():
        part = plan.part(component, file)
        for planned in read_file_rows(part, component, file, part.rows_of(component, file, split)):
            meta, copies = decode_meta(planned.meta), int(part.column("copies")[planned.row])
            yield PlannedDocument(part.document_id(planned.row), planned.text, meta, copies)
