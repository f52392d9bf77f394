"""Sizes in, the three arrays of Megatron-LM's GPTDataset out: as gpt-neox's, but a short last epoch stays apart.

Source: Megatron-LM, megatron/core/datasets/gpt_dataset.py and helpers.py. Where fewer than 80% of an epoch's samples
are needed of the last one, its documents are shuffled for themselves and follow all others, and so are its samples:
otherwise documents of a hardly begun epoch would come early, and others once less than the number of whole epochs.
"""

from __future__ import annotations

import itertools
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

THRESHOLD = 0.80


def megatron_arrays(sizes: NDArray[np.int32], *, sequence_length: int, samples: int, seed: int) -> IndexArrays:
    """document_index, sample_index and shuffle_index for sequences of these sizes; splits are not Megatron's ranges.

    Raises UsageError where the sizes add up to nothing.
    """
    tokens = total_tokens(sizes, sequence_length=sequence_length)
    epochs = epochs_needed(tokens=tokens, sequence_length=sequence_length, samples=samples)
    before = samples_before_last(tokens=tokens, sequence_length=sequence_length, samples=samples)
    available = (epochs * tokens - 1) // sequence_length
    random = LegacyRandom(seed)
    together = [epochs] if before is None else [epochs - 1, 1]
    doc_idx = np.concatenate([shuffled_documents(len(sizes), epochs=count, random=random) for count in together])
    sample_idx = places(
        sizes,
        doc_idx,
        sequence_length=sequence_length,
        rows=available + 1,
        dtype=sample_dtype(entries=len(doc_idx), longest=int(sizes.max())),
    )
    bounds = [0, available] if before is None else [0, before, available]
    kind = shuffle_dtype(available)
    ranges = [shuffled_range(*pair, dtype=kind, random=random) for pair in itertools.pairwise(bounds)]
    return IndexArrays(doc_idx, sample_idx, np.concatenate(ranges))


def samples_before_last(*, tokens: int, sequence_length: int, samples: int) -> int | None:
    """How many samples come before the last epoch where that is kept apart; None where all epochs are one."""
    epochs = epochs_needed(tokens=tokens, sequence_length=sequence_length, samples=samples)
    if epochs == 1:
        return None
    before = ((epochs - 1) * tokens - 1) // sequence_length
    per_epoch = (tokens - 1) // sequence_length
    return before if samples - before < int(THRESHOLD * per_epoch) else None


def sample_dtype(*, entries: int, longest: int) -> np.dtype:
    """int32 where positions among the `entries` of doc_idx and offsets in the longest sequence fit, else int64."""
    return np.dtype(np.int32 if max(entries, longest) <= INT32_MAX else np.int64)
