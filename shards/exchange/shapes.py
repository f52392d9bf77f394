"""What a format gives and takes: parts of a source on their way in, options, and what was written on the way out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.errors import CorruptData, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from shards.exchange.origins import Origins

ID_TYPES = ("uint16", "uint32", "int32")
READ_IDS = 4 << 20
# A chunk's offsets are 32 bits wide: a document must fit into one.
CHUNK_BYTES = 64 << 20
LARGEST_CHUNK_BYTES = (1 << 32) - 1
INDEX_LIMIT_BYTES = 64 << 20


class Part(NamedTuple):
    """Some ids of a source; documents end before the ids `ends`, the last may go on in the next part."""

    ids: NDArray
    ends: NDArray[np.int64]
    origins: Origins | None = None


class Layout(NamedTuple):
    """Sequences of a source that has an index: first id and size of each, and the sequences where documents start."""

    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    doc_idx: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """A source that has been opened. `layout` says where sequences are, for parts that do not; read after them."""

    parts: Iterator[Part]
    tokens: int
    layout: Callable[[], Layout] | None = None
    origins: Iterator[Origins] | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options of an import: the id that ends a document, and the type of ids, None where the file tells it."""

    end_of_text: int | None = None
    id_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Writing:
    """Options of an export."""

    keep_pointers: bool = False


@dataclass(kw_only=True)
class Written:
    """What was written, and facts that the reader of the other program should know."""

    files: list[Path]
    said: list[str] = field(default_factory=list)


NO_ENDS = np.empty(0, np.int64)


def raw_ids(path: Path, id_type: str) -> tuple[int, Iterator[NDArray]]:
    """(number, blocks) of the ids in a file that holds nothing else.

    Raises UsageError where there is none or the type is unknown, CorruptData where its size is no multiple of an id's.
    """
    if id_type not in ID_TYPES:
        raise UsageError(f"there is no id type {id_type!r}", hint=f"--id-type {' | '.join(ID_TYPES)}")
    kind = np.dtype(id_type).newbyteorder("<")
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint="the name of one file of ids")
    size = path.stat().st_size
    if size % kind.itemsize:
        raise CorruptData(
            f"{path} has {size:,} bytes, no multiple of the {kind.itemsize} that an id of {id_type} takes",
            hint="it was cut short, or its ids have another --id-type",
        )
    return size // kind.itemsize, _blocks(path, kind)


def _blocks(path: Path, kind: np.dtype) -> Iterator[NDArray]:
    with path.open("rb") as file:
        while len(ids := np.fromfile(file, kind, READ_IDS)):
            yield ids
