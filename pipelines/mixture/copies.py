"""Epochs of a component in, whole copies of its documents out: exact, and nothing is drawn."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from pile_toolkit.core.seeds import keyed_columns

if TYPE_CHECKING:
    import numpy as np


def as_written(number: float) -> Fraction:
    """The decimal number that a person wrote: 1.1 is 11/10, not the binary fraction next to it."""
    return Fraction(repr(float(number)))


def share_of(epochs: float, documents: int) -> tuple[int, int]:
    """(whole, extra) of so many documents: floor(epochs) copies of each, one more of round-half-even(frac x documents).

    The fraction is taken of the decimal number as written: 1.1 of 10 documents is 11 copies.
    """
    exact = as_written(epochs)
    whole = exact.numerator // exact.denominator
    return whole, round((exact - whole) * documents)


def exact_copies(epochs: float, keys: np.ndarray) -> np.ndarray:
    """Copies of each of `len(keys)` documents, uint16, as `share_of` says; those of smallest key have the extra ones.

    So 2.5 epochs are every document twice and half of them a third time.
    """
    import numpy as np

    whole, extra = share_of(epochs, len(keys))
    copies = np.full(len(keys), whole, dtype=np.uint16)
    copies[np.argsort(keys, kind="stable")[:extra]] += 1
    return copies


def copy_keys(seed: int, hashes: np.ndarray, ordinal: np.ndarray) -> np.ndarray:
    """The keys that say who gets the extra copy, from seed, text hash uint64[n, 2] and ordinal among equal texts."""
    return keyed_columns(seed, "copies", hashes[:, 0], hashes[:, 1], ordinal)
