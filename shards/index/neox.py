"""Sizes in, gpt-neox's three arrays out: equal sizes, length, samples and seed, equal arrays.

Source: gpt-neox, megatron/data/gpt2_dataset.py ("packed"). One RandomState first shuffles the documents of all epochs
together; the samples then cut their concatenation every L tokens, overlapping by one; the same RandomState shuffles the
samples. The order therefore depends on the number of epochs, hence on how many samples were asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shards.index.arrays import (
    INT32_MAX,
    IndexArrays,
    epochs_needed,
    places,
    shuffle_dtype,
    shuffled_documents,
    shuffled_range,
    total_tokens,
)
from shards.index.shuffling import LegacyRandom

if TYPE_CHECKING:
    from numpy.typing import NDArray


def neox_arrays(sizes: NDArray[np.int32], *, sequence_length: int, samples: int, seed: int) -> IndexArrays:
    """The three arrays for sequences of these sizes (int32 ids each), whatever data they stand for.

    Raises UsageError where the sizes add up to nothing.
    """
    tokens = total_tokens(sizes, sequence_length=sequence_length)
    epochs = epochs_needed(tokens=tokens, sequence_length=sequence_length, samples=samples)
    random = LegacyRandom(seed)
    doc_idx = shuffled_documents(len(sizes), epochs=epochs, random=random)
    available = (epochs * tokens - 1) // sequence_length
    kind = sample_dtype(tokens=epochs * tokens, sequence_length=sequence_length, entries=len(doc_idx))
    sample_idx = places(sizes, doc_idx, sequence_length=sequence_length, rows=available + 1, dtype=kind)
    shuffle_idx = shuffled_range(0, available, dtype=shuffle_dtype(available), random=random)
    return IndexArrays(doc_idx, sample_idx, shuffle_idx)


def sample_dtype(*, tokens: int, sequence_length: int, entries: int) -> np.dtype:
    """int32 as in gpt-neox while 2 (x + 1) < 2^31 - 1 for the unrounded x = (tokens - 1) / sequence_length, else int64.

    `tokens` are those of all epochs. Also int64 where a position among the `entries` of doc_idx would not fit: there
    gpt-neox's own positions wrap.
    """
    fits = 2 * (tokens - 1 + sequence_length) < INT32_MAX * sequence_length and entries <= INT32_MAX
    return np.dtype(np.int32 if fits else np.int64)
