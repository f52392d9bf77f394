"""Prefixes and what is asked of them in, their index and what it is out: the object of `pile shards index`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.errors import UsageError
from shards.index.blended_index import BlendedIndex
from shards.index.sample_index import DEFAULT_SEED, SampleIndex

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shards.dataset import TokenDataset


class ArrayReport(msgspec.Struct, frozen=True, kw_only=True):
    """One array of an index."""

    name: str
    dtype: str
    shape: list[int]
    bytes: int


class IndexReport(msgspec.Struct, frozen=True, kw_only=True):
    """An index of one prefix; `cache` is the file its arrays lie in, None where they are too small to be kept.

    `available` samples come out of `epochs` passes, None where there is no last one. `share` is that of the prefix in a
    blend, 1 without one.
    """

    prefix: str
    share: float
    hash: str
    order: str
    sequence_length: int
    seed: int
    samples: int
    available: int | None
    tokens: int
    epochs: int
    arrays: list[ArrayReport]
    cache: str | None


class IndexedShards(msgspec.Struct, frozen=True, kw_only=True):
    """What training reads: `samples` samples of one prefix, or of several together."""

    hash: str
    samples: int
    indexes: list[IndexReport]


def index_shards(
    prefixes: str | Path | Sequence[str | Path],
    *,
    sequence_length: int,
    samples: int | None = None,
    weights: Sequence[float] | None = None,
    seed: int = DEFAULT_SEED,
    order: str = "neox",
    cache_dir: str | Path | None = None,
) -> IndexedShards:
    """Builds the index of a run, or finds it in the cache, and says what it is.

    `samples` is one pass over the tokens by default. Raises UsageError and CorruptData as `SampleIndex.build`, and
    UsageError where several prefixes come without weights.
    """
    from shards.dataset import TokenDataset

    names = [prefixes] if isinstance(prefixes, str) or not hasattr(prefixes, "__iter__") else list(prefixes)
    datasets = [TokenDataset(name) for name in names]
    if not datasets:
        raise UsageError("no shards were named", hint="pile shards index shards/train")
    if len(datasets) > 1 and weights is None:
        raise UsageError(f"{len(datasets)} prefixes need as many weights", hint="--weights 0.7,0.3")
    count = samples or max(sum((ds.total_tokens - 1) // max(sequence_length, 1) for ds in datasets), 1)
    request: dict[str, Any] = {"sequence_length": sequence_length, "samples": count, "seed": seed, "order": order}
    if weights is None:
        index = SampleIndex.build(datasets[0], **request, cache_dir=cache_dir)
        return IndexedShards(hash=index.hash, samples=count, indexes=[_described(index, 1.0)])
    blended = BlendedIndex.build(datasets, weights=weights, **request, cache_dir=cache_dir)
    described = [_described(index, share) for index, share in zip(blended.indexes, blended.shares, strict=True)]
    return IndexedShards(hash=blended.hash, samples=count, indexes=described)


def _described(index: SampleIndex, share: float) -> IndexReport:
    dataset: TokenDataset = index.dataset
    arrays = index.stored_arrays
    return IndexReport(
        prefix=dataset.prefix,
        share=share,
        hash=index.hash,
        order=index.order,
        sequence_length=index.sequence_length,
        seed=index.seed,
        samples=index.samples,
        available=None if index.arrays is None else len(index),
        tokens=dataset.total_tokens,
        epochs=index.epochs,
        arrays=[
            ArrayReport(name=name, dtype=array.dtype.name, shape=list(array.shape), bytes=array.nbytes)
            for name, array in arrays.items()
        ],
        cache=None if index.cache_path is None else str(index.cache_path),
    )
