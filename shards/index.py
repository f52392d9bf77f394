"""A data set in, samples of L + 1 ids out, in gpt-neox's order: equal sizes, length, samples and seed, equal arrays.

Source of the order: gpt-neox, megatron/data/gpt2_dataset.py ("packed"). One RandomState first shuffles the documents of
all epochs together; the samples then cut their concatenation every L tokens, overlapping by one; the same RandomState
shuffles the samples. The order therefore depends on the number of epochs, hence on how many samples were asked for.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xxhash

from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from shards.dataset import TokenDataset

DEFAULT_SEED = 1234
ORDERS = ("neox",)

_INT32_MAX = 2**31 - 1
_UINT32_MAX = 2**32 - 1
_GATHER_BLOCK = 4096


class IndexArrays(NamedTuple):
    """gpt-neox's three arrays, read-only.

    doc_idx [E * documents] sequence numbers; sample_idx [n + 1, 2] position in doc_idx and offset of each sample's
    first token; shuffle_idx [n] rows of sample_idx in the order of training.
    """

    doc_idx: NDArray
    sample_idx: NDArray
    shuffle_idx: NDArray


class Piece(NamedTuple):
    """The ids `start` to `stop` of one sequence, as part of a sample."""

    sequence: int
    start: int
    stop: int


class Origin(NamedTuple):
    """Where a piece of a sample comes from: slug, `<slug>/<file>:<line>`, and the piece's ids within that document."""

    component: str
    document: str
    tokens: tuple[int, int]


