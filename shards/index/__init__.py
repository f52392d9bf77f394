"""Data sets in, samples in the order of a run out: gpt-neox's, Megatron-LM's, or one without a state; and blends."""

from __future__ import annotations

from shards.index.arrays import IndexArrays, document_dtype, epochs_needed, shuffle_dtype
from shards.index.blended_index import BlendedIndex
from shards.index.blending import BlendArrays
from shards.index.megatron import megatron_arrays
from shards.index.neox import neox_arrays, sample_dtype
from shards.index.sample_index import DEFAULT_SEED, ORDERS, Origin, Piece, SampleIndex, index_hash

__all__ = [
    "DEFAULT_SEED",
    "ORDERS",
    "BlendArrays",
    "BlendedIndex",
    "IndexArrays",
    "Origin",
    "Piece",
    "SampleIndex",
    "document_dtype",
    "epochs_needed",
    "index_hash",
    "megatron_arrays",
    "neox_arrays",
    "sample_dtype",
    "shuffle_dtype",
]
