"""Sizes in, the parts that both array orders are made of out: epochs, types, places; gpt-neox's rules for each.

Sources: gpt-neox, megatron/data/gpt2_dataset.py ("packed"); Megatron-LM, megatron/core/datasets/gpt_dataset.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.loading import loads_once

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shards.index.shuffling import LegacyRandom

INT32_MAX = 2**31 - 1
UINT32_MAX = 2**32 - 1
_GATHER_BLOCK = 4096


class IndexArrays(NamedTuple):
    """gpt-neox's three arrays, read-only.

    doc_idx [E * documents] sequence numbers; sample_idx [n + 1, 2] position in doc_idx and offset of each sample's
    first token; shuffle_idx [n] rows of sample_idx in the order of training.
    """

    doc_idx: NDArray
    sample_idx: NDArray
    shuffle_idx: NDArray


def total_tokens(sizes: NDArray[np.int32], *, sequence_length: int) -> int:
    """The ids of one epoch. Raises UsageError where there are none."""
    tokens = int(sizes.sum(dtype=np.int64))
    if tokens == 0:
        raise UsageError(f"{len(sizes):,} sequences hold 0 tokens, one sample needs {sequence_length + 1:,}")
    return tokens


def epochs_needed(*, tokens: int, sequence_length: int, samples: int) -> int:
    """The smallest E from 1 with (E * tokens - 1) // sequence_length >= samples."""
    return max(1, -(-(samples * sequence_length + 1) // tokens))


def document_dtype(sequences: int) -> np.dtype:
    """int32 as in gpt-neox; int64 where a sequence number would not fit, which it would wrap."""
    return np.dtype(np.int32 if sequences <= INT32_MAX else np.int64)


def shuffle_dtype(samples: int) -> np.dtype:
    """uint32 under 2^32 - 2 samples, as in gpt-neox, else int64."""
    return np.dtype(np.uint32 if samples < UINT32_MAX - 1 else np.int64)


def places(
    sizes: NDArray[np.int32], doc_idx: NDArray | None, *, sequence_length: int, rows: int, dtype: np.dtype
) -> NDArray:
    """[rows, 2]: position in doc_idx (None: all documents in order) and offset of every `sequence_length`-th token."""
    from shards.index.kernels import fill_sample_idx

    sample_idx = np.empty((rows, 2), dtype=dtype)
    order = np.empty(0, np.int32) if doc_idx is None else doc_idx
    fill_sample_idx(sizes, order, sequence_length, np.empty(_GATHER_BLOCK, np.int32), sample_idx)
    return sample_idx


def shuffled_range(start: int, stop: int, *, dtype: np.dtype, random: LegacyRandom) -> NDArray:
    """`start` to `stop` - 1, shuffled."""
    array = np.arange(start, stop, dtype=dtype)
    random.shuffle(array)
    return array


def shuffled_documents(sequences: int, *, epochs: int, random: LegacyRandom) -> NDArray:
    """Every sequence number `epochs` times, shuffled as one array: each epoch's documents lie among all the others."""
    doc_idx = np.empty(epochs * sequences, dtype=document_dtype(sequences))
    doc_idx.reshape(epochs, sequences)[:] = np.arange(sequences, dtype=doc_idx.dtype)
    random.shuffle(doc_idx)
    return doc_idx


@loads_once("index", seconds=5)
def load_kernels() -> None:
    """Loads what builds and reads an index, in this process; on a machine without it, it is compiled, and said."""
    from shards.index.blending import blend
    from shards.index.neox import neox_arrays
    from shards.index.stateless import StatelessOrder, epoch_table

    # As they come from a file: read-only, and not on a multiple of their size.
    sizes = np.frombuffer(b"\0\0" + np.array([5, 3, 7, 2], "<i4").tobytes(), "<i4", 4, 2)
    arrays = neox_arrays(sizes, sequence_length=4, samples=1, seed=1)
    places(sizes, arrays.doc_idx, sequence_length=4, rows=3, dtype=np.dtype(np.int64))
    table = epoch_table(sizes, sequence_length=4)
    StatelessOrder(table, sizes=sizes, sequence_length=4, key="", seed=1).reads(0, 5)
    blend([0.5, 0.5], samples=2)
