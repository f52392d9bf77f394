"""A folder of `datasets.Dataset.save_to_disk` in and out: `input_ids`, and where each document is from.

Written with pyarrow some rows at a time, so that no cache is filled on the way; `datasets` says what its features are
and reads what is imported.
"""

from __future__ import annotations

import importlib
import itertools
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path
from shards.exchange.blocks import blocks
from shards.exchange.origins import NAMES, Origins, origins_of
from shards.exchange.shapes import Incoming, Part, Reading, Writing, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shards.dataset import TokenDataset
    from shards.exchange.blocks import Block

IDS = "input_ids"
# What readers of one file map at once, and what the library's own limit is about.
FILE_BYTES = 500 << 20
ROWS_AT_ONCE = 1000


def _library() -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise UsageError(
            "Hugging Face data sets need the library datasets, which is not installed",
            hint="pip install 'pile-toolkit[hub]'",
        ) from error


def read(source: Path, reading: Reading) -> Incoming:
    """The column `input_ids` of a saved data set, a sequence per row, with our columns where it has them."""
    library = _library()
    if not source.is_dir():
        raise UsageError(f"there is no folder {source}", hint="a folder that save_to_disk has written")
    try:
        rows = library.load_from_disk(str(source))
    except Exception as error:  # Whatever the library and pyarrow raise for a folder that is none.
        raise CorruptData(f"{source} is no data set that load_from_disk reads: {_first_line(error)}") from error
    if isinstance(rows, dict):
        raise UsageError(
            f"{source} holds {len(rows)} data sets: {', '.join(rows)}",
            hint=f"name one: {source / next(iter(rows), '')}",
        )
    if IDS not in rows.column_names:
        raise UsageError(
            f"{source} has the columns {', '.join(rows.column_names)}, none is {IDS}", hint="rename_column"
        )
    known = set(NAMES) <= set(rows.column_names)
    return Incoming(parts=_parts(source, rows.with_format("arrow"), known), tokens=0)


def _parts(source: Path, rows: Any, known: bool) -> Iterator[Part]:
    import pyarrow as pa

    try:
        for table in rows.iter(batch_size=ROWS_AT_ONCE):
            lists = table.column(IDS).combine_chunks()
            if isinstance(lists, pa.ChunkedArray):
                lists = lists.chunk(0) if lists.num_chunks else pa.array([], lists.type)
            ids = lists.flatten()
            if lists.null_count or ids.null_count or not pa.types.is_integer(ids.type):
                raise CorruptData(
                    f"{source}: its column {IDS} is {lists.type} or has empty values, it must be lists of ids"
                )
            ends = np.cumsum(lists.value_lengths().to_numpy(), dtype=np.int64)
            origins = Origins(*(table.column(name).to_pylist() for name in NAMES)) if known else None
            yield Part(ids.to_numpy(), ends, origins)
    except (pa.ArrowException, OSError, AttributeError, NotImplementedError) as error:
        raise CorruptData(f"{source} cannot be read as lists of ids: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def write(dataset: TokenDataset, output: Path, writing: Writing, advance: Callable[[int], None]) -> Written:
    """The folder, a row per sequence, copies written out; ids are int32, which collators and torch take."""
    import pyarrow as pa

    library = _library()
    known = dataset.has_provenance
    schema = _schema(pa, known)
    with atomic_path(output, needs_bytes=5 * dataset.total_tokens) as folder:
        folder.mkdir()
        names: list[str] = []
        walk = blocks(dataset)
        while (block := next(walk, None)) is not None or not names:
            names.append(f"data-{len(names):05}.arrow")
            rest = walk if block is None else itertools.chain([block], walk)
            with pa.OSFile(str(folder / names[-1]), "wb") as sink, pa.ipc.new_stream(sink, schema) as stream:
                _fill(stream, sink, rest, dataset, schema, advance)
        _describe(library, folder, names, schema)
    return Written(files=[output], said=["ids are int32"])


def _schema(pa: Any, known: bool) -> Any:
    kinds = [(IDS, pa.list_(pa.int32()))]
    if known:
        kinds += [("component", pa.string()), ("document", pa.string()), ("copy", pa.uint16()), ("bytes", pa.uint64())]
    return pa.schema(kinds)


def _fill(
    stream: Any, sink: Any, walk: Iterator[Block], dataset: TokenDataset, schema: Any, advance: Callable[[int], None]
) -> None:
    """Writes blocks into one file until it is full."""
    import pyarrow as pa

    for block in walk:
        # Offsets of a list column have 32 bits, so that one long block becomes several batches.
        columns: dict[str, Any] = {
            IDS: pa.ListArray.from_arrays(pa.array(block.offsets, pa.int32()), block.ids.astype(np.int32))
        }
        if dataset.has_provenance:
            columns |= origins_of(dataset.provenance, block.rows)._asdict()
        stream.write_table(pa.table(columns, schema=schema), max_chunksize=ROWS_AT_ONCE)
        advance(len(block.ids))
        if sink.tell() >= FILE_BYTES:
            return


def _describe(library: Any, folder: Path, names: list[str], schema: Any) -> None:
    features = library.Features.from_arrow_schema(schema)
    library.DatasetInfo(features=features).write_to_directory(str(folder))
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": None,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / "state.json").write_bytes(msgspec.json.encode(state))
