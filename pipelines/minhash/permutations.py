"""Settings in, the permutations of a signature out: those that datasketch draws."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.minhash.signing.kernels import LANES

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MERSENNE_PRIME = (1 << 61) - 1


class Permutations(NamedTuple):
    """Factors and summands, uint32 (affine32) or uint64 (legacy), filled up to a multiple of LANES with zeros."""

    multipliers: NDArray
    offsets: NDArray


@lru_cache(maxsize=16)
def permutations(*, scheme: str, num_perm: int, seed: int) -> Permutations:
    """The permutations of `datasketch.MinHash(num_perm, seed, scheme=scheme)`, version 2."""
    generator = np.random.RandomState(seed)
    if scheme == "legacy":
        drawn = np.array(
            [
                (
                    generator.randint(1, _MERSENNE_PRIME, dtype=np.uint64),
                    generator.randint(0, _MERSENNE_PRIME, dtype=np.uint64),
                )
                for _ in range(num_perm)
            ],
            np.uint64,
        ).T
    else:
        # Odd, so that no two hashes become the same.
        odd = generator.randint(0, 1 << 31, num_perm, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
        drawn = np.array([odd, generator.randint(0, 1 << 32, num_perm, dtype=np.uint32)])
    padded = np.zeros((2, -(-num_perm // LANES) * LANES), drawn.dtype)
    padded[:, :num_perm] = drawn
    return Permutations(*padded)
