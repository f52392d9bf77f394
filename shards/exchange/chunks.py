"""Files of items behind a table of offsets, as MDS and litdata both have them: uint32 n, uint32 offsets[n + 1], data.

Offsets count from the start of the file. What is read is checked against the size of the file before it is used.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path
from pile_toolkit.core.jsonfile import read_json
from pile_toolkit.core.names import UnsafeName, safe_name
from shards.exchange.shapes import INDEX_LIMIT_BYTES, LARGEST_CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

INDEX = "index.json"


def read_chunk_index(folder: Path, kind: Any, *, what: str) -> Any:
    """`index.json` of a folder as a `kind`. Raises UsageError where there is none, CorruptData where it is another."""
    path = folder / INDEX
    try:
        return read_json(path, kind, limit_bytes=INDEX_LIMIT_BYTES, what=f"an index of {what}")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"there is no file {path}", hint=f"the folder of a data set of {what}") from error


def read_chunk(folder: Path, name: str, *, items: int) -> tuple[memoryview, NDArray[np.int64]]:
    """(bytes, offsets) of one file, mapped; item i is `bytes[offsets[i]:offsets[i + 1]]`, inside the file.

    Raises CorruptData where the file is absent, elsewhere, or not what its index says.
    """
    path = folder / _safe(folder, name)
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise CorruptData(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    head_bytes = 4 * (items + 2)
    found = int(np.frombuffer(data, "<u4", 1)[0]) if len(data) >= 4 else -1
    if items < 0 or found != items or len(data) < head_bytes:
        raise CorruptData(f"{path} has {len(data):,} bytes and {found:,} items, its index says {items:,}")
    offsets = np.frombuffer(data, "<u4", items + 1, 4).astype(np.int64)
    if offsets[0] < head_bytes or offsets[-1] > len(data) or (np.diff(offsets) < 0).any():
        raise CorruptData(
            f"{path} has items from byte {offsets[0]:,} to {offsets[-1]:,} of {len(data):,}, out of order"
        )
    return data, offsets


def _safe(folder: Path, name: str) -> str:
    try:
        return safe_name(name)
    except UnsafeName as error:
        raise CorruptData(f"{folder / INDEX} names the file {name!r}: {error}") from error


def write_chunk(path: Path, items: Sequence[bytes], *, head: bytes = b"") -> int:
    """Writes one file with `head` between offsets and items, and returns its bytes."""
    begin = 4 * (len(items) + 2) + len(head)
    offsets = np.cumsum([begin, *map(len, items)], dtype=np.int64)
    if offsets[-1] > LARGEST_CHUNK_BYTES:
        raise UsageError(f"{path.name} would have {offsets[-1]:,} bytes, its offsets end at {LARGEST_CHUNK_BYTES:,}")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(np.uint32(len(items)).tobytes())
        file.write(offsets.astype("<u4").tobytes())
        file.write(head)
        for item in items:
            file.write(item)
    return int(offsets[-1])
