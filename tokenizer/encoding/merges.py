"""A definition in, the arrays that the merge loop reads out: read-only, shared by all threads.

Tokens that take part in merges are numbered apart from their ids (a `symbol`: the 256 bytes, then what merges make), so
that a pair of them and the pair's rank fit into 64 bits, whatever ids the file gives them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.errors import UsageError
from tokenizer.definition import OTHER_FILE
from tokenizer.encoding.limits import LARGEST_MERGES, LARGEST_VOCAB
from tokenizer.layout import byte_characters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tokenizer.definition import Definition

# Slots per merge, at least: most questions are about pairs that do not exist, and end at the first empty slot.
SLOTS_PER_MERGE = 2.5


class Merges(NamedTuple):
    """`pairs` uint64[2^k] is a hash table of left symbol (20 bits), right symbol (20), rank (24)."""

    byte_symbol: NDArray[np.int32]  # 256: the symbol of a byte, HOLE where the alphabet lacks it
    pairs: NDArray[np.uint64]
    byte_ranks: NDArray[np.uint32]  # 65,536: the rank of two bytes, so that most first looks need no hash
    merged: NDArray[np.int32]  # by rank: the symbol that a merge makes
    ids: NDArray[np.uint32]  # by symbol


def check_size(definition: Definition, *, name: str) -> None:
    """Raises UsageError where there is more than fits into the arrays."""
    for field, found, most in (
        ("model.vocab", len(definition.vocab), LARGEST_VOCAB),
        ("model.merges", len(definition.merges), LARGEST_MERGES),
    ):
        if found > most:
            raise UsageError(f"{name}: {field} has {found:,} entries, at most {most:,} fit", hint=OTHER_FILE)


def merge_arrays(definition: Definition) -> Merges:
    """The arrays of a tokenizer that `check_size` accepts."""
    from tokenizer.encoding.merging.kernels import EMPTY_PAIR, HOLE, fill_byte_ranks, fill_pairs

    vocab = definition.vocab
    symbol_of: dict[str, int] = {}
    for token in byte_characters():
        if token in vocab:
            symbol_of[token] = len(symbol_of)
    byte_symbol = np.array([symbol_of.get(token, HOLE) for token in byte_characters()], np.int32)
    lefts, rights, results = [], [], []
    for left, right in definition.merges:
        for token in (left, right, left + right):
            symbol_of.setdefault(token, len(symbol_of))
        lefts.append(symbol_of[left])
        rights.append(symbol_of[right])
        results.append(symbol_of[left + right])
    slots = 1 << int(max(16, len(lefts) * SLOTS_PER_MERGE) - 1).bit_length()
    pairs = np.full(slots, EMPTY_PAIR, np.uint64)
    fill_pairs(pairs, np.array(lefts, np.uint64), np.array(rights, np.uint64))
    ids = np.array([vocab[token] for token in symbol_of], np.uint32)
    byte_ranks = np.empty(1 << 16, np.uint32)
    fill_byte_ranks(pairs, byte_symbol, byte_ranks)
    return Merges(byte_symbol, pairs, byte_ranks, np.array(results, np.int32), ids)
