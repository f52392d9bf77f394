"""MosaicML's MDS in and out: a sample per sequence with `tokens`, and where each document is from.

Read and written here, byte for byte as its library does, and without it; columns that would be unpickled are refused.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path, write_bytes
from shards.exchange.blocks import blocks
from shards.exchange.chunks import INDEX, read_chunk, read_chunk_index, write_chunk
from shards.exchange.origins import NAMES, Origins, origins_of
from shards.exchange.shapes import CHUNK_BYTES, Incoming, Part, Reading, Writing, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shards.dataset import TokenDataset

IDS = ("tokens", "input_ids")
SAMPLES_AT_ONCE = 4096
_SHAPE_TYPES = ("<u1", "<u2", "<u4", "<u8")
_TYPE_OF_BYTE = {8: "<u1", 9: "<i1", 16: "<u2", 17: "<i2", 32: "<u4", 33: "<i4", 64: "<u8", 65: "<i8"}
_INTEGERS = {np.dtype(name).name: name for name in _TYPE_OF_BYTE.values()}
_OURS = {"component": "str", "document": "str", "copy": "int", "bytes": "int"}


class _File(msgspec.Struct, frozen=True):
    basename: str
    bytes: int
    hashes: dict[str, str] = {}


class _Shard(msgspec.Struct, frozen=True):
    column_names: list[str]
    column_encodings: list[str]
    column_sizes: list[int | None]
    samples: int
    raw_data: _File
    format: str = "mds"
    compression: str | None = None


class _Index(msgspec.Struct, frozen=True):
    shards: list[_Shard]
    version: int


def read(source: Path, reading: Reading) -> Incoming:
    """A folder of `.mds` files; ids are its column `tokens` or `input_ids`, as ndarray or bytes (int64)."""
    index = read_chunk_index(source, _Index, what="MDS")
    for shard in index.shards:
        _check(source, shard)
    known = bool(index.shards) and all(_columns(shard).items() >= _OURS.items() for shard in index.shards)
    return Incoming(parts=_parts(source, index, known=known), tokens=0)


def _columns(shard: _Shard) -> dict[str, str]:
    return dict(zip(shard.column_names, shard.column_encodings, strict=True))


def _check(source: Path, shard: _Shard) -> None:
    path = source / INDEX
    if not len(shard.column_names) == len(shard.column_encodings) == len(shard.column_sizes):
        raise CorruptData(f"{path} has columns of {shard.raw_data.basename} without an encoding or a size")
    if shard.format != "mds" or shard.compression:
        raise UsageError(
            f"{path} is of {shard.compression or shard.format} files, only plain MDS is read",
            hint="write it again without compression",
        )
    if not set(IDS) & set(shard.column_names):
        raise UsageError(f"{path} has the columns {', '.join(shard.column_names)}, none is {' or '.join(IDS)}")
    for name, encoding in _columns(shard).items():
        if name in IDS and encoding.split(":")[0] not in ("ndarray", "bytes"):
            raise UsageError(f"{path} has its {name} as {encoding}, ids are read as ndarray or bytes")


def _parts(source: Path, index: _Index, *, known: bool) -> Iterator[Part]:
    for shard in index.shards:
        data, offsets = read_chunk(source, shard.raw_data.basename, items=shard.samples)
        sample = _Sample(source / shard.raw_data.basename, shard)
        for first in range(0, shard.samples, SAMPLES_AT_ONCE):
            rows = range(first, min(first + SAMPLES_AT_ONCE, shard.samples))
            found = [sample.columns(row, data[offsets[row] : offsets[row + 1]]) for row in rows]
            ids = [sample.ids(row, values) for row, values in zip(rows, found, strict=True)]
            origins = None
            if known:
                origins = Origins(
                    *(
                        [sample.value(row, values, name) for row, values in zip(rows, found, strict=True)]
                        for name in NAMES
                    )
                )
            yield Part(np.concatenate(ids), np.cumsum([len(one) for one in ids], dtype=np.int64), origins)


class _Sample(NamedTuple):
    """How a sample of one file is taken apart; everything is checked against the bytes that it has."""

    path: Path
    shard: _Shard

    def columns(self, row: int, data: memoryview) -> dict[str, memoryview]:
        dynamic = sum(not size for size in self.shard.column_sizes)
        if len(data) < 4 * dynamic:
            raise self._damaged(row, f"{len(data)} bytes")
        given = iter(np.frombuffer(data, "<u4", dynamic).tolist())
        sizes = [size or next(given) for size in self.shard.column_sizes]
        ends = np.cumsum([4 * dynamic, *sizes], dtype=np.int64).tolist()
        if min(sizes) < 0 or ends[-1] != len(data):
            raise self._damaged(row, f"columns up to byte {ends[-1]:,} of {len(data):,}")
        places = zip(self.shard.column_names, ends[:-1], ends[1:], strict=True)
        return {name: data[start:stop] for name, start, stop in places}

    def ids(self, row: int, values: dict[str, memoryview]) -> np.ndarray:
        name = next(name for name in IDS if name in values)
        encoding, *given = _columns(self.shard)[name].split(":")
        data = values[name]
        kind = given[0] if given and given[0] else None
        try:
            if encoding == "bytes":
                return np.frombuffer(data, "<i8")
            if kind is None:
                kind, data = np.dtype(_TYPE_OF_BYTE[data[0]]).name, data[1:]
            if len(given) < 2:
                dimensions, shape_type = data[0] >> 2, np.dtype(_SHAPE_TYPES[data[0] & 3])
                if dimensions != 1:
                    raise ValueError(f"{dimensions} dimensions")
                data = data[1 + shape_type.itemsize :]
            return np.frombuffer(data, _INTEGERS[kind])
        except (KeyError, IndexError, ValueError) as error:
            raise self._damaged(row, f"{name} of {_columns(self.shard)[name]}, {error}") from error

    def value(self, row: int, values: dict[str, memoryview], name: str) -> Any:
        try:
            if _OURS[name] == "int":
                return int(np.frombuffer(values[name], "<i8", 1)[0])
            return bytes(values[name]).decode()
        except ValueError as error:
            raise self._damaged(row, f"{name}, {error}") from error

    def _damaged(self, row: int, found: str) -> CorruptData:
        return CorruptData(f"{self.path}: sample {row:,} has {found}: it is damaged or of another kind")


def write(dataset: TokenDataset, output: Path, writing: Writing, advance: Callable[[int], None]) -> Written:
    """The folder, a sample per sequence, copies written out; empty sequences are left out, MDS holds none."""
    encodings = {"tokens": f"ndarray:{dataset.dtype.name}"} | (_OURS if dataset.has_provenance else {})
    with atomic_path(output, needs_bytes=dataset.total_tokens * dataset.dtype.itemsize) as folder:
        folder.mkdir()
        writer = _Writer(folder, encodings)
        for block in blocks(dataset):
            columns = origins_of(dataset.provenance, block.rows) if dataset.has_provenance else None
            rows = zip(*columns, strict=True) if columns else ((),) * len(block.rows)
            for ids, row in zip(block.sequences(), rows, strict=True):
                writer.add({"tokens": ids, **dict(zip(NAMES, row, strict=bool(row)))})
            advance(len(block.ids))
        writer.close()
    empty = int(np.count_nonzero(dataset.sizes == 0))
    return Written(files=[output], said=[f"{empty:,} empty sequences are left out"] if empty else [])


class _Writer:
    """Samples into files of at most CHUNK_BYTES, and their index."""

    def __init__(self, folder: Path, encodings: dict[str, str]) -> None:
        self._folder = folder
        self._encodings = dict(sorted(encodings.items()))
        self._config = {
            "column_encodings": list(self._encodings.values()),
            "column_names": list(self._encodings),
            "column_sizes": [8 if encoding == "int" else None for encoding in self._encodings.values()],
            "compression": None,
            "format": "mds",
            "hashes": [],
            "size_limit": CHUNK_BYTES,
            "version": 2,
        }
        self._head = json.dumps(self._config, sort_keys=True).encode()
        self._shards: list[dict[str, Any]] = []
        self._samples: list[bytes] = []
        self._bytes = 8 + len(self._head)

    def add(self, values: dict[str, Any]) -> None:
        if not len(values["tokens"]):
            return
        encoded = [_encode(encoding, values[name]) for name, encoding in self._encodings.items()]
        sizes = [len(one) for one, encoding in zip(encoded, self._encodings.values(), strict=True) if encoding != "int"]
        sample = np.array(sizes, "<u4").tobytes() + b"".join(encoded)
        if self._samples and self._bytes + len(sample) + 4 > CHUNK_BYTES:
            self._flush()
        self._samples.append(sample)
        self._bytes += len(sample) + 4

    def _flush(self) -> None:
        name = f"shard.{len(self._shards):05}.mds"
        size = write_chunk(self._folder / name, self._samples, head=self._head)
        raw = {"basename": name, "bytes": size, "hashes": {}}
        self._shards.append({**self._config, "raw_data": raw, "samples": len(self._samples), "zip_data": None})
        self._samples, self._bytes = [], 8 + len(self._head)

    def close(self) -> None:
        if self._samples:
            self._flush()
        index = {"shards": self._shards, "version": 2}
        write_bytes(self._folder / INDEX, json.dumps(index, sort_keys=True).encode())


def _encode(encoding: str, value: Any) -> bytes:
    if encoding == "int":
        return np.int64(value).tobytes()
    if encoding == "str":
        return value.encode()
    width = next(place for place, kind in enumerate(_SHAPE_TYPES) if len(value) <= np.iinfo(kind).max)
    return bytes([1 << 2 | width]) + np.array([len(value)], _SHAPE_TYPES[width]).tobytes() + value.tobytes()