class SampleIndex:
    """`len(index)` samples of `sequence_length` + 1 ids; sample i is the i-th that training reads."""

    def __init__(
        self, dataset: TokenDataset, *, sequence_length: int, samples: int, seed: int, order: str, arrays: IndexArrays
    ) -> None:
        """As `build` makes it; `samples` is the number asked for, `len` the number there is."""
        self.dataset = dataset
        self.sequence_length = sequence_length
        self.samples = samples
        self.seed = seed
        self.order = order
        self.arrays = arrays

    @classmethod
    def build(
        cls,
        ds: TokenDataset,
        *,
        sequence_length: int,
        samples: int,
        seed: int = DEFAULT_SEED,
        order: str = "neox",
    ) -> SampleIndex:
        """An index of at least `samples` samples: all that the smallest sufficient number of epochs gives.

        Raises UsageError for an unknown order, for numbers out of range, and where the data set has fewer tokens than
        one sample reads.
        """
        if order not in ORDERS:
            raise UsageError(f"there is no sample order {order!r}", hint=f"known orders: {', '.join(ORDERS)}")
        _check_request(sequence_length=sequence_length, samples=samples, seed=seed)
        if ds.total_tokens <= sequence_length:
            # gpt-neox would repeat the same few documents inside every sample.
            raise UsageError(
                f"{ds.prefix} holds {ds.total_tokens:,} tokens, one sample of sequence length {sequence_length:,} "
                f"needs {sequence_length + 1:,}",
                hint="a shorter sequence length, or a larger share of documents for this split",
            )
        arrays = neox_arrays(ds.sizes, sequence_length=sequence_length, samples=samples, seed=seed)
        return cls(ds, sequence_length=sequence_length, samples=samples, seed=seed, order=order, arrays=arrays)

    def __len__(self) -> int:
        return len(self.arrays.shuffle_idx)

    @functools.cached_property
    def hash(self) -> str:
        """XXH3-128 of all that the samples depend on: sizes, document order, length, samples asked for, seed, order."""
        parts = (self.dataset.hash, self.sequence_length, self.samples, self.seed, self.order)
        return xxhash.xxh3_128_hexdigest(" ".join(map(str, parts)).encode())

    def pieces(self, number: int) -> list[Piece]:
        """The pieces of sample `number` in order, none empty; their lengths add up to `sequence_length` + 1.

        Raises IndexError past the last sample; a negative number counts from the end.
        """
        return list(self._pieces(self._sample_row(number)))

    def _sample_row(self, number: int) -> int:
        place = operator.index(number)
        if place < 0:
            place += len(self)
        if not 0 <= place < len(self):
            raise IndexError(f"sample {number} of an index of {len(self):,}")
        return int(self.arrays.shuffle_idx[place])

    def _pieces(self, row: int) -> Iterator[Piece]:
        position, start = map(int, self.arrays.sample_idx[row])
        last = int(self.arrays.sample_idx[row + 1, 0])
        missing = self.sequence_length + 1
        for sequence in map(int, self.arrays.doc_idx[position : last + 1]):
            stop = min(int(self.dataset.sizes[sequence]), start + missing)
            if stop > start:
                yield Piece(sequence, start, stop)
            missing -= stop - start
            start = 0

    def tokens(self, number: int) -> NDArray:
        """The `sequence_length` + 1 ids of a sample, in the data set's type: inputs are [:-1], targets [1:].

        A sample inside one document is a read-only view of the file, any other an array of its own.
        """
        parts = [self.dataset.get(sequence, start, stop - start) for sequence, start, stop in self.pieces(number)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def provenance(self, number: int) -> list[Origin]:
        """(component, document id, token range) of each piece of a sample, in order.

        Raises UsageError where the shards came without `.docs.arrow`.
        """
        rows = self.dataset.provenance
        origins = []
        for sequence, start, stop in self.pieces(number):
            source = rows.source(sequence)
            origins.append(Origin(source.component, source.document, (start, stop)))
        return origins


def _check_request(*, sequence_length: int, samples: int, seed: int) -> None:
    if sequence_length < 1:
        raise UsageError(f"the sequence length is {sequence_length}, it must be at least 1", hint="2048 is usual")
    if samples < 1:
        raise UsageError(f"{samples} samples were asked for, at least one is needed")
    if not 0 <= seed <= _UINT32_MAX:
        raise UsageError(f"the seed is {seed:,}, numpy's RandomState takes 0 to {_UINT32_MAX:,}", hint="--seed 1234")


def neox_arrays(sizes: NDArray[np.int32], *, sequence_length: int, samples: int, seed: int) -> IndexArrays:
    """The three arrays for sequences of these sizes (int32 ids each), whatever data they stand for.

    Raises UsageError where the sizes add up to nothing.
    """
    # numba takes 0.6 s to import, which only those who build an index should pay.
    from shards.kernels import fill_sample_idx

    tokens = int(sizes.sum(dtype=np.int64))
    if tokens == 0:
        raise UsageError(f"{len(sizes):,} sequences hold 0 tokens, one sample needs {sequence_length + 1:,}")
    epochs = epochs_needed(tokens=tokens, sequence_length=sequence_length, samples=samples)
    random = np.random.RandomState(seed)
    doc_idx = np.tile(np.arange(len(sizes), dtype=document_dtype(len(sizes))), epochs)
    random.shuffle(doc_idx)
    available = (epochs * tokens - 1) // sequence_length
    kind = sample_dtype(tokens=epochs * tokens, sequence_length=sequence_length, entries=len(doc_idx))
    sample_idx = np.empty((available + 1, 2), dtype=kind)
    fill_sample_idx(sizes, doc_idx, sequence_length, np.empty(_GATHER_BLOCK, sizes.dtype), sample_idx)
    shuffle_idx = np.arange(available, dtype=shuffle_dtype(available))
    random.shuffle(shuffle_idx)
    for array in (doc_idx, sample_idx, shuffle_idx):
        array.flags.writeable = False
    return IndexArrays(doc_idx, sample_idx, shuffle_idx)


def epochs_needed(*, tokens: int, sequence_length: int, samples: int) -> int:
    """The smallest E from 1 with (E * tokens - 1) // sequence_length >= samples."""
    return max(1, -(-(samples * sequence_length + 1) // tokens))


def document_dtype(sequences: int) -> np.dtype:
    """int32 as in gpt-neox; int64 where a sequence number would not fit, which it would wrap."""
    return np.dtype(np.int32 if sequences <= _INT32_MAX else np.int64)


def sample_dtype(*, tokens: int, sequence_length: int, entries: int) -> np.dtype:
    """int32 as in gpt-neox while 2 (x + 1) < 2^31 - 1 for the unrounded x = (tokens - 1) / sequence_length, else int64.

    `tokens` are those of all epochs. Also int64 where a position among the `entries` of doc_idx would not fit: there
    gpt-neox's own positions wrap.
    """
    fits = 2 * (tokens - 1 + sequence_length) < _INT32_MAX * sequence_length and entries <= _INT32_MAX
    return np.dtype(np.int32 if fits else np.int64)


def shuffle_dtype(samples: int) -> np.dtype:
    """uint32 under 2^32 - 2 samples, as in gpt-neox, else int64."""
    return np.dtype(np.uint32 if samples < _UINT32_MAX - 1 else np.int64)
