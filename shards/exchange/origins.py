"""What is known of each sequence's document, as columns that other programs can hold, and back as provenance.

Columns: `component` (slug), `document` (`<slug>/<file>:<line>`), `copy`, `bytes`. They travel inside a format that has
columns, and as `<output>.docs.parquet` beside one that has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import atomic_path
from shards.provenance import COLUMNS, write_provenance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shards.provenance import Provenance

SUFFIX = ".docs.parquet"
NAMES = ("component", "document", "copy", "bytes")
ROWS = 1 << 16


class Origins(NamedTuple):
    """One entry per sequence in each: slugs, ids of documents, numbers of copies, UTF-8 bytes."""

    component: Sequence[str]
    document: Sequence[str]
    copy: Sequence[int]
    bytes: Sequence[int]


def origins_path(path: str | Path) -> Path:
    """`<path>.docs.parquet`."""
    return Path(f"{path}{SUFFIX}")


def origins_of(rows: Provenance, numbers: range) -> Origins:
    """The columns of some consecutive sequences. Raises CorruptData where a row has no name."""
    span = slice(numbers.start, numbers.stop)
    heads: dict[tuple[int, int], tuple[str, str]] = {}
    components, documents = [], []
    keys = zip(rows.component[span].tolist(), rows.file[span].tolist(), strict=True)
    for row, (key, line) in enumerate(zip(keys, rows.line[span].tolist(), strict=True), start=numbers.start):
        if key not in heads:
            source = rows.source(row)
            heads[key] = (source.component, source.document.rpartition(":")[0])
        component, head = heads[key]
        components.append(component)
        documents.append(f"{head}:{line}")
    return Origins(components, documents, rows.copy[span].tolist(), rows.bytes[span].tolist())


def write_origins(path: Path, rows: Provenance) -> None:
    """All rows as Parquet, some at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"component": pa.string(), "document": pa.string(), "copy": pa.uint16(), "bytes": pa.uint64()}
    schema = pa.schema(list(kinds.items()))
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for first in range(0, len(rows), ROWS):
            columns = origins_of(rows, range(first, min(first + ROWS, len(rows))))
            writer.write_table(pa.table(dict(columns._asdict()), schema=schema))


def read_origins(path: Path) -> Iterator[Origins]:
    """The rows of such a file. Raises CorruptData where it is not one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS, columns=list(NAMES)):
                yield Origins(*(batch.column(name).to_pylist() for name in NAMES))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise CorruptData(f"{path} is no table of documents: {error}", hint=f"rm {path}, or restore it") from error


class OriginsCollector:
    """Origins in, the `.docs.arrow` of as many sequences out."""

    def __init__(self, name: str) -> None:
        """`name` is what errors call the source."""
        self._name = name
        self._columns: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
        self._components: dict[str, int] = {}
        self._files: dict[str, dict[str, int]] = {}
        self._rows = 0

    def add(self, origins: Origins) -> None:
        """Takes some rows. Raises CorruptData for what is no document of ours."""
        found: dict[str, list[int]] = {name: [] for name in COLUMNS}
        for slug, document, copy, size in zip(*origins, strict=True):
            component, file, line = self._place(slug, document)
            for name, value in zip(COLUMNS, (component, file, line, copy, size), strict=True):
                found[name].append(value)
        for name, values in found.items():
            self._columns[name].append(self._as_type(name, values))
        self._rows += len(origins.component)

    def _place(self, slug: Any, document: Any) -> tuple[int, int, int]:
        head, colon, line = document.rpartition(":") if isinstance(document, str) else ("", "", "")
        of_slug, slash, file = head.partition("/")
        if not (colon and slash and file and of_slug == slug and line.isascii() and line.isdigit()):
            raise CorruptData(
                f"{self._name}: {document!r:.80} of component {slug!r:.40} is no document id, such as arxiv/a.jsonl:1",
                hint="leave out its columns component and document",
            )
        component = self._components.setdefault(slug, len(self._components))
        files = self._files.setdefault(slug, {})
        return component, files.setdefault(file, len(files)), int(line)

    def _as_type(self, name: str, values: list) -> np.ndarray:
        kind = np.iinfo(COLUMNS[name])
        try:
            if values and not 0 <= min(values) <= max(values) <= kind.max:
                raise OverflowError
            return np.array(values, COLUMNS[name])
        except (OverflowError, TypeError, ValueError) as error:
            raise CorruptData(f"{self._name}: its column {name} does not hold 0 to {kind.max:,}") from error

    def refuse_other_count(self, sequences: int) -> None:
        """Raises CorruptData where the rows are not as many as there are sequences."""
        if self._rows != sequences:
            raise CorruptData(f"{self._name} has {sequences:,} sequences and describes {self._rows:,}")

    def write(self, path: Path) -> None:
        """Writes the rows, atomically."""
        columns: dict[str, Any] = {
            name: np.concatenate([np.empty(0, COLUMNS[name]), *parts]) for name, parts in self._columns.items()
        }
        files = {slug: list(names) for slug, names in self._files.items()}
        write_provenance(path, **columns, components=list(self._components), files=files)
