"""The table between deduplication and build: each document with its hashes, its cluster and its fate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path
from pile_toolkit.core.plan import PlanComponent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import pyarrow as pa

KEEP_LIST_FILE = "documents.parquet"
# The place in this list is the column `reason`.
REASONS = ("kept", "exact duplicate", "near duplicate")
_METADATA = b"pile_toolkit.keep_list"


def schema() -> pa.Schema:
    """A row per document, in the order (component, file, line); `cluster` is the row number of the kept member."""
    import pyarrow as pa

    return pa.schema(
        [
            ("component", pa.uint8()),
            ("file", pa.uint32()),
            ("line", pa.uint64()),
            ("bytes", pa.uint64()),
            ("text_hash", pa.binary(16)),
            ("normalized_hash", pa.binary(16)),
            ("cluster", pa.uint64()),
            ("reason", pa.uint8()),
        ]
    )


def write_keep_list(path: Path, components: list[PlanComponent], columns: Mapping[str, Any]) -> None:
    """Writes the table; hash columns are uint64[rows, 2]."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [
        hash_array(columns[field.name]) if field.type == pa.binary(16) else pa.array(columns[field.name], field.type)
        for field in schema()
    ]
    table = pa.Table.from_arrays(arrays, schema=schema().with_metadata({_METADATA: msgspec.json.encode(components)}))
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", store_schema=False)


def read_keep_list(root: Path) -> tuple[list[PlanComponent], pa.Table]:
    """The components and the table of a root. Raises UsageError where deduplication has not run."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = root / "dedup" / KEEP_LIST_FILE
    if not path.exists():
        raise UsageError(f"{root} has no keep-list yet", hint=f"pile dedup --root {root}")
    try:
        table = pq.read_table(path)
        components = msgspec.json.decode((table.schema.metadata or {}).get(_METADATA, b""), type=list[PlanComponent])
        return components, table.replace_schema_metadata(None).cast(schema())
    except (pa.ArrowException, msgspec.MsgspecError, ValueError) as error:
        raise CorruptData(f"{path} is not a keep-list: {error}", hint=f"pile dedup --root {root}") from error


def hash_array(hashes: np.ndarray) -> pa.Array:
    """uint64[rows, 2] as a column of 16 bytes each."""
    import numpy as np
    import pyarrow as pa

    data = np.ascontiguousarray(hashes, dtype=np.uint64)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(data), [None, pa.py_buffer(data)])
