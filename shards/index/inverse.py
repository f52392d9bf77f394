"""Places in an epoch's order in, the numbers that the keyed permutation sends there out: `kernels.permuted`, backwards.

Which samples hold a document is thereby known without a look at any other sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def unpermuted(places: NDArray[np.int64], size: int, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each place of 0 to `size` - 1 the number that `permuted(number, size, keys)` sends to it.

    The rounds of the Feistel network in reverse. A walk that left the range on its way forward is walked back through
    the same values, so the first one inside is where it came from.
    """
    bits = np.uint64(max(size - 1, 0).bit_length())
    values = np.asarray(places, np.int64).astype(np.uint64)
    outside = np.arange(len(values))
    while len(outside):
        values[outside] = _rounds_back(values[outside], bits, keys)
        outside = outside[values[outside] >= np.uint64(size)]
    return values.astype(np.int64)


def _rounds_back(values: NDArray[np.uint64], bits: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    low_bits = bits >> np.uint64(1)
    low_mask = (np.uint64(1) << low_bits) - np.uint64(1)
    high_mask = (np.uint64(1) << (bits - low_bits)) - np.uint64(1)
    low, high = values & low_mask, values >> low_bits
    for turn in range(len(keys) - 2, -1, -2):
        low ^= _mixed(high ^ keys[turn + 1]) & low_mask
        high ^= _mixed(low ^ keys[turn]) & high_mask
    return (high << low_bits) | low


def _mixed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # As kernels._mixed; arrays of unsigned integers wrap without a word.
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys ^= keys >> np.uint64(30)
    keys *= np.uint64(0xBF58476D1CE4E5B9)
    keys ^= keys >> np.uint64(27)
    keys *= np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
