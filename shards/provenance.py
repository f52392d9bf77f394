"""Which document each sequence is: columns in, an uncompressed Arrow file out, and back as views of the mapped file.

One row per `.idx` entry, fixed width, so that the row of any token of any batch is found without reading the others.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path
from pile_toolkit.core.tables import arrow_array, integers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

    import pyarrow as pa
    from numpy.typing import ArrayLike, NDArray

T = TypeVar("T")

COLUMNS = {"component": "uint8", "file": "uint32", "line": "uint64", "copy": "uint16", "bytes": "uint64"}


class Source(NamedTuple):
    """One row in words: `document` is `<slug>/<file>:<line>`, `copy` counts from 0, `bytes` are UTF-8 ones."""

    component: str
    document: str
    copy: int
    bytes: int


@dataclass(frozen=True)
class Provenance:
    """Read-only columns with one row per sequence, and the names their numbers stand for."""

    path: Path
    component: NDArray[np.uint8]
    file: NDArray[np.uint32]
    line: NDArray[np.uint64]
    copy: NDArray[np.uint16]
    bytes: NDArray[np.uint64]
    components: tuple[str, ...]
    files: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return len(self.component)

    def source(self, row: int) -> Source:
        """The document of one sequence. Raises CorruptData where its component or file has no name."""
        try:
            slug = self.components[self.component[row]]
            name = self.files[slug][self.file[row]]
        except (IndexError, KeyError) as error:
            raise CorruptData(
                f"{self.path}: row {row} names component {self.component[row]} and file {self.file[row]}, "
                f"but has names for {len(self.components)} components only",
                hint="write the shards again",
            ) from error
        return Source(slug, f"{slug}/{name}:{self.line[row]}", int(self.copy[row]), int(self.bytes[row]))


def provenance_path(prefix: str | Path) -> Path:
    """`<prefix>.docs.arrow`."""
    return Path(f"{prefix}.docs.arrow")


def write_provenance(
    path: Path,
    *,
    component: ArrayLike,
    file: ArrayLike,
    line: ArrayLike,
    copy: ArrayLike,
    bytes: ArrayLike,
    components: Sequence[str],
    files: Mapping[str, Sequence[str]],
) -> None:
    """Writes one row per sequence, atomically: component number, file number, line from 1, copy from 0, UTF-8 bytes.

    `components` are the slugs by number, `files` the file names of a slug by number. Raises UsageError where columns
    differ in length or a value does not fit its type.
    """
    import pyarrow as pa

    given = {"component": component, "file": file, "line": line, "copy": copy, "bytes": bytes}
    columns = {name: _as_type(path, name, values) for name, values in given.items()}
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{len(values):,} {name}" for name, values in columns.items())
        raise UsageError(f"{path} was given columns of different lengths: {lengths}")
    schema = _schema(components, files)
    # One batch, so that every column is one piece of memory when it is read.
    batch = pa.record_batch([arrow_array(values) for values in columns.values()], schema=schema)
    with atomic_path(path) as temporary, pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as out:
        out.write_batch(batch)


def _schema(components: Sequence[str], files: Mapping[str, Sequence[str]]) -> pa.Schema:
    import pyarrow as pa

    names = {"components": msgspec.json.encode(list(components)), "files": msgspec.json.encode(dict(files))}
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in COLUMNS.items()], metadata=names)


@contextlib.contextmanager
def open_provenance(
    path: Path, *, rows: int, components: Sequence[str], files: Mapping[str, Sequence[str]]
) -> Iterator[ProvenanceWriter]:
    """A `.docs.arrow` of so many rows, which appears when the block ends without an error.

    Its bytes are those of `write_provenance`; in memory is what is added at once. Raises UsageError where the block
    adds more or fewer rows.
    """
    import pyarrow as pa

    row_bytes = sum(np.dtype(kind).itemsize for kind in COLUMNS.values())
    with atomic_path(path, needs_bytes=row_bytes * rows) as temporary:
        schema = _schema(components, files)
        # The library wants a batch in memory: it is given zeros, which the system does not make before they are
        # written to, and its file is filled in where it holds them.
        zeros = np.zeros(8 * rows, np.uint8)
        columns = [arrow_array(zeros.view(kind)[:rows]) for kind in COLUMNS.values()]
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as out:
            out.write_batch(pa.record_batch(columns, schema=schema))
        del zeros, columns
        places = _places(temporary)
        with temporary.open("r+b") as file:
            writer = ProvenanceWriter(file, rows, places)
            yield writer
            if writer.written != rows:
                raise UsageError(f"{path} was given {writer.written:,} rows of {rows:,}")


def _places(path: Path) -> dict[str, int]:
    """At which byte of a file of one batch each column begins."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        start = source.read_buffer(1).address
        batch = pa.ipc.open_file(source).get_batch(0)
        return {name: batch.column(name).buffers()[1].address - start for name in COLUMNS}


