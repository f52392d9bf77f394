"""Weights in, whole copies out: how often each document of a component stands in the corpus."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pile_toolkit.core.config import nearest, read_toml
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.seeds import keyed_columns
from pipelines.catalog import components

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

# `copies` is 16 bits wide in the plan, and nobody means more.
MOST_EPOCHS = 1000.0


def resolve_weights(weights: str | Mapping[str, float], slugs: Sequence[str]) -> dict[str, float]:
    """Epochs per slug of `slugs`: the published ones ("pile"), a table, or the path of a TOML file of such a table.

    Raises UsageError for unknown slugs, missing ones, and numbers that are no epochs.
    """
    if weights == "pile":
        published = {component.slug: component.epochs for component in components()}
        # A component of one's own has no published weight: once is what nobody needs to explain.
        return {slug: published.get(slug, 1.0) for slug in slugs}
    table = _read_table(Path(weights)) if isinstance(weights, str) else dict(weights)
    known = {*slugs, *(component.slug for component in components())}
    for slug, epochs in table.items():
        if slug not in known:
            raise UsageError(f"weights name '{slug}', which is no component", hint=nearest(slug, sorted(known)))
        if isinstance(epochs, bool) or not isinstance(epochs, int | float) or not 0.0 <= epochs <= MOST_EPOCHS:
            raise UsageError(f"the weight of '{slug}' is {epochs!r}, epochs are a number from 0 to {MOST_EPOCHS:g}")
    if missing := [slug for slug in slugs if slug not in table]:
        raise UsageError(
            f"weights have no entry for {', '.join(missing)}", hint=f"add `{missing[0]} = 1.0`, or 0 to leave it out"
        )
    return {slug: float(table[slug]) for slug in slugs}


def _read_table(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(
            f"weights are '{path}', which is neither 'pile' nor a file",
            hint="pile, or a TOML file with a line such as `arxiv = 2.0` per component",
        )
    return read_toml(path)


def exact_copies(epochs: float, keys: np.ndarray) -> np.ndarray:
    """Copies of each of `len(keys)` documents: floor(epochs), and one more for those of smallest key: uint16.

    round-half-even(frac(epochs) * n) documents get it, so 2.5 epochs are every document twice and half of them a third
    time. The fraction is taken of the decimal number as written: 1.1 of 10 documents is 11 copies.
    """
    import numpy as np

    exact = Fraction(repr(float(epochs)))
    whole = exact.numerator // exact.denominator
    copies = np.full(len(keys), whole, dtype=np.uint16)
    copies[np.argsort(keys, kind="stable")[: round((exact - whole) * len(keys))]] += 1
    return copies


def copy_keys(seed: int, hashes: np.ndarray, ordinal: np.ndarray) -> np.ndarray:
    """The keys that say who gets the extra copy, from seed, text hash uint64[n, 2] and ordinal among equal texts."""
    return keyed_columns(seed, "copies", hashes[:, 0], hashes[:, 1], ordinal)
