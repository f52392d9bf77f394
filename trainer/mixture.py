"""Token shards with provenance in, the component of every target of a sample and the training mixture's shares out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from shards.dataset import TokenDataset
    from shards.index import SampleIndex


@dataclass(frozen=True, kw_only=True)
class Components:
    """The held-out text by component: bytes a token of each, and its share of the tokens that are trained on."""

    names: tuple[str, ...]
    bytes_per_token: Mapping[str, float]
    shares: Mapping[str, float]


def components_of(held_out: TokenDataset, training: TokenDataset | None) -> Components | None:
    """None where the held-out shards do not say their documents; no shares where the training ones do not."""
    if not held_out.has_provenance:
        return None
    names = held_out.provenance.components
    tokens, read_bytes = _tokens(held_out), _sums(held_out, np.asarray(held_out.provenance.bytes, np.float64))
    shares: dict[str, float] = {}
    if training is not None and training.has_provenance:
        trained = _tokens(training)
        shares = {name: count / sum(trained.values()) for name, count in trained.items() if count}
    return Components(
        names=names,
        bytes_per_token={name: read_bytes[name] / count for name, count in tokens.items() if count},
        shares=shares,
    )


def _tokens(dataset: TokenDataset) -> dict[str, float]:
    return _sums(dataset, np.asarray(dataset.sizes, np.float64))


def _sums(dataset: TokenDataset, values: NDArray) -> dict[str, float]:
    names = dataset.provenance.components
    sums = np.bincount(dataset.provenance.component, weights=values, minlength=len(names))
    return dict(zip(names, sums.tolist(), strict=False))


def target_components(index: SampleIndex, numbers: Sequence[int]) -> NDArray[np.int64]:
    """The component number of each target, [samples, sequence_length]."""
    component = index.dataset.provenance.component
    rows = []
    for number in numbers:
        pieces = index.pieces(number)
        owners = [int(component[piece.sequence]) for piece in pieces]
        # Targets are a sample's ids but the first.
        rows.append(np.repeat(owners, [piece.stop - piece.start for piece in pieces])[1:])
    return np.stack(rows)
