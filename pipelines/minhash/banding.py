"""Signatures in, a 64-bit hash for each band of them out; and how many bands of how many rows a threshold asks for."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from pile_toolkit.core.errors import UsageError
from pipelines.minhash.settings import NUM_PERM

if TYPE_CHECKING:
    import numpy as np

# Gauss-Legendre with n nodes is exact for polynomials up to degree 2n - 1, and bands x rows is the degree of these.
_EXACT_DEGREE = 256


class Bands(NamedTuple):
    """`bands` bands of `rows` consecutive minima each; what is left of the signature is not used."""

    bands: int
    rows: int


@functools.cache
def bands(*, num_perm: int, threshold: float) -> Bands:
    """Bands and rows with the least false positives plus false negatives at `threshold`: datasketch's rule.

    The areas between the S-curve 1 - (1 - s^rows)^bands and the step at `threshold`, each by half. Source: Leskovec et
    al., Mining of Massive Datasets, ch. 3. Raises UsageError where `threshold` is not inside (0, 1), or the best are
    fewer than two bands, which is what too few permutations mean.
    """
    if not 0.0 < threshold < 1.0:
        raise UsageError(f"the similarity threshold is {threshold}, it lies between 0 and 1", hint="--threshold 0.8")
    best = _least_error(num_perm, threshold)
    if best.bands < 2:
        raise UsageError(
            f"{num_perm} permutations are too few for a similarity threshold of {threshold}",
            hint=f"--num-perm {NUM_PERM} --threshold 0.8",
        )
    return best


def check_bands(chosen: tuple[int, int], *, num_perm: int) -> Bands:
    """Bands and rows that were given. Raises UsageError where there are none, or more than the signature has."""
    count, rows = chosen
    if min(count, rows) < 1 or count * rows > num_perm:
        raise UsageError(
            f"{count} bands of {rows} rows do not fit into {num_perm} permutations",
            hint=f"at least 1 and at most {num_perm} of both multiplied",
        )
    return Bands(count, rows)


def band_hashes(signatures: np.ndarray, *, bands: tuple[int, int]) -> np.ndarray:
    """The hash of each band of uint32[documents, num_perm]: uint64[documents, bands].

    XXH64 of the band's minima as little-endian uint32, with the number of the band as seed, so that documents that
    agree in different bands do not meet. Raises as `check_bands` does.
    """
    import numpy as np

    from pipelines.minhash.loading import load_kernels

    chosen = check_bands(bands, num_perm=signatures.shape[1])
    hashes = np.empty((len(signatures), chosen.bands), np.uint64)
    load_kernels().hash_signatures(_with_padding(signatures), signatures.shape[1], chosen.rows, hashes)
    return hashes


def _with_padding(signatures: np.ndarray) -> np.ndarray:
    """The bytes of the signatures; of the last one some may be read behind its end."""
    import numpy as np

    rows = np.ascontiguousarray(signatures, np.uint32).reshape(-1)
    return np.concatenate([rows, np.zeros(2, np.uint32)]).view(np.uint8)


def _least_error(num_perm: int, threshold: float) -> Bands:
    import numpy as np

    below, below_weights = _nodes(0.0, threshold, num_perm)
    above, above_weights = _nodes(threshold, 1.0, num_perm)
    least, best = np.inf, Bands(0, 0)
    for count in range(1, num_perm + 1):
        rows = np.arange(1, num_perm // count + 1)[:, None]
        positives = (1 - (1 - below**rows) ** count) @ below_weights
        negatives = ((1 - above**rows) ** count) @ above_weights
        errors = positives * 0.5 + negatives * 0.5
        place = int(errors.argmin())
        if errors[place] < least:
            least, best = errors[place], Bands(count, place + 1)
    return best


def _nodes(start: float, stop: float, num_perm: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and weights of an integral over polynomials of degree `num_perm`."""
    import numpy as np

    places, weights = _legendre()
    borders = np.linspace(start, stop, -(-num_perm // _EXACT_DEGREE) + 1)
    half = np.diff(borders)[:, None] / 2
    return (borders[:-1, None] + half * (places + 1)).ravel(), (half * weights).ravel()


@functools.cache
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    return np.polynomial.legendre.leggauss(_EXACT_DEGREE // 2 + 1)
