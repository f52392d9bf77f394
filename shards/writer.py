"""Texts in, parts of a `.bin` out, then one `.bin` and the arrays of its `.idx`: stored once, read as often as asked.

Which documents, in which order and how often is the caller's plan; the pieces here only keep its order.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import atomic_path
from shards.format import LARGEST_SIZE, token_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from io import FileIO
    from pathlib import Path

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from shards.encoder import Encoder

# Large enough that a call's fixed cost disappears, small enough that a batch of ids stays in the tens of megabytes.
BATCH_CHARACTERS = 4 << 20
BATCH_DOCUMENTS = 4096
COPY_BLOCK_BYTES = 1 << 30
READ_BLOCK_BYTES = 1 << 20
# The kernel or the file system cannot copy between these two files: then we do.
_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def write_part(path: Path, texts: Iterable[str], encoder: Encoder, end_of_text: int) -> NDArray[np.int32]:
    """Encodes each text once, in the order given, and writes its ids and `end_of_text` as raw tokens, atomically.

    Returns the ids per document, `end_of_text` included: int32 [documents]. Raises UsageError where the encoder's ids
    do not fit the format or a document has more than 2^31 - 1 of them.
    """
    dtype = token_dtype(encoder.vocab_size)
    _check_encoder(encoder, end_of_text, dtype)
    sizes = [np.empty(0, np.int32)]
    documents = 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for batch in _batches(texts):
            ids, offsets = encoder.encode_batch(batch)
            batch_sizes = np.diff(offsets) + 1
            _check_sizes(batch_sizes, first=documents)
            sizes.append(batch_sizes.astype(np.int32))
            documents += len(batch)
            file.write(np.insert(ids, offsets[1:], end_of_text).data)
    return np.concatenate(sizes)


def _check_encoder(encoder: Encoder, end_of_text: int, dtype: np.dtype) -> None:
    if encoder.dtype != dtype:
        raise UsageError(
            f"the encoder gives {encoder.dtype} ids, {encoder.vocab_size:,} of them are stored as {dtype} "
            "(uint16 under 65,500, else int32)"
        )
    if not 0 <= end_of_text < encoder.vocab_size:
        raise UsageError(f"end-of-text is id {end_of_text}, the vocabulary ends at {encoder.vocab_size - 1:,}")


def _check_sizes(sizes: NDArray[np.int64], *, first: int) -> None:
    if len(sizes) and sizes.max() > LARGEST_SIZE:
        number = int(np.argmax(sizes))
        raise UsageError(
            f"document {first + number} of this part has {int(sizes[number]):,} tokens with its end-of-text, "
            f"a sequence holds at most {LARGEST_SIZE:,}",
            hint="cut it into several documents before the shards are written",
        )


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= BATCH_CHARACTERS or len(batch) == BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def join_parts(parts: Sequence[Path], target: Path) -> int:
    """Writes the parts one after another as `target`, atomically, and returns its bytes; the parts stay.

    The system copies, sharing blocks where the file system can; where it refuses, bytes pass through here.
    """
    with atomic_path(target) as temporary, temporary.open("wb", buffering=0) as joined:
        for part in parts:
            with part.open("rb", buffering=0) as source:
                _append(source, joined)
        return joined.tell()


def _append(source: FileIO, joined: FileIO) -> None:
    try:
        while os.copy_file_range(source.fileno(), joined.fileno(), COPY_BLOCK_BYTES):
            pass
    except OSError as error:
        if error.errno not in _NO_KERNEL_COPY:
            raise
    # Both files stand where the system stopped: at the end, or where it refused.
    while block := source.read(READ_BLOCK_BYTES):
        rest = memoryview(block)
        while rest:
            rest = rest[joined.write(rest) :]


def assemble_index(
    sizes: ArrayLike, entries: ArrayLike, *, dtype: DTypeLike
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """(sizes, pointers) of the `.idx` whose entry k reads the stored document `entries[k]`; pointers are bytes.

    `sizes` are ids per stored document in the order of the `.bin`, `entries` rows of it in the final order of
    sequences, repeated for copies. Raises UsageError where an entry names no stored document.
    """
    stored = np.asarray(sizes, dtype=np.int32)
    rows = np.asarray(entries)
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(stored):
        raise UsageError(
            f"index entries name stored documents {int(rows.min()):,} to {int(rows.max()):,}, there are {len(stored):,}"
        )
    rows = rows.astype(np.intp, copy=False)
    starts = np.zeros(len(stored), dtype=np.int64)
    np.cumsum(stored[:-1], dtype=np.int64, out=starts[1:])
    starts *= np.dtype(dtype).itemsize
    return stored[rows], starts[rows]
