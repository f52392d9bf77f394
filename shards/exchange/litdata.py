"""litdata's folders of tokens in and out: an item per sequence, as its `TokensLoader` reads them.

Read and written here without the library. Documents are not marked for that loader, which cuts blocks over all items;
what they are goes into a table beside the folder.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path, write_bytes
from shards.exchange.blocks import blocks
from shards.exchange.chunks import INDEX, read_chunk, read_chunk_index, write_chunk
from shards.exchange.shapes import CHUNK_BYTES, Incoming, Part, Reading, Writing, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from shards.dataset import TokenDataset

# Its numbers for the integer types of torch and of numpy.
_TYPES = {
    "no_header_tensor": {
        11: "<u1",
        12: "<i1",
        13: "<i2",
        14: "<i2",
        15: "<i4",
        16: "<i4",
        17: "<i8",
        18: "<i8",
        20: "<u2",
    },
    "no_header_numpy": {0: "<i1", 1: "<i2", 2: "<i4", 3: "<i8", 4: "<u1", 5: "<u2", 6: "<u4", 7: "<u8"},
}
_CODES = {"uint16": 20, "int32": 16, "uint8": 11, "int8": 12, "int16": 14, "int64": 18}
# A single value that is no container, in torch's notation of trees.
_DATA_SPEC = '[1, {"type": null, "context": null, "children_spec": []}]'


class _Chunk(msgspec.Struct, frozen=True):
    filename: str
    chunk_size: int


class _Config(msgspec.Struct, frozen=True):
    data_format: list[str]
    compression: str | None = None
    encryption: Any = None


class _Index(msgspec.Struct, frozen=True):
    chunks: list[_Chunk]
    config: _Config


def read(source: Path, reading: Reading) -> Incoming:
    """A folder of chunks whose items are one array of ids each."""
    index = read_chunk_index(source, _Index, what="litdata")
    kind = _kind(source, index.config)
    return Incoming(parts=_parts(source, index, kind), tokens=0)


def _kind(source: Path, config: _Config) -> np.dtype:
    if config.compression or config.encryption:
        raise UsageError(f"{source} is compressed or encrypted, only plain litdata is read", hint="optimize it without")
    if len(config.data_format) == 1:
        serializer, _, code = config.data_format[0].partition(":")
        kind = _TYPES.get(serializer, {}).get(int(code) if code.isascii() and code.isdigit() else -1)
        if kind is not None:
            return np.dtype(kind)
    raise UsageError(f"{source} has items of {config.data_format}, ids are one array of integers", hint="TokensLoader")


def _parts(source: Path, index: _Index, kind: np.dtype) -> Iterator[Part]:
    for chunk in index.chunks:
        data, offsets = read_chunk(source, chunk.filename, items=chunk.chunk_size)
        if (np.diff(offsets) % kind.itemsize).any():
            raise CorruptData(f"{source / chunk.filename} has items that are no multiple of {kind.itemsize} bytes")
        ids = np.frombuffer(data[offsets[0] : offsets[-1]], kind)
        yield Part(ids, (offsets[1:] - offsets[0]) // kind.itemsize)


def write(dataset: TokenDataset, output: Path, writing: Writing, advance: Callable[[int], None]) -> Written:
    """The folder, an item per sequence, copies written out."""
    with atomic_path(output, needs_bytes=dataset.total_tokens * dataset.dtype.itemsize) as folder:
        folder.mkdir()
        chunks: list[dict[str, Any]] = []
        items: list[NDArray] = []
        held_bytes = 0
        for block in blocks(dataset):
            for ids in block.sequences():
                if items and held_bytes + ids.nbytes + 4 > CHUNK_BYTES:
                    chunks.append(_chunk(folder, len(chunks), items))
                    items, held_bytes = [], 0
                items.append(ids)
                held_bytes += ids.nbytes + 4
            advance(len(block.ids))
        if items:
            chunks.append(_chunk(folder, len(chunks), items))
        write_bytes(folder / INDEX, _index(chunks, dataset.dtype.name))
    return Written(files=[output], said=["read with StreamingDataset(..., item_loader=TokensLoader(block_size=...))"])


def _chunk(folder: Path, number: int, items: list[NDArray]) -> dict[str, Any]:
    name = f"chunk-0-{number}.bin"
    size = write_chunk(folder / name, [ids.tobytes() for ids in items])
    return {"chunk_bytes": size, "chunk_size": len(items), "dim": sum(map(len, items)), "filename": name}


def _index(chunks: list[dict[str, Any]], dtype: str) -> bytes:
    config = {
        "chunk_bytes": CHUNK_BYTES,
        "chunk_size": None,
        "compression": None,
        "data_format": [f"no_header_tensor:{_CODES[dtype]}"],
        "data_spec": _DATA_SPEC,
        "encryption": None,
        "item_loader": "TokensLoader",
    }
    # Not the time: the same shards, the same bytes.
    return json.dumps({"chunks": chunks, "config": config, "updated_at": "0.0"}, sort_keys=True).encode()
