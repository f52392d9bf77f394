"""Columns and a header in, one Parquet file out, and back: the tables that stages hand to each other.

The header, a JSON value in the file's metadata, says what the numbers in the columns stand for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import pyarrow as pa

_HEADER = b"pile_toolkit.header"


def write_table(path: Path, schema: pa.Schema, columns: Mapping[str, Any], header: Any) -> None:
    """Writes `columns`, one per field of `schema` and all of one length; 16-byte hashes may be uint64[rows, 2]."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [_array(columns[field.name], field.type) for field in schema]
    with (
        atomic_path(path) as temporary,
        # store_schema would write the library's own description of the schema: the bytes must not depend on more.
        pq.ParquetWriter(temporary, schema, compression="zstd", store_schema=False) as writer,
    ):
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        writer.add_key_value_metadata({_HEADER: msgspec.json.encode(header)})


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    if kind == pa.binary(16) and isinstance(values, np.ndarray):
        data = np.ascontiguousarray(values, dtype=np.uint64)
        return pa.FixedSizeBinaryArray.from_buffers(kind, len(data), [None, pa.py_buffer(data)])
    return values if isinstance(values, pa.ChunkedArray) else pa.array(values, type=kind)


def read_table(path: Path, schema: pa.Schema, header_type: Any, *, name: str, command: str) -> tuple[Any, pa.Table]:
    """(header, table) of a file. `name` and `command` are for errors: what it is, and what makes it.

    Raises UsageError where there is no file, CorruptData where it is not such a table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise UsageError(f"there is no {name} {path}", hint=command)
    try:
        table = pq.read_table(path)
        header = msgspec.json.decode((table.schema.metadata or {}).get(_HEADER, b""), type=header_type)
        return header, table.replace_schema_metadata(None).cast(schema)
    except (pa.ArrowException, msgspec.MsgspecError, ValueError, OSError) as error:
        if getattr(error, "errno", None):
            # Not allowed, or out of reach: that says nothing about the file.
            raise
        raise CorruptData(f"{path} is not a {name}: {error}", hint=f"rm {path} && {command}") from error


def hash_columns(table: pa.Table, name: str = "text_hash") -> np.ndarray:
    """A table's column of 16-byte hashes as uint64[rows, 2]."""
    import numpy as np

    column = table.column(name).combine_chunks()
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8) if len(column) else np.empty(0, np.uint8)
    return data[column.offset * 16 : (column.offset + len(column)) * 16].view(np.uint64).reshape(-1, 2)
