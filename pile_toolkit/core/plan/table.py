"""The plan of a root in, columns of it, rows of files and the order of all copies out."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from pile_toolkit.core.components import read_component
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.plan.files import SPLITS, open_plan, read_moved, schema
from pile_toolkit.core.plan.order import Entries, copy_keys_of, text_identities
from pile_toolkit.core.plan.separation import OrderedCopies, separate
from pile_toolkit.core.tables import GROUP_ROWS, TableFile, arrow_array, hash_array, integers, joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import pyarrow as pa

    from pile_toolkit.core.plan.files import PlanHeader

_ENTRIES_AT_ONCE = 1 << 20


class PlanTotals(NamedTuple):
    """Of all rows: copies, bytes of text once and with every copy, bytes of the longest."""

    copies: int
    bytes: int
    copied_bytes: int
    longest_bytes: int


class Plan:
    """The table and its header; a column is read when it is first asked for, and then kept.

    All of them are 60 bytes a row, 9 GB for the documents of the whole Pile: a task reads its own file's rows instead,
    and what is a sum goes through `groups`.
    """

    def __init__(self, root: Path, header: PlanHeader, table: TableFile | pa.Table, *, first_row: int = 0) -> None:
        self.root = root
        self.header = header
        # Where row 0 stands in the whole plan.
        self.first_row = first_row
        self._table = table
        self._arrays: dict[str, pa.Array] = {}
        self._paths: dict[tuple[int, int], Path] = {}
        self._moved: Entries | None = None
        # Where `with_copies` gave others than the file has, what moves is found here.
        self._is_mixed = False
        self._whole: Plan | None = None

    @classmethod
    def read(cls, root: Path) -> Plan:
        """The plan of a root folder. Raises UsageError where none was built, CorruptData where it is no plan."""
        file = open_plan(root)
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
        part._whole = self
        return part

    def file_blocks(self, component: int, file: int) -> Iterator[Plan]:
        """`part`, a group of rows after the other: needs memory for one or two groups, however long the file is.

        Pieces of one document may stand in two of them.
        """
        if not isinstance(self._table, TableFile):
            yield self.part(component, file)
            return
        rows = self._table.find(component=component, file=file)
        edges = [rows.start, *range((rows.start // GROUP_ROWS + 1) * GROUP_ROWS, rows.stop, GROUP_ROWS), rows.stop]
        for first, end in itertools.pairwise(edges):
            block = Plan(self.root, self.header, self._table.rows(range(first, end)), first_row=self.first_row + first)
            block._arrays = {name: array.slice(first, end - first) for name, array in self._arrays.items()}
            block._whole = self
            yield block

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
        other._is_mixed = True
        return other

    @property
    def is_mixed(self) -> bool:
        """Whether copies are others than those of the plan on the disk."""
        return self._is_mixed

    def groups(self, names: Sequence[str]) -> Iterator[tuple[np.ndarray, ...]]:
        """Numeric columns of all rows, in order, a group of rows at a time: of a plan on the disk nothing is kept."""
        for _, block in self.blocks(names):
            yield tuple(block[name] for name in names)

    def blocks(self, names: Sequence[str]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """(first row, columns by name) of all rows as `groups` reads them; `text_hash` is uint64[rows, 2]."""
        kept = [name for name in names if name in self._arrays or not isinstance(self._table, TableFile)]
        others = [name for name in names if name not in kept]
        if others and isinstance(self._table, TableFile):
            groups = ((first, table.num_rows, table) for first, table in self._table.groups(others))
        else:
            groups = ((first, GROUP_ROWS, None) for first in range(0, len(self), GROUP_ROWS))
        for first, rows, table in groups:
            arrays = {name: self._array(name).slice(first, rows) for name in kept}
            arrays |= {name: joined(table, name) for name in others}
            yield first, {name: (hash_array if name == "text_hash" else integers)(arrays[name]) for name in names}

    def totals(self) -> PlanTotals:
        """Sums over all rows, read a group at a time."""
        import numpy as np

        found = [
            (int(copies.sum(dtype=np.int64)), int(sizes.sum()), int((sizes * copies).sum()), int(sizes.max(initial=0)))
            for copies, sizes in self.groups(["copies", "bytes"])
        ]
        copies, sizes, copied, longest = zip(*found, strict=True) if found else [(0,)] * 4
        return PlanTotals(sum(copies), sum(sizes), sum(copied), max(longest))

    def file_sizes(self) -> dict[tuple[int, int], int]:
        """Bytes of what has copies of each (component, file) that has any, in order, read a group at a time."""
        import numpy as np

        found: dict[tuple[int, int], int] = {}
        for component, file, copies, sizes in self.groups(["component", "file", "copies", "bytes"]):
            edges = np.flatnonzero((component[1:] != component[:-1]) | (file[1:] != file[:-1])) + 1
            for start, end in zip([0, *edges.tolist()], [*edges.tolist(), len(component)], strict=True):
                wanted = copies[start:end] > 0
                if wanted.any():
                    place = int(component[start]), int(file[start])
                    found[place] = found.get(place, 0) + int(sizes[start:end][wanted].sum())
        return found

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

    def document_id(self, row: int) -> str:
        """`<slug>/<file>:<line>` of one row."""
        component = self.header.components[self.column("component")[row]]
        return f"{component.slug}/{component.files[self.column('file')[row]]}:{self.column('line')[row]}"

    def entries(self, split: str) -> Entries:
        """Every copy of every piece of a split, in the order of the corpus."""
        rows = self._rows_in(split)
        return self._moved_mixed(split)[0] if self._is_mixed else self.copies_of(rows).sorted()

    def copies_of(self, rows: np.ndarray) -> Entries:
        """Every copy of ascending `rows`, copies of one row in sequence, with their keys.

        Keys depend on (seed, text hash, ordinal among equal texts, copy), and for the few that would stand beside a
        copy of their own text on the others too: `moved` has those.
        """
        import numpy as np

        entries = self._with_own_keys(rows)
        moved = self.moved
        places = np.searchsorted(rows, moved.row - self.first_row)
        here = np.flatnonzero(places < len(rows))
        here = here[rows[places[here]] == moved.row[here] - self.first_row]
        if here.size:
            starts = np.searchsorted(entries.row, rows[places[here]])
            entries.key[starts + moved.copy[here]] = moved.key[here]
        return entries

    @property
    def moved(self) -> Entries:
        """The copies that have another key than their own, by (row, copy); rows count from the whole plan's first."""
        import numpy as np

        if self._moved is None:
            if self._whole is not None:
                self._moved = self._whole.moved
            elif self._is_mixed:
                parts = [self._moved_mixed(split)[1] for split in SPLITS]
                row, copy, key = (np.concatenate(columns) for columns in zip(*parts, strict=True))
                order = np.lexsort((copy, row))
                self._moved = Entries(row[order], copy[order], key[order])
            else:
                self._moved = read_moved(self.root, self.header)
        return self._moved

    def _rows_in(self, split: str) -> np.ndarray:
        import numpy as np

        return np.flatnonzero(self.column("split") == SPLITS.index(split))

    def _moved_mixed(self, split: str) -> tuple[Entries, Entries]:
        """(copies in order, those that moved) of a split of other copies than the file's."""
        import numpy as np

        entries = self._with_own_keys(self._rows_in(split)).sorted()

        def scan() -> Iterator[OrderedCopies]:
            for first in range(0, len(entries.row), _ENTRIES_AT_ONCE):
                row, copy, key = (column[first : first + _ENTRIES_AT_ONCE] for column in entries)
                yield OrderedCopies(key, text_identities(self.header.seed, self._hashes[row]), row, copy)

        moved = separate(scan, seed=self.header.seed).moved
        if len(moved.row):
            order = np.lexsort((entries.copy, entries.row))
            first = np.searchsorted(entries.row, moved.row, sorter=order)
            entries.key[order[first + moved.copy]] = moved.key
            entries = entries.sorted()
        return entries, moved._replace(row=moved.row + self.first_row)

    def _with_own_keys(self, rows: np.ndarray) -> Entries:
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
            keys[some] = copy_keys_of(
                self.header.seed, self._hashes[row[some]], self.column("ordinal")[row[some]], number
            )
            copy[some] = number
        return Entries(row, copy, keys)


def _span(ascending: np.ndarray, value: int) -> tuple[int, int]:
    """Where `value` starts and ends in an ascending column."""
    import numpy as np

    # Of the column's own type: for another one numpy would first make a copy of the column.
    wanted = np.asarray(value, ascending.dtype)
    return int(np.searchsorted(ascending, wanted, "left")), int(np.searchsorted(ascending, wanted, "right"))
