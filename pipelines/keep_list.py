"""The tables between deduplication and build: each document with its hashes, its cluster and its fate; each cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pile_toolkit.core.files import atomic_path
from pile_toolkit.core.plan import PlanComponent
from pile_toolkit.core.tables import GROUP_ROWS, TableFile, add_header, arrow_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    import pyarrow as pa

KEEP_LIST_FILE = "documents.parquet"
CLUSTERS_FILE = "clusters.parquet"
# The place in this list is the column `reason`.
REASONS = ("kept", "exact duplicate", "near duplicate", "contaminated")


def schema() -> pa.Schema:
    """A row per document, in the order (component, file, line); `cluster` is the row number of the kept member.

    `similarity`, to that member, is null for it, and where nobody compared the two.
    """
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
            ("kept", pa.bool_()),
            ("reason", pa.uint8()),
            ("similarity", pa.float32()),
        ]
    )


def clusters_schema() -> pa.Schema:
    """A row per cluster of at least two, in the order of `cluster`, which is the row number of its kept member.

    `documents` and `bytes` are of all members, `kept` counts those that stay; `similarity` is the smallest of members.
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("cluster", pa.uint64()),
            ("documents", pa.uint64()),
            ("bytes", pa.uint64()),
            ("kept", pa.uint64()),
            ("similarity", pa.float32()),
        ]
    )


def write_rows(path: Path, schema: pa.Schema, parts: Iterable[Mapping[str, np.ndarray]], header: Any) -> None:
    """Writes columns that come some rows at a time; in memory are a group of rows and a part.

    Hashes are uint64[rows, 2], `kept` is 0 or 1, and a similarity that is not known is NaN.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (
        atomic_path(path) as temporary,
        # As in `write_table`: the bytes must not depend on the library's own description of the schema. Dictionaries
        # of what hardly occurs twice would take 60 MB.
        pq.ParquetWriter(
            temporary, schema, compression="zstd", store_schema=False, use_dictionary=["component", "file", "reason"]
        ) as writer,
    ):
        for group in _groups(parts, GROUP_ROWS):
            arrays = [_array(group[field.name], field.type) for field in schema]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=GROUP_ROWS)
        add_header(writer, header)


def _groups(parts: Iterable[Mapping[str, np.ndarray]], rows: int) -> Iterator[dict[str, np.ndarray]]:
    """The same rows, so many at a time, the last ones fewer."""
    import numpy as np

    waiting: list[Mapping[str, np.ndarray]] = []
    count = 0
    for part in parts:
        waiting.append(part)
        count += len(next(iter(part.values())))
        while count >= rows:
            joined = {name: np.concatenate([each[name] for each in waiting]) for name in part}
            yield {name: column[:rows] for name, column in joined.items()}
            waiting, count = [{name: column[rows:] for name, column in joined.items()}], count - rows
    if count:
        yield {name: np.concatenate([each[name] for each in waiting]) for name in waiting[0]}


def _array(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    if kind == pa.binary(16):
        data = np.ascontiguousarray(values, np.uint64)
        return pa.FixedSizeBinaryArray.from_buffers(kind, len(data), [None, pa.py_buffer(data)])
    if kind == pa.bool_():
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(_bits(values))])
    if kind == pa.float32():
        known, data = ~np.isnan(values), np.ascontiguousarray(np.nan_to_num(values), np.float32)
        return pa.Array.from_buffers(kind, len(data), [pa.py_buffer(_bits(known)), pa.py_buffer(data)])
    return arrow_array(values.astype(str(kind), copy=False))


def _bits(values: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.packbits(values.astype(np.bool_), bitorder="little")


def open_keep_list(root: Path) -> TableFile:
    """The table of a root, to be read in part; its header is the components. Raises as `read_keep_list` does."""
    return _open(root, KEEP_LIST_FILE, schema(), "keep-list")


def open_clusters(root: Path) -> TableFile:
    """The clusters of a root, to be read in part; the header is that of the keep-list. Raises as it does."""
    return _open(root, CLUSTERS_FILE, clusters_schema(), "table of clusters")


def _open(root: Path, file: str, schema: pa.Schema, name: str) -> TableFile:
    return TableFile(root / "dedup" / file, schema, list[PlanComponent], name=name, command=f"pile dedup --root {root}")


def read_keep_list(root: Path) -> tuple[list[PlanComponent], pa.Table]:
    """The components and the table of a root. Raises UsageError where deduplication has not run."""
    return open_keep_list(root).read()
