"""Columns and a header in, one Parquet file out, and back, whole or in part: the tables that stages hand to each other.

The header, a JSON value in the file's metadata, says what the numbers in the columns stand for. Rows lie in groups of
GROUP_ROWS, so that who needs the rows of one file, or each row once, has one group or two in memory and not the table.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.errors import CorruptData, TryAgain, UsageError
from pile_toolkit.core.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

HEADER_KEY = b"pile_toolkit.header"
# A group of the plan is 8 MB of columns; 210 million rows make 1,607 groups, whose description takes 16 MB to read.
GROUP_ROWS = 1 << 17


def write_table(
    path: Path, schema: pa.Schema, columns: Mapping[str, Any], header: Any, *, group_rows: int = GROUP_ROWS
) -> None:
    """Writes `columns`, one per field of `schema` and all of one length; 16-byte hashes may be uint64[rows, 2]."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [column_array(columns[field.name], field.type) for field in schema]
    with (
        atomic_path(path, needs_bytes=sum(array.nbytes for array in arrays)) as temporary,
        # store_schema would write the library's own description of the schema: the bytes must not depend on more.
        pq.ParquetWriter(temporary, schema, compression="zstd", store_schema=False) as writer,
    ):
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=group_rows)
        add_header(writer, header)


def add_header(writer: pq.ParquetWriter, header: Any) -> None:
    """Gives a table that is being written the header that `TableFile` reads."""
    writer.add_key_value_metadata({HEADER_KEY: msgspec.json.encode(header)})


def column_array(values: Any, kind: pa.DataType) -> pa.Array:
    """Values of any kind as a column; of numpy without a copy, 16-byte hashes as uint64[rows, 2]."""
    import numpy as np
    import pyarrow as pa

    if kind == pa.binary(16) and isinstance(values, np.ndarray):
        return hash_to_arrow(values)
    # Not truth values, eight of which share a byte there.
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu" and str(values.dtype) == str(kind):
        return arrow_array(values)
    return values if isinstance(values, pa.ChunkedArray | pa.Array) else pa.array(values, type=kind)


