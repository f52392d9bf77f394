"""A data set in, samples of L + 1 ids out, in one of three orders, each known from its parameters alone.

`neox` and `megatron` are those programs' own, array for array; `stateless` needs neither the number of epochs nor that
of samples. Every token in a sample is traced to its document.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xxhash

from pile_toolkit.core.errors import UsageError
from shards.index.arrays import INT32_MAX, UINT32_MAX, IndexArrays, epochs_needed, load_kernels
from shards.index.cache import cache_key, cached_arrays
from shards.index.megatron import megatron_arrays, samples_before_last
from shards.index.neox import neox_arrays
from shards.index.stateless import StatelessOrder, epoch_table
from shards.reading.reader import SampleReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from shards.dataset import TokenDataset

DEFAULT_SEED = 1234
ORDERS = ("neox", "megatron", "stateless")
_READ_BLOCK = 1 << 20


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


class ArrayOrder:
    """The samples of three arrays: as many as `shuffle_idx` has."""

    def __init__(self, arrays: IndexArrays, *, sizes: NDArray, sequence_length: int) -> None:
        """`arrays` as gpt-neox or Megatron-LM make them of the sizes and the length."""
        self.arrays = arrays
        self.sizes = sizes
        self.sequence_length = sequence_length
        self.limit = len(arrays.shuffle_idx)

    def sequence(self, position: int) -> int:
        """Which sequence stands at a position."""
        return int(self.arrays.doc_idx[position])

    def start(self, number: int) -> tuple[int, int]:
        """Position and offset of a sample's first token."""
        row = self.arrays.shuffle_idx.item(number)
        return self.arrays.sample_idx.item(row, 0), self.arrays.sample_idx.item(row, 1)

    def starts(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """[n, 2]: position and offset of each sample's first token. Numbers are inside `limit`."""
        return self.arrays.sample_idx[self.arrays.shuffle_idx[numbers]].astype(np.int64)

    def reads(self, first: int, stop: int) -> NDArray[np.int64]:
        """Ids of each sequence that samples `first` to `stop` - 1 read as inputs: their first L ids each."""
        from shards.index.kernels import add_reads

        reads = np.zeros(len(self.sizes), np.int64)
        rows = np.sort(self.arrays.shuffle_idx[first:stop])
        for start in range(0, len(rows), _READ_BLOCK):
            starts = self.arrays.sample_idx[rows[start : start + _READ_BLOCK]].astype(np.int64)
            add_reads(self.sizes, self.arrays.doc_idx, starts, self.sequence_length, reads)
        return reads

    def holding(self, sequences: NDArray, starts: NDArray, stops: NDArray, samples: int) -> Iterator[int]:
        """Numbers below `samples`, in order, among which are all that read one of these sequences."""
        positions = np.flatnonzero(np.isin(self.arrays.doc_idx, sequences))
        begins = self.arrays.sample_idx[:, 0]
        # Sample k reads the documents from its own start to that of the next, both included.
        firsts = np.searchsorted(begins[1:], positions, side="left")
        lasts = np.searchsorted(begins[:-1], positions, side="right")
        rows = {row for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True) for row in range(first, last)}
        shuffled = self.arrays.shuffle_idx[:samples]
        yield from np.flatnonzero(np.isin(shuffled, np.fromiter(rows, np.int64, len(rows)))).tolist()


def index_hash(dataset: TokenDataset, *, sequence_length: int, samples: int, seed: int, order: str) -> str:
    """`SampleIndex.hash` of the index that `build` would make of the same, without making it."""
    wanted = () if order == "stateless" else (samples,)
    parts = (dataset.hash, sequence_length, *wanted, seed, order)
    return xxhash.xxh3_128_hexdigest(" ".join(map(str, parts)).encode())


