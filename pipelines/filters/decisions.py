"""What filters decided in, two tables out and back: documents that went, and documents that stayed with another text.

A written document has no row of its own: its line counts those before it at the source that did not go, and these have
rows. So both directions, source line to written line and back, are one binary search.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from pile_toolkit.core.tables import TableFile, arrow_array, integers, joined, write_table
from pipelines.filters.pii import REPLACEMENTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import pyarrow as pa

DROPPED_FILE = "filtered.parquet"
CHANGED_FILE = "changed.parquet"
# Lines that were no documents: they are missing from the written file as well.
REJECT = "no document"
CHANGES = ("lines_cut", *REPLACEMENTS)
_COMMAND = "pile download again"
_NO_NUMBER = float("nan")


def dropped_schema() -> pa.Schema:
    """A row per source line that was not written, by file and line; value and limit are null where there is none."""
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            ("file", pa.uint32()),
            ("line", pa.uint64()),
            ("filter", text),
            ("reason", text),
            ("value", pa.float64()),
            ("limit", pa.float64()),
        ]
    )


def changed_schema() -> pa.Schema:
    """A row per written document whose text is not the source's, by file and source line."""
    import pyarrow as pa

    return pa.schema([("file", pa.uint32()), ("line", pa.uint64()), *((name, pa.uint32()) for name in CHANGES)])


class Rows:
    """The rows of one file while it is read: 28 bytes for each, and what they say in few words once."""

    def __init__(self) -> None:
        self.reasons: dict[tuple[str, str], int] = {}
        self._dropped: list[array] = [array(code) for code in "QIdd"]
        self._changed: list[array] = [array(code) for code in "Q" + "I" * len(CHANGES)]

    def drop(self, line: int, name: str, reason: str, value: float | None = None, limit: float | None = None) -> None:
        """A line that is not written."""
        number = self.reasons.setdefault((name, reason), len(self.reasons))
        numbers = (_NO_NUMBER if item is None else float(item) for item in (value, limit))
        for column, item in zip(self._dropped, (line, number, *numbers), strict=True):
            column.append(item)

    def change(self, line: int, counts: dict[str, int]) -> None:
        """A line that is written with another text."""
        for column, item in zip(self._changed, (line, *(counts.get(name, 0) for name in CHANGES)), strict=True):
            column.append(item)

    def write(self, folder: Path) -> None:
        """Writes the columns into a folder of a task."""
        import numpy as np

        for name, columns in (("dropped", self._dropped), ("changed", self._changed)):
            with (folder / f"{name}.npz").open("wb") as stream:
                np.savez(stream, *(np.array(column, column.typecode) for column in columns))


def write_tables(
    folder: Path, tasks: Sequence[Path], reasons: Sequence[Sequence[Sequence[str]]], files: Sequence[str]
) -> list[Path]:
    """Both tables, from what the tasks of a component's files wrote, in their order; `reasons` are those of each."""
    import numpy as np

    dropped = _gathered([task / "dropped.npz" for task in tasks], ("line", "reason", "value", "limit"))
    changed = _gathered([task / "changed.npz" for task in tasks], ("line", *CHANGES))
    known = sorted({(name, reason) for of_file in reasons for name, reason in of_file})
    numbers = [np.array([known.index((name, reason)) for name, reason in of_file], np.int32) for of_file in reasons]
    # Each file numbered its reasons as they came.
    ends = np.searchsorted(dropped["file"], np.arange(len(tasks) + 1, dtype=np.uint32))
    at = np.empty(len(dropped["file"]), np.int32)
    for of_file, start, end in zip(numbers, ends[:-1], ends[1:], strict=True):
        at[start:end] = of_file[dropped["reason"][start:end]]
    dropped |= {"filter": _named([name for name, _ in known], at), "reason": _named([why for _, why in known], at)}
    dropped |= {name: _with_nulls(dropped[name]) for name in ("value", "limit")}
    header = {"files": list(files)}
    write_table(folder / DROPPED_FILE, dropped_schema(), dropped, header)
    write_table(folder / CHANGED_FILE, changed_schema(), changed, header)
    return [folder / DROPPED_FILE, folder / CHANGED_FILE]


def _gathered(paths: Sequence[Path], names: Sequence[str]) -> dict[str, Any]:
    """The columns of all files, and which file each row is of."""
    import numpy as np

    read = [_read(path) for path in paths]
    files = [np.full(len(columns[0]), number, np.uint32) for number, columns in enumerate(read)]
    columns = zip(*read, strict=True)
    return {"file": np.concatenate(files)} | dict(zip(names, map(np.concatenate, columns), strict=True))


def _named(texts: Sequence[str], at: np.ndarray) -> pa.ChunkedArray:
    """Texts by their numbers, each stored once."""
    import numpy as np
    import pyarrow as pa

    values = sorted(set(texts))
    codes = np.array([values.index(text) for text in texts], np.int32)[at] if texts else at
    return pa.chunked_array([pa.DictionaryArray.from_arrays(arrow_array(codes), pa.array(values, pa.string()))])


def _with_nulls(values: np.ndarray) -> pa.ChunkedArray:
    import numpy as np
    import pyarrow as pa

    return pa.chunked_array([pa.array(values, mask=np.isnan(values))])


def _read(path: Path) -> list[Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as stored:
        return [stored[name] for name in stored.files]


def open_dropped(folder: Path) -> TableFile:
    """The table of documents that went; its header has the names of the files."""
    return _open(folder / DROPPED_FILE, dropped_schema(), "table of filtered documents")


def open_changed(folder: Path) -> TableFile:
    """The table of documents that stayed with another text."""
    return _open(folder / CHANGED_FILE, changed_schema(), "table of changed documents")


def _open(path: Path, schema: pa.Schema, name: str) -> TableFile:
    return TableFile(path, schema, dict[str, list[str]], name=name, command=_COMMAND)


def dropped_lines(table: TableFile, file: int) -> tuple[range, np.ndarray]:
    """(rows, uint64 lines in order) of a file's lines that were not written."""
    rows = table.find(file=file)
    return rows, integers(joined(table.rows(rows, ["line"]), "line"))
