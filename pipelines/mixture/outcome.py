"""Epochs wished and copies made in, the mixture as numbers out: what a component should have been, and what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipelines.mixture.copies import as_written

if TYPE_CHECKING:
    from collections.abc import Mapping


class MixtureRow(msgspec.Struct, frozen=True, kw_only=True):
    """A component before anything is written: `bytes` of its train documents, each once; `effective_bytes` with copies.

    `share` is of the effective bytes of all components. In a mixture of shards all are tokens.
    """

    component: str
    bytes: int
    epochs: float
    effective_bytes: int
    share: float


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """A component's train split as it is: `train_bytes` with each document once, epochs and share by bytes of copies.

    `share` is the wished one; `deviation_bytes` is what there is more than `epochs * train_bytes`.
    """

    train_bytes: int
    epochs_reached: float
    share: float
    share_reached: float
    deviation_bytes: int


def mixture_rows(epochs: Mapping[str, float], sizes: Mapping[str, int]) -> list[MixtureRow]:
    """What epochs make of sizes."""
    wished = {slug: as_written(epochs[slug]) * size for slug, size in sizes.items()}
    whole = sum(wished.values())
    return [
        MixtureRow(
            component=slug,
            bytes=size,
            epochs=epochs[slug],
            effective_bytes=round(wished[slug]),
            share=float(wished[slug] / whole) if whole else 0.0,
        )
        for slug, size in sizes.items()
    ]


def outcome(epochs: Mapping[str, float], sizes: Mapping[str, int], copied: Mapping[str, int]) -> dict[str, Reached]:
    """What came of `epochs`, from the bytes of each component's train documents, and of their copies."""
    wished = mixture_rows(epochs, sizes)
    whole = sum(copied.values())
    return {
        row.component: Reached(
            train_bytes=row.bytes,
            epochs_reached=copied[row.component] / row.bytes if row.bytes else 0.0,
            share=row.share,
            share_reached=copied[row.component] / whole if whole else 0.0,
            deviation_bytes=copied[row.component] - row.effective_bytes,
        )
        for row in wished
    }