class SampleIndex:
    """`len(index)` samples of `sequence_length` + 1 ids; sample i is the i-th that training reads.

    In the order `stateless` that is the number asked for, and any further sample can be read all the same. Pickles as
    what was asked for, so that worker processes map the same file.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        *,
        sequence_length: int,
        samples: int,
        seed: int,
        order: str,
        cache_dir: str | Path | None = None,
    ) -> None:
        """As `build` makes it; `samples` is the number asked for, `len` the number there is."""
        self.dataset = dataset
        self.sequence_length = sequence_length
        self.samples = samples
        self.seed = seed
        self.order = order
        self._cache_dir = cache_dir
        load_kernels()
        arrays, self.cache_path = cached_arrays(
            self._cache_key(), self._build_arrays, expected_bytes=self._expected_bytes(), cache_dir=cache_dir
        )
        self.arrays: IndexArrays | None = None
        self._order: ArrayOrder | StatelessOrder
        if order == "stateless":
            self._order = StatelessOrder(
                arrays[0], sizes=dataset.sizes, sequence_length=sequence_length, key=self.hash, seed=seed
            )
        else:
            self.arrays = IndexArrays(*arrays)
            self._order = ArrayOrder(self.arrays, sizes=dataset.sizes, sequence_length=sequence_length)

    @classmethod
    def build(
        cls,
        ds: TokenDataset,
        *,
        sequence_length: int,
        samples: int,
        seed: int = DEFAULT_SEED,
        order: str = "neox",
        cache_dir: str | Path | None = None,
    ) -> SampleIndex:
        """An index of at least `samples` samples: all that the smallest sufficient number of epochs gives.

        Large arrays are kept in `cache_dir`, by default in the user's cache folder, and mapped from there. Raises
        UsageError for an unknown order, for numbers out of range, and where the data set has fewer tokens than one
        sample reads.
        """
        _check_request(sequence_length=sequence_length, samples=samples, seed=seed, order=order)
        if ds.total_tokens <= sequence_length:
            # gpt-neox would repeat the same few documents inside every sample.
            raise UsageError(
                f"{ds.prefix} holds {ds.total_tokens:,} tokens, one sample of sequence length {sequence_length:,} "
                f"needs {sequence_length + 1:,}",
                hint="a shorter sequence length, or a larger share of documents for this split",
            )
        return cls(ds, sequence_length=sequence_length, samples=samples, seed=seed, order=order, cache_dir=cache_dir)

    def __len__(self) -> int:
        return self.samples if self.order == "stateless" else self._order.limit

    def __reduce__(self) -> tuple:
        request = {"sequence_length": self.sequence_length, "samples": self.samples, "seed": self.seed}
        return _rebuilt, (self.dataset, request | {"order": self.order, "cache_dir": self._cache_dir})

    @functools.cached_property
    def hash(self) -> str:
        """XXH3-128 of all that the samples depend on: sizes, document order, length, seed, order, and, except in the
        order `stateless`, the samples asked for."""
        return index_hash(
            self.dataset,
            sequence_length=self.sequence_length,
            samples=self.samples,
            seed=self.seed,
            order=self.order,
        )

    @property
    def stored_arrays(self) -> dict[str, NDArray]:
        """What was built, by name: the three arrays, or the table of the order `stateless`."""
        return {"table": self._order.table} if isinstance(self._order, StatelessOrder) else self._order.arrays._asdict()

    @property
    def epochs(self) -> int:
        """Passes over all documents from which the samples asked for are taken."""
        return epochs_needed(
            tokens=self.dataset.total_tokens, sequence_length=self.sequence_length, samples=self.samples
        )

    def starts(self, numbers: ArrayLike) -> NDArray[np.int64]:
        """[n, 2]: where each sample's first token stands, position in the order and offset.

        Raises IndexError where a number is past the last sample, or negative.
        """
        numbers = np.asarray(numbers, np.int64)
        # As unsigned integers negative ones are the largest: one look at each number instead of two.
        if len(numbers) and int(numbers.view(np.uint64).max()) >= self._order.limit:
            raise IndexError(f"samples {numbers.min()} to {numbers.max()} of an index of {self._order.limit:,}")
        return self._order.starts(numbers)

    def reads(self, first: int, stop: int) -> NDArray[np.int64]:
        """Ids of each sequence [len(dataset)] that samples `first` to `stop` - 1 read as inputs.

        Those are the first L ids of each: the last one is the next sample's first. Raises IndexError past the end.
        """
        if not 0 <= first <= stop <= self._order.limit:
            raise IndexError(f"samples {first} to {stop} of an index of {self._order.limit:,}")
        return self._order.reads(first, stop)

    def pieces(self, number: int) -> list[Piece]:
        """The pieces of sample `number` in order, none empty; their lengths add up to `sequence_length` + 1.

        Raises IndexError past the last sample; a negative number counts from the end.
        """
        return list(self._pieces(*self._start(number)))

    def _start(self, number: int) -> tuple[int, int]:
        place = operator.index(number)
        if place < 0:
            place += len(self)
        if not 0 <= place < self._order.limit:
            raise IndexError(f"sample {number} of an index of {len(self):,}")
        return self._order.start(place)

    def _pieces(self, position: int, start: int) -> Iterator[Piece]:
        missing = self.sequence_length + 1
        while missing:
            sequence = self._order.sequence(position)
            stop = min(self.dataset.sizes.item(sequence), start + missing)
            if stop > start:
                yield Piece(sequence, start, stop)
            missing -= stop - start
            position, start = position + 1, 0

    def tokens(self, number: int) -> NDArray:
        """The `sequence_length` + 1 ids of a sample, in the data set's type: inputs are [:-1], targets [1:].

        A sample inside one document is a read-only view of the file, any other an array of its own.
        """
        return self._reader.sample(*self._start(number))

    def batch(self, numbers: ArrayLike, *, out: NDArray | None = None, dtype: DTypeLike | None = None) -> NDArray:
        """Several samples as one array [samples, sequence_length + 1], read without Python's lock.

        In the data set's type unless `dtype` is given; `out` is filled and returned where given. Raises as `starts`.
        """
        if self.arrays is not None:
            return self._reader.shuffled(np.asarray(numbers, np.int64), out=out, dtype=dtype)
        return self._reader.batch(self.starts(numbers), out=out, dtype=dtype)

    @functools.cached_property
    def _reader(self) -> SampleReader:
        if self.arrays is None:
            return SampleReader(self.dataset, sequence_length=self.sequence_length)
        doc_idx, sample_idx, shuffle_idx = self.arrays
        return SampleReader(
            self.dataset, sequence_length=self.sequence_length, doc_idx=doc_idx, arrays=(sample_idx, shuffle_idx)
        )

    def holding(
        self, sequences: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64], *, samples: int
    ) -> Iterator[int]:
        """Numbers below `samples`, rising: the samples that hold one of the ids `starts` to `stops` of some sequences.

        In the orders with arrays also samples that hold other ids of those sequences.
        """
        return self._order.holding(sequences, starts, stops, samples)

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

    def _cache_key(self) -> str:
        # Not `samples`: the arrays are those of whole epochs, and the same for every number that needs as many.
        shape: tuple = (self.epochs, self.seed)
        if self.order == "megatron":
            shape = (*shape, self._samples_before_last())
        elif self.order == "stateless":
            shape = ()
        return cache_key(self.order, self.dataset.hash, self.sequence_length, *shape)

    def _samples_before_last(self) -> int | None:
        return samples_before_last(
            tokens=self.dataset.total_tokens, sequence_length=self.sequence_length, samples=self.samples
        )

    def _build_arrays(self) -> tuple:
        sizes = self.dataset.sizes
        if self.order == "stateless":
            return (epoch_table(sizes, sequence_length=self.sequence_length),)
        make = megatron_arrays if self.order == "megatron" else neox_arrays
        return make(sizes, sequence_length=self.sequence_length, samples=self.samples, seed=self.seed)

    def _expected_bytes(self) -> int:
        per_epoch = self.dataset.total_tokens // self.sequence_length
        if self.order == "stateless":
            return 8 * per_epoch
        return self.epochs * (4 * len(self.dataset) + 12 * per_epoch)


def _rebuilt(dataset: TokenDataset, request: dict) -> SampleIndex:
    return SampleIndex.build(dataset, **request)


def _check_request(*, sequence_length: int, samples: int, seed: int, order: str) -> None:
    if order not in ORDERS:
        raise UsageError(f"there is no sample order {order!r}", hint=f"known orders: {', '.join(ORDERS)}")
    if not 1 <= sequence_length <= INT32_MAX:
        raise UsageError(
            f"the sequence length is {sequence_length:,}, it must be 1 to {INT32_MAX:,}", hint="2048 is usual"
        )
    if samples < 1:
        raise UsageError(f"{samples} samples were asked for, at least one is needed")
    if not 0 <= seed <= UINT32_MAX:
        raise UsageError(f"the seed is {seed:,}, numpy's RandomState takes 0 to {UINT32_MAX:,}", hint="--seed 1234")
