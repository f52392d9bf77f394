"""Texts in, parts of a `.bin` out, and where documents begin in it: each stored once and ended, in the order given."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import atomic_path
from shards.format import LARGEST_SIZE, token_dtype
from shards.joining import begin_write_back

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from shards.encoder import Encoder

# Large enough that a call's fixed cost disappears, small enough that a batch of ids stays in the megabytes.
BATCH_CHARACTERS = 4 << 20
BATCH_DOCUMENTS = 4096
WRITE_BUFFER_BYTES = 1 << 20
WRITE_BACK_BYTES = 8 << 20
SIZES_SUFFIX = ".sizes.npy"
SIZES_AT_ONCE = 1 << 20


@contextlib.contextmanager
def open_part(path: Path, encoder: Encoder) -> Iterator[PartWriter]:
    """A part of a `.bin`, which appears when the block ends without an error.

    Raises UsageError where the encoder's ids do not fit the format.
    """
    _check_encoder(encoder)
    with atomic_path(path) as temporary, temporary.open("wb", buffering=WRITE_BUFFER_BYTES) as file:
        part = PartWriter(file, encoder)
        yield part
        part.flush()


class SizesWriter:
    """Ids of documents as `.npy`, int32, some at a time: how many there will be is not known before."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.documents = 0
        self._write_header()

    def add(self, sizes: NDArray[np.int32]) -> None:
        """Sizes of further documents."""
        self._file.write(np.ascontiguousarray(sizes, "<i4").tobytes())
        self.documents += len(sizes)

    def finish(self) -> None:
        """Writes the number of documents into the header, which leaves room for it."""
        self._file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        header = {"descr": "<i4", "fortran_order": False, "shape": (self.documents,)}
        np.lib.format.write_array_header_1_0(self._file, header)


def read_sizes(path: Path) -> Iterator[NDArray[np.int32]]:
    """What a SizesWriter wrote, in blocks: of tens of millions of documents all would be hundreds of megabytes."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        _, _, dtype = np.lib.format.read_array_header_1_0(file)
        while len(block := np.fromfile(file, dtype, SIZES_AT_ONCE)):
            yield block


class SplitPart:
    """The documents of one split in a file: `texts` takes them, sizes follow as they are put down."""

    def __init__(self, texts: PartWriter, sizes: SizesWriter) -> None:
        self.texts = texts
        self._sizes = sizes

    @property
    def documents(self) -> int:
        """How many have been put down."""
        return self._sizes.documents

    def put_sizes_down(self) -> None:
        """Writes the sizes of all documents so far, and no longer holds them."""
        self.texts.flush()
        self._sizes.add(self.texts.take_sizes())


@contextlib.contextmanager
def open_split_part(prefix: Path, encoder: Encoder) -> Iterator[SplitPart]:
    """`<prefix>.bin` and `<prefix>.sizes.npy`, which appear when the block ends without an error. As `open_part`."""
    with (
        atomic_path(prefix.with_name(prefix.name + SIZES_SUFFIX)) as temporary,
        temporary.open("wb") as file,
        open_part(prefix.with_name(f"{prefix.name}.bin"), encoder) as texts,
    ):
        sizes = SizesWriter(file)
        part = SplitPart(texts, sizes)
        yield part
        part.put_sizes_down()
        sizes.finish()


class PartWriter:
    """Takes texts in the order of the part; each is encoded once and ended by the encoder's end-of-text."""

    def __init__(self, file: BinaryIO, encoder: Encoder) -> None:
        self._file = file
        self._encoder = encoder
        self._end = np.array([encoder.end_of_text], token_dtype(encoder.vocab_size)).tobytes()
        self._texts: list[str] = []
        self._characters = 0
        self._documents = 0
        self._written_bytes = self._begun_bytes = 0
        self._sizes = [np.empty(0, np.int32)]

    @property
    def sizes(self) -> NDArray[np.int32]:
        """Ids of each document written so far and not taken, its end included: int32 [documents]."""
        return np.concatenate(self._sizes)

    def take_sizes(self) -> NDArray[np.int32]:
        """`sizes` since they were last taken, and no longer held."""
        taken, self._sizes = self.sizes, [np.empty(0, np.int32)]
        return taken

    def add(self, text: str) -> None:
        """One document more. Raises UsageError where one of the texts has more than 2^31 - 1 ids with its end."""
        self._texts.append(text)
        self._characters += len(text)
        if self._characters >= BATCH_CHARACTERS or len(self._texts) == BATCH_DOCUMENTS:
            self.flush()

    def flush(self) -> None:
        """Encodes and writes the texts that wait for a batch to fill."""
        if not self._texts:
            return
        ids, offsets = self._encoder.encode_batch(self._texts)
        sizes = np.diff(offsets) + 1
        _check_sizes(sizes, first=self._documents)
        self._documents += len(self._texts)
        self._texts, self._characters = [], 0
        self._sizes.append(sizes.astype(np.int32))
        # Slices of the ids and the end in turn, put together in the file's buffer: no second array of all of them.
        data = ids.view(np.uint8).data
        bounds = (offsets * ids.itemsize).tolist()
        for start, stop in itertools.pairwise(bounds):
            self._file.write(data[start:stop])
            self._file.write(self._end)
        self._written_bytes += int(sizes.sum()) * ids.itemsize
        self._begin_write_back()

    def _begin_write_back(self) -> None:
        # Else nothing goes to the disk before the end, and the next part waits for all of it.
        if self._written_bytes - self._begun_bytes >= WRITE_BACK_BYTES:
            self._file.flush()
            begin_write_back(self._file.fileno(), self._begun_bytes, self._written_bytes)
            self._begun_bytes = self._written_bytes


def _check_encoder(encoder: Encoder) -> None:
    dtype = token_dtype(encoder.vocab_size)
    if encoder.dtype != dtype:
        raise UsageError(
            f"the encoder gives {encoder.dtype} ids, {encoder.vocab_size:,} of them are stored as {dtype} "
            "(uint16 under 65,500, else int32)"
        )
    if not 0 <= encoder.end_of_text < encoder.vocab_size:
        raise UsageError(f"end-of-text is id {encoder.end_of_text}, the vocabulary ends at {encoder.vocab_size - 1:,}")


def _check_sizes(sizes: NDArray[np.int64], *, first: int) -> None:
    if len(sizes) and sizes.max() > LARGEST_SIZE:
        number = int(np.argmax(sizes))
        raise UsageError(
            f"document {first + number} of this part has {int(sizes[number]):,} tokens with its end-of-text, "
            f"a sequence holds at most {LARGEST_SIZE:,}",
            hint="cut it into several documents before the shards are written",
        )


def stored_pointers(sizes: ArrayLike, *, dtype: DTypeLike) -> NDArray[np.int64]:
    """Where documents of so many ids begin that lie one after the other, in bytes: int64 [documents]."""
    stored = np.asarray(sizes, dtype=np.int32)
    starts = np.zeros(len(stored), dtype=np.int64)
    np.cumsum(stored[:-1], dtype=np.int64, out=starts[1:])
    starts *= np.dtype(dtype).itemsize
    return starts
