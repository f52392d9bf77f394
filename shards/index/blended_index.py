"""Several data sets and their weights in, samples of L + 1 ids out of all of them, mixed step by step."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from pile_toolkit.core.errors import UsageError
from shards.index.arrays import load_kernels
from shards.index.blending import BlendArrays, blend, normalized, samples_asked
from shards.index.cache import cache_key, cached_arrays
from shards.index.sample_index import DEFAULT_SEED, SampleIndex

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from shards.dataset import TokenDataset
    from shards.index.sample_index import Origin, Piece


class BlendedIndex:
    """`len(index)` samples, as many as were asked for; sample i is the i-th that training reads.

    Every data set has the order it would have alone, and gives its samples from its first on.
    """

    def __init__(self, indexes: Sequence[SampleIndex], *, shares: Sequence[float], arrays: BlendArrays) -> None:
        """As `build` makes it."""
        self.indexes = list(indexes)
        self.shares = list(shares)
        self.arrays = arrays
        self.sequence_length = self.indexes[0].sequence_length
        self.order = self.indexes[0].order
        self.seed = self.indexes[0].seed

    @classmethod
    def build(
        cls,
        datasets: Sequence[TokenDataset],
        *,
        weights: Sequence[float],
        sequence_length: int,
        samples: int,
        seed: int = DEFAULT_SEED,
        order: str = "neox",
        cache_dir: str | Path | None = None,
    ) -> BlendedIndex:
        """`samples` samples, of which each data set gives its weight's share, by counts and not by tokens drawn.

        Raises UsageError where numbers of data sets and weights differ, one is not above 0, or types of ids differ, and
        as `SampleIndex.build`.
        """
        if len(weights) != len(datasets):
            raise UsageError(f"{len(datasets)} data sets were given, and {len(weights)} weights")
        if len({ds.dtype for ds in datasets}) > 1:
            types = ", ".join(f"{ds.prefix} {ds.dtype}" for ds in datasets)
            raise UsageError(
                f"the data sets hold ids of different types: {types}", hint="write them with one tokenizer"
            )
        if samples < 1:
            raise UsageError(f"{samples} samples were asked for, at least one is needed")
        portions = normalized(weights, order=order)
        load_kernels()
        found, _ = cached_arrays(
            cache_key("blend", order, samples, *map(float.hex, portions)),
            lambda: blend(weights, samples=samples, order=order),
            expected_bytes=9 * samples,
            cache_dir=cache_dir,
        )
        arrays = BlendArrays(*found)
        taken = _counts(arrays, len(datasets))
        request: dict[str, Any] = {
            "sequence_length": sequence_length,
            "seed": seed,
            "order": order,
            "cache_dir": cache_dir,
        }
        indexes = []
        for ds, share, least in zip(datasets, portions, taken, strict=True):
            # Where the surplus is too little, which both programs run into, as many as are taken.
            asked = max(samples_asked(share, samples=samples, order=order), least)
            indexes.append(SampleIndex.build(ds, samples=asked, **request))
        return cls(indexes, shares=portions, arrays=arrays)

    def __len__(self) -> int:
        return len(self.arrays.dataset_index)

    @functools.cached_property
    def hash(self) -> str:
        """XXH3-128 of all that the samples depend on, and, except in the order `stateless`, of how many there are."""
        samples = () if self.order == "stateless" else (str(len(self)),)
        parts = ["blend", *samples, *(index.hash for index in self.indexes), *map(float.hex, self.shares)]
        return xxhash.xxh3_128_hexdigest(" ".join(parts).encode())

    def locate(self, number: int) -> tuple[int, int]:
        """Which data set sample `number` comes from, and which sample of that one's index it is.

        Raises IndexError past the last sample; a negative number counts from the end.
        """
        place = operator.index(number)
        if place < 0:
            place += len(self)
        if not 0 <= place < len(self):
            raise IndexError(f"sample {number} of an index of {len(self):,}")
        return int(self.arrays.dataset_index[place]), int(self.arrays.dataset_sample_index[place])

    def tokens(self, number: int) -> NDArray:
        """The `sequence_length` + 1 ids of a sample, as `SampleIndex.tokens`."""
        index, sample = self.locate(number)
        return self.indexes[index].tokens(sample)

    def batch(self, numbers: ArrayLike, *, dtype: DTypeLike | None = None) -> NDArray:
        """Several samples as one array [samples, sequence_length + 1], as `SampleIndex.batch`."""
        places = np.asarray(numbers, np.int64)
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < len(self):
            raise IndexError(f"samples {places.min()} to {places.max()} of an index of {len(self):,}")
        kind = self.indexes[0].dataset.dtype if dtype is None else dtype
        batch = np.empty((len(places), self.sequence_length + 1), kind)
        owners, samples = self.arrays.dataset_index[places], self.arrays.dataset_sample_index[places]
        for owner in np.unique(owners).tolist():
            rows = owners == owner
            batch[rows] = self.indexes[owner].batch(samples[rows], dtype=dtype)
        return batch

    def pieces(self, number: int) -> list[Piece]:
        """The pieces of a sample; their sequences are those of data set `locate(number)[0]`."""
        index, sample = self.locate(number)
        return self.indexes[index].pieces(sample)

    def provenance(self, number: int) -> list[Origin]:
        """(component, document id, token range) of each piece of a sample, in order."""
        index, sample = self.locate(number)
        return self.indexes[index].provenance(sample)

    def reads(self, first: int, stop: int) -> list[NDArray[np.int64]]:
        """For each data set, what `SampleIndex.reads` says of its part of samples `first` to `stop` - 1."""
        if not 0 <= first <= stop <= len(self):
            raise IndexError(f"samples {first} to {stop} of an index of {len(self):,}")
        chosen = self.arrays.dataset_index
        before = np.bincount(chosen[:first], minlength=len(self.indexes)).tolist()
        until = np.bincount(chosen[:stop], minlength=len(self.indexes)).tolist()
        return [index.reads(*span) for index, *span in zip(self.indexes, before, until, strict=True)]


def _counts(arrays: BlendArrays, datasets: int) -> list[int]:
    # In pieces: numpy makes 8 bytes of every 1 that it counts.
    total = np.zeros(datasets, np.int64)
    for first in range(0, len(arrays.dataset_index), 1 << 22):
        total += np.bincount(arrays.dataset_index[first : first + (1 << 22)], minlength=datasets)
    return total.tolist()