class ProvenanceWriter:
    """Takes the rows of a `.docs.arrow` in their order, some at a time; `written` were taken."""

    def __init__(self, file: BinaryIO, rows: int, places: Mapping[str, int]) -> None:
        self.written = 0
        self._file, self._rows, self._places = file, rows, places

    def add(self, **columns: NDArray) -> None:
        """Some more rows: every one of COLUMNS. Raises UsageError as `write_provenance` does."""
        at, lengths = self.written, {len(values) for values in columns.values()}
        self.written += max(lengths)
        if len(lengths) > 1 or self.written > self._rows:
            raise UsageError(f"{self._file.name} was given {self.written:,} rows of {self._rows:,}")
        for name, kind in COLUMNS.items():
            self._file.seek(self._places[name] + at * np.dtype(kind).itemsize)
            self._file.write(np.ascontiguousarray(_as_type(Path(self._file.name), name, columns[name])).data)


def _as_type(path: Path, name: str, values: ArrayLike) -> NDArray:
    # Of a list numpy would make doubles where one value needs 64 unsigned bits; Python's own integers are exact.
    given = values if isinstance(values, np.ndarray) else np.asarray(values, dtype=object)
    kind = np.dtype(COLUMNS[name])
    if given.dtype == kind:
        return given
    if given.dtype.kind not in "iuO":
        raise UsageError(f"{path}: column {name} was given as {given.dtype}, it holds {kind}")
    limit = np.iinfo(kind).max
    if len(given) and not 0 <= int(given.min()) <= int(given.max()) <= limit:
        raise UsageError(
            f"{path}: column {name} runs from {int(given.min()):,} to {int(given.max()):,}, it holds 0 to {limit:,}"
        )
    return given.astype(kind)


def read_provenance(path: Path) -> Provenance:
    """The rows of a `.docs.arrow`, mapped. Raises UsageError where there is none, CorruptData where it is damaged."""
    import pyarrow as pa

    try:
        source = pa.memory_map(str(path))
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no file {path}: these shards do not say which documents they hold",
            hint="`pile shards write` writes it; files of other programs come without",
        ) from error
    try:
        reader = pa.ipc.open_file(source)
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        for batch in batches:
            batch.validate(full=True)
        columns = {name: _column(path, name, batches) for name in COLUMNS}
        metadata = reader.schema.metadata or {}
        components = tuple(_names(path, metadata, b"components", list[str]))
        files = _names(path, metadata, b"files", dict[str, list[str]])
    except (pa.ArrowException, KeyError, OSError, ValueError) as error:
        raise CorruptData(f"{path} is no provenance file: {error}", hint="write the shards again") from error
    return Provenance(path=path, components=components, files=files, **columns)


def _column(path: Path, name: str, batches: list) -> NDArray:
    # Slices of no rows are legal; ours has one batch, and one batch is one view.
    if len(batches) != 1:
        raise CorruptData(f"{path} has {len(batches)} record batches, ours have one", hint="write the shards again")
    values = batches[0].column(name)
    kind, nulls = str(values.type), values.null_count
    if kind != COLUMNS[name] or nulls:
        raise CorruptData(
            f"{path}: column {name} is {kind} with {nulls:,} nulls, it must be {COLUMNS[name]} with none",
            hint="write the shards again",
        )
    return integers(values)


def _names(path: Path, metadata: Mapping[bytes, bytes], key: bytes, kind: type[T]) -> Any:
    try:
        return msgspec.json.decode(metadata[key], type=kind)
    except (KeyError, msgspec.MsgspecError) as error:
        raise CorruptData(f"{path} has no readable names of its {key.decode()}: {error}") from error
