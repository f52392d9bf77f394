"""A sample in, its pieces decoded out, each with the document it comes from and whether it starts or ends there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from shards.index import SampleIndex


class ShownPiece(msgspec.Struct, frozen=True, kw_only=True):
    """One document's share of a sample: ids `start` to `stop` of its sequence, from `offset` on in the sample."""

    offset: int
    sequence: int
    start: int
    stop: int
    starts_document: bool
    ends_document: bool
    component: str | None
    document: str | None
    copy: int | None
    ids: list[int] | None
    text: str | None


class ShownSample(msgspec.Struct, frozen=True, kw_only=True):
    """One sample of a training order; `step` counts from 1 and is None where samples were asked for by number."""

    sample: int
    step: int | None
    pieces: list[ShownPiece]


class ShownSamples(msgspec.Struct, frozen=True, kw_only=True):
    """Samples of one order, with all that the order depends on.

    Of a run with several phases `prefix` is that of the phase that the samples are of, and `first_sample` its first.
    """

    prefix: str
    run: str | None
    order: str
    sequence_length: int
    samples: int
    seed: int
    first_sample: int
    shown: list[ShownSample]


def show_sample(index: SampleIndex, number: int, decode: Callable[[NDArray], str] | None) -> list[ShownPiece]:
    """The pieces of sample `number` in order; `decode` turns ids into text, without it a piece has its ids.

    Component, document and copy are None where the shards came without provenance. A character whose bytes lie on both
    sides of a sample's edge is decoded as the tokenizer decodes such halves. Raises IndexError past the last sample.
    """
    dataset = index.dataset
    rows = dataset.provenance if dataset.has_provenance else None
    shown: list[ShownPiece] = []
    offset = 0
    for sequence, start, stop in index.pieces(number):
        source = rows.source(sequence) if rows is not None else None
        ids = dataset.get(sequence, start, stop - start)
        piece = ShownPiece(
            offset=offset,
            sequence=sequence,
            start=start,
            stop=stop,
            starts_document=start == 0,
            ends_document=stop == int(dataset.sizes[sequence]),
            component=source.component if source else None,
            document=source.document if source else None,
            copy=source.copy if source else None,
            ids=None if decode else ids.tolist(),
            text=decode(ids) if decode else None,
        )
        shown.append(piece)
        offset += stop - start
    return shown
