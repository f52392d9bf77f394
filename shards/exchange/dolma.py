"""dolma's tokens in and out: `<name>.npy`, ids alone in spite of its ending, and `<name>.csv.gz`, a line per document.

A line has the first id, the one after the last, the document's id, where it is from, and its line there.
"""

from __future__ import annotations

import csv
import gzip
import io
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path
from shards.exchange.blocks import blocks
from shards.exchange.origins import origins_of
from shards.exchange.shapes import NO_ENDS, Incoming, Layout, Part, Reading, Writing, Written, raw_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shards.dataset import TokenDataset

ENDINGS = (".npy", ".csv.gz")
_LONGEST_LINE = 1 << 16


def base(path: Path) -> Path:
    """What both files have in common, by the name of either."""
    return path.with_name(path.name.removesuffix(".csv.gz").removesuffix(".npy"))


def _named(path: Path) -> list[Path]:
    return [Path(f"{base(path)}{ending}") for ending in ENDINGS]


def read(source: Path, reading: Reading) -> Incoming:
    """A pair of files by the name of either, or what they have in common."""
    ids_path, table = _named(source)
    for path in (ids_path, table):
        if not path.is_file():
            raise UsageError(f"there is no file {path}", hint="without a table of documents: --from nanogpt")
    with ids_path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            raise CorruptData(f"{ids_path} begins with numpy's header, dolma's have none", hint="array.tofile(...)")
    layout = _layout(table)
    last = int((layout.starts + layout.sizes).max(initial=0))
    # The file does not say how wide its ids are, but the table how many there are.
    id_type = reading.id_type or ("uint16" if ids_path.stat().st_size < 4 * last else "uint32")
    tokens, ids = raw_ids(ids_path, id_type)
    if last > tokens:
        raise CorruptData(f"{table} has ids up to {last:,}, {ids_path} has {tokens:,} of {id_type}")
    return Incoming(parts=(Part(block, NO_ENDS) for block in ids), tokens=tokens, layout=lambda: layout)


def _layout(path: Path) -> Layout:
    starts, ends = array("q"), array("q")
    for number, (start, end) in enumerate(_ranges(path), start=1):
        if not 0 <= start <= end < 1 << 62:
            raise CorruptData(f"{path}: line {number} has ids {start:,} to {end:,}")
        starts.append(start)
        ends.append(end)
    first, last = (np.frombuffer(values, np.int64) if values else NO_ENDS for values in (starts, ends))
    return Layout(first, last - first, np.arange(len(first) + 1))


def _ranges(path: Path) -> Iterator[tuple[int, int]]:
    line = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for row in csv.reader(iter(lambda: file.readline(_LONGEST_LINE), "")):
                start, end = row[:2]
                line += 1
                yield int(start), int(end)
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise CorruptData(f"{path} is no table of documents after line {line:,}: {error}") from error


def write(dataset: TokenDataset, output: Path, writing: Writing, advance: Callable[[int], None]) -> Written:
    """Both files, copies written out; ids of 32 bits are uint32, as dolma has them."""
    ids_path, table = _named(output)
    kind = "<u2" if dataset.dtype.itemsize <= 2 else "<u4"
    needs_bytes = dataset.total_tokens * np.dtype(kind).itemsize
    with (
        atomic_path(table) as temporary_table,
        atomic_path(ids_path, needs_bytes=needs_bytes) as temporary,
        temporary.open("wb") as file,
        # No time and no name in it: the same shards, the same bytes.
        temporary_table.open("wb") as packed,
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as zipped,
        io.TextIOWrapper(zipped, encoding="utf-8", newline="") as text,
    ):
        lines = csv.writer(text, lineterminator="\n")
        start = 0
        for block in blocks(dataset):
            file.write(np.ascontiguousarray(block.ids, kind).data)
            documents = origins_of(dataset.provenance, block.rows).document if dataset.has_provenance else None
            for place, end in enumerate((block.offsets[1:] + start).tolist()):
                begin = start + int(block.offsets[place])
                document = documents[place] if documents else str(block.first + place)
                origin, _, line = document.rpartition(":")
                lines.writerow([begin, end, document, origin, line])
            start += len(block.ids)
            advance(len(block.ids))
    return Written(files=[ids_path, table], said=[f"ids are {np.dtype(kind).name}"])