class TableFile:
    """A table on the disk: its header at once, its rows when they are asked for. No file stays open between readings.

    Readings raise CorruptData where the file is damaged, TryAgain where another has taken its place meanwhile.
    """

    def __init__(self, path: Path, schema: pa.Schema, header_type: Any, *, name: str, command: str) -> None:
        """`name` and `command` are for errors: what it is, and what makes it.

        Raises UsageError where there is no file, CorruptData where it is not such a table.
        """
        import pyarrow.parquet as pq

        self.path, self.schema = path, schema
        self._name, self._command = name, command
        if not path.exists():
            raise UsageError(f"there is no {name} {path}", hint=command)
        with self._naming_damage(), path.open("rb") as stream, pq.ParquetFile(stream) as file:
            self._identity = _identity(os.fstat(stream.fileno()))
            self._metadata = file.metadata
            self.header = msgspec.json.decode((file.metadata.metadata or {}).get(HEADER_KEY, b""), type=header_type)
            if file.schema_arrow.names != schema.names:
                raise ValueError(f"its columns are {file.schema_arrow.names}, expected {schema.names}")

    def __len__(self) -> int:
        return self._metadata.num_rows

    def read(self) -> tuple[Any, pa.Table]:
        """(header, table) with every column in one piece."""
        import pyarrow as pa

        # Column by column: while one is joined it is in memory twice, the others once.
        columns = [self.column(name) for name in self.schema.names]
        return self.header, pa.Table.from_arrays(columns, schema=self.schema)

    def column(self, name: str) -> pa.Array:
        """One column in one piece."""
        return joined(self._read([name], range(self._metadata.num_row_groups)), name)

    def groups(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """(number of the first row, some columns) of all rows, a group at a time."""
        for number, rows in enumerate(self._spans()):
            yield rows.start, self._read(columns, [number])

    def find(self, **values: int) -> range:
        """The rows with these values in the columns that the table is in the order of: one range, read from few groups.

        Which groups may hold them is known from their smallest and largest values.
        """
        import numpy as np

        first, end = 0, 0
        for number, rows in enumerate(self._spans()):
            if self._may_hold(number, values):
                table = self._read(list(values), [number])
                equal = [integers(joined(table, name)) == value for name, value in values.items()]
                places = np.flatnonzero(np.logical_and.reduce(equal))
                if places.size:
                    first = first if end else rows.start + int(places[0])
                    end = rows.start + int(places[-1]) + 1
        return range(first, end)

    def rows(self, rows: range, columns: Sequence[str] | None = None) -> pa.Table:
        """Some consecutive rows; what of their groups lies outside is read, and forgotten."""
        import pyarrow as pa

        names = self.schema.names if columns is None else columns
        groups = [
            (number, group)
            for number, group in enumerate(self._spans())
            if group.start < rows.stop and rows.start < group.stop
        ]
        schema = pa.schema([self.schema.field(name) for name in names])
        if not rows or not groups:
            return schema.empty_table()
        table = self._read(names, [number for number, _ in groups]).slice(rows.start - groups[0][1].start, len(rows))
        return pa.Table.from_arrays([joined(table, name) for name in names], schema=schema)

    def _spans(self) -> Iterator[range]:
        first = 0
        for number in range(self._metadata.num_row_groups):
            end = first + self._metadata.row_group(number).num_rows
            yield range(first, end)
            first = end

    def _may_hold(self, number: int, values: Mapping[str, int]) -> bool:
        group = self._metadata.row_group(number)
        for name, value in values.items():
            known = group.column(self.schema.get_field_index(name)).statistics
            if known is not None and known.has_min_max and not known.min <= value <= known.max:
                return False
        return True

    def _read(self, columns: Sequence[str], groups: Sequence[int]) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([self.schema.field(name) for name in columns])
        with self._naming_damage(), self.path.open("rb") as stream:
            if _identity(os.fstat(stream.fileno())) != self._identity:
                raise TryAgain(f"{self.path} was replaced while it was read", hint="the same command again")
            with pq.ParquetFile(stream, metadata=self._metadata) as file:
                table = file.read_row_groups(list(groups), columns=list(columns))
            return table.select(list(columns)).replace_schema_metadata(None).cast(schema)

    @contextlib.contextmanager
    def _naming_damage(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, msgspec.MsgspecError, ValueError, KeyError, OSError) as error:
            if getattr(error, "errno", None):
                # Not allowed, or out of reach: that says nothing about the file.
                raise
            raise CorruptData(
                f"{self.path} is not a {self._name}: {error}", hint=f"rm {self.path} && {self._command}"
            ) from error


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def joined(table: pa.Table, name: str) -> pa.Array:
    """A column of a table in one piece, without a copy where it is in one already."""
    import pyarrow as pa

    column = table.column(name)
    # The library would copy a single piece too.
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([pa.array([], column.type), *column.chunks])


def integers(array: pa.Array) -> np.ndarray:
    """An array of integers without nulls, without a copy; the library itself would import pandas where it is."""
    import numpy as np

    dtype = np.dtype(str(array.type))
    if not len(array):
        return np.empty(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype=dtype)[array.offset : array.offset + len(array)]


def arrow_array(values: np.ndarray) -> pa.Array:
    """Integers as an array of the same type, without a copy, and as `integers` without pandas."""
    import numpy as np
    import pyarrow as pa

    data = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(data.dtype), len(data), [None, pa.py_buffer(data)])


def hash_to_arrow(hashes: np.ndarray) -> pa.Array:
    """16-byte hashes, uint64[rows, 2], as an array, without a copy."""
    import numpy as np
    import pyarrow as pa

    data = np.ascontiguousarray(hashes, dtype=np.uint64)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(data), [None, pa.py_buffer(data)])


def hash_columns(table: pa.Table, name: str = "text_hash") -> np.ndarray:
    """A table's column of 16-byte hashes as uint64[rows, 2]; without a copy where it is in one piece."""
    return hash_array(joined(table, name))


def hash_array(hashes: pa.Array) -> np.ndarray:
    """An array of 16-byte hashes as uint64[rows, 2], without a copy."""
    import numpy as np

    data = np.frombuffer(hashes.buffers()[1], dtype=np.uint8) if len(hashes) else np.empty(0, np.uint8)
    return data[hashes.offset * 16 : (hashes.offset + len(hashes)) * 16].view(np.uint64).reshape(-1, 2)
