"""The `.idx` file of an MMapIndexedDataset: arrays in, the bytes of gpt-neox and Megatron-LM out, and back.

Layout, little-endian: magic, `<Q` version, `<B` dtype code, `<Q` sequences n, `<Q` length of doc_idx, int32 sizes[n],
int64 byte pointers[n], int64 doc_idx. Reading copies nothing, and nothing that `read_index` returns leads outside the
`.bin` beside it, whoever wrote the file. Two sequences may share a pointer: one stored document, read twice.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from numpy.typing import ArrayLike, DTypeLike, NDArray

MAGIC = b"MMIDIDX\0\0"
VERSION = 1
# 6 and 7 are missing on purpose: gpt-neox and Megatron-LM give them to float32 and float64 in opposite order.
DTYPE_OF_CODE = {
    code: np.dtype(name) for code, name in {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}.items()
}
CODE_OF_DTYPE = {dtype: code for code, dtype in DTYPE_OF_CODE.items()}
# gpt-neox's limit for two bytes an id, a little under 65,536.
UINT16_VOCAB_LIMIT = 65_500
LARGEST_SIZE = 2**31 - 1

_HEADER = struct.Struct("<9sQBQQ")
_CHECK_ROWS = 1 << 20


@dataclass(frozen=True)
class ShardIndex:
    """Sequence i is `sizes[i]` ids of `dtype` at byte `pointers[i]`; document d starts at sequence `doc_idx[d]`.

    The arrays are read-only views of the mapped file and keep it mapped: int32 sizes, int64 pointers, int64 doc_idx.
    """

    dtype: np.dtype
    sizes: NDArray[np.int32]
    pointers: NDArray[np.int64]
    doc_idx: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sizes)


def token_dtype(vocab_size: int) -> np.dtype:
    """How ids of this vocabulary are stored: uint16 under 65,500 entries, else int32 (the format has no uint32)."""
    return np.dtype("<u2") if vocab_size < UINT16_VOCAB_LIMIT else np.dtype("<i4")


def index_path(prefix: str | Path) -> Path:
    """`<prefix>.idx`; dots in the prefix are part of the name."""
    return Path(f"{prefix}.idx")


def data_path(prefix: str | Path) -> Path:
    """`<prefix>.bin`."""
    return Path(f"{prefix}.bin")


def write_index(path: Path, *, dtype: DTypeLike, sizes: ArrayLike, pointers: ArrayLike, doc_idx: ArrayLike) -> None:
    """Writes an `.idx`, atomically. `sizes` are ids a sequence, `pointers` bytes, `doc_idx` runs from 0 to n.

    Raises UsageError where the format cannot hold the values.
    """
    code = _code_of(path, dtype)
    size_row, pointer_row, document_row = (np.asarray(values) for values in (sizes, pointers, doc_idx))
    if len(size_row) != len(pointer_row):
        raise UsageError(f"{path} was given {len(size_row):,} sizes and {len(pointer_row):,} pointers")
    if len(size_row) and not 0 <= int(size_row.min()) <= int(size_row.max()) <= LARGEST_SIZE:
        raise UsageError(
            f"{path}: sizes run from {int(size_row.min()):,} to {int(size_row.max()):,}, "
            f"the format holds 0 to {LARGEST_SIZE:,}",
            hint="split the longest document",
        )
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_HEADER.pack(MAGIC, VERSION, code, len(size_row), len(document_row)))
        for values, kind in ((size_row, "<i4"), (pointer_row, "<i8"), (document_row, "<i8")):
            file.write(np.ascontiguousarray(values, dtype=kind).data)


def _code_of(path: Path, dtype: DTypeLike) -> int:
    code = CODE_OF_DTYPE.get(np.dtype(dtype))
    if code is None:
        known = ", ".join(str(known) for known in CODE_OF_DTYPE)
        raise UsageError(f"{path} cannot hold ids of type {np.dtype(dtype)}", hint=f"the format has {known}")
    return code


@contextlib.contextmanager
def open_index(path: Path, *, dtype: DTypeLike, sequences: int) -> Iterator[IndexWriter]:
    """An `.idx` of so many sequences, each a document, which appears when the block ends without an error.

    Its bytes are those of `write_index`; in memory is what is added at once. Raises UsageError where the block adds
    more or fewer sequences, or of ids that the format does not have.
    """
    code = _code_of(path, dtype)
    size = _HEADER.size + 12 * sequences + 8 * (sequences + 1)
    with atomic_path(path, needs_bytes=size) as temporary, temporary.open("wb") as file:
        file.write(_HEADER.pack(MAGIC, VERSION, code, sequences, sequences + 1))
        writer = IndexWriter(file, sequences)
        yield writer
        if writer.written != sequences:
            raise UsageError(f"{path} was given {writer.written:,} sequences of {sequences:,}")
        file.seek(_HEADER.size + 12 * sequences)
        for first in range(0, sequences + 1, _CHECK_ROWS):
            file.write(np.arange(first, min(first + _CHECK_ROWS, sequences + 1), dtype="<i8").data)


class IndexWriter:
    """Takes the sequences of an `.idx` in their order, some at a time; `written` were taken."""

    def __init__(self, file: BinaryIO, sequences: int) -> None:
        self.written = 0
        self._file, self._sequences = file, sequences

    def add(self, sizes: NDArray[np.int32], pointers: NDArray[np.int64]) -> None:
        """The ids and the place in bytes of some more sequences."""
        at, self.written = self.written, self.written + len(sizes)
        if len(sizes) != len(pointers) or self.written > self._sequences:
            raise UsageError(
                f"{self._file.name} was given {len(sizes):,} sizes and {len(pointers):,} pointers after {at:,} "
                f"sequences of {self._sequences:,}"
            )
        self._file.seek(_HEADER.size + 4 * at)
        self._file.write(np.ascontiguousarray(sizes, dtype="<i4").data)
        self._file.seek(_HEADER.size + 4 * self._sequences + 8 * at)
        self._file.write(np.ascontiguousarray(pointers, dtype="<i8").data)


def read_index(path: Path) -> ShardIndex:
    """The arrays of an `.idx`, mapped and checked against its own size and that of the `.bin` beside it.

    Raises CorruptData with file, byte offset and numbers where the file is not what it claims to be, UsageError where
    one of the two is absent.
    """
    data_bytes = file_bytes(path.with_suffix(".bin"))
    with open_existing(path) as file:
        total_bytes = file.seek(0, 2)
        file.seek(0)
        dtype, sequences, documents = _read_header(path, file.read(_HEADER.size), total_bytes)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    sizes_at = _HEADER.size
    pointers_at = sizes_at + 4 * sequences
    documents_at = pointers_at + 8 * sequences
    index = ShardIndex(
        dtype=dtype,
        sizes=np.frombuffer(mapped, "<i4", sequences, sizes_at),
        pointers=np.frombuffer(mapped, "<i8", sequences, pointers_at),
        doc_idx=np.frombuffer(mapped, "<i8", documents, documents_at),
    )
    if data_bytes % dtype.itemsize:
        raise CorruptData(
            f"{path.with_suffix('.bin')} has {data_bytes:,} bytes, no multiple of the {dtype.itemsize} an id takes",
            hint="it was cut short: restore it, or write the shards again",
        )
    for first in range(0, sequences, _CHECK_ROWS):
        _check_sequences(path, index, first, data_bytes, pointers_at)
    _check_documents(path, index, documents_at)
    return index


def file_bytes(path: Path) -> int:
    """The size of one file of a pair. Raises UsageError where it is absent."""
    with open_existing(path) as file:
        return file.seek(0, 2)


def open_existing(path: Path):
    """A file opened for reading. Raises UsageError, with what a prefix is, where there is none."""
    try:
        return path.open("rb")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise UsageError(
            f"there is no file {path}", hint="name shards by their prefix: shards/train for shards/train.bin and .idx"
        ) from error


def _read_header(path: Path, header: bytes, total_bytes: int) -> tuple[np.dtype, int, int]:
    if not header.startswith(MAGIC):
        raise CorruptData(f"{path} does not start with {MAGIC!r} but with {header[:9]!r}: it is no token index")
    if len(header) < _HEADER.size:
        raise CorruptData(f"{path} ends at byte {total_bytes}, its header alone has {_HEADER.size}")
    _, version, code, sequences, documents = _HEADER.unpack(header)
    if version != VERSION:
        raise CorruptData(f"{path} has version {version} at byte 9, only version {VERSION} exists")
    if code not in DTYPE_OF_CODE:
        reason = "which means two different float types to its two writers" if code in (6, 7) else "which nobody uses"
        raise CorruptData(f"{path} has dtype code {code} at byte 17, {reason}: only integer ids can be read")
    needed_bytes = _HEADER.size + 12 * sequences + 8 * documents
    # Megatron-LM appends one mode byte per sequence for multimodal data; they do not concern text.
    if total_bytes not in (needed_bytes, needed_bytes + sequences):
        raise CorruptData(
            f"{path} has {total_bytes:,} bytes, but {sequences:,} sequences and {documents:,} document bounds "
            f"(bytes 18 and 26) need {needed_bytes:,}",
            hint="it was cut short or changed: restore it, or write the shards again",
        )
    return DTYPE_OF_CODE[code], sequences, documents


def _check_sequences(path: Path, index: ShardIndex, first: int, data_bytes: int, pointers_at: int) -> None:
    sizes, pointers = index.sizes[first : first + _CHECK_ROWS], index.pointers[first : first + _CHECK_ROWS]
    itemsize = index.dtype.itemsize
    if sizes.min() < 0:
        row = int(np.argmax(sizes < 0))
        at = _HEADER.size + 4 * (first + row)
        raise CorruptData(f"{path} says at byte {at} that sequence {first + row} has {sizes[row]} ids")
    # A size takes 31 bits and an id 8 bytes at most, so neither side can overflow.
    outside = (pointers < 0) | (pointers > data_bytes - sizes.astype(np.int64) * itemsize)
    if itemsize > 1:
        outside |= pointers % itemsize != 0
    if outside.any():
        row = int(np.argmax(outside))
        raise CorruptData(
            f"{path} says at byte {pointers_at + 8 * (first + row)} that sequence {first + row} starts at byte "
            f"{pointers[row]:,} of the .bin; {sizes[row]:,} ids of {itemsize} bytes are not inside its {data_bytes:,}",
            hint="restore both files of the pair: one is cut short, or they do not belong together",
        )


def _check_documents(path: Path, index: ShardIndex, documents_at: int) -> None:
    for first in range(0, len(index.doc_idx), _CHECK_ROWS):
        # One before as well, so that the order holds across the pieces.
        start = max(first - 1, 0)
        bounds = index.doc_idx[start : first + _CHECK_ROWS]
        outside = (bounds < 0) | (bounds > len(index))
        if outside.any():
            row = int(np.argmax(outside))
            raise CorruptData(
                f"{path} says at byte {documents_at + 8 * (start + row)} that a document starts at sequence "
                f"{bounds[row]:,} of {len(index):,}"
            )
        backwards = bounds[1:] < bounds[:-1]
        if backwards.any():
            row = int(np.argmax(backwards)) + 1
            raise CorruptData(
                f"{path} says at byte {documents_at + 8 * (start + row)} that document {start + row:,} starts at "
                f"sequence {bounds[row]:,} and the one before it at {bounds[row - 1]:,}: they must rise"
            )
