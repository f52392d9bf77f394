"""Places in documents in, the samples of a training order that hold them out: which step of a run saw a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from shards.find import Found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shards.dataset import TokenDataset
    from shards.find import Occurrence
    from shards.index import SampleIndex


class FoundText(msgspec.Struct, frozen=True, kw_only=True):
    """Places of a token sequence, and the samples of an order that hold them; `steps` where a batch size is known.

    Of a run with several phases this is the first one; `later_phases` are the others, each over its own shards. Samples
    and steps are numbered through the run.
    """

    found: Found
    samples: list[FoundSample]
    steps: list[int] | None
    first_sample: int = 0
    later_phases: list[FoundText] = []


class FoundSample(msgspec.Struct, frozen=True, kw_only=True):
    """A sample that holds ids of an occurrence, numbered as in the list; `start` to `stop` are places in the sample.

    Where the sample's edge cuts the occurrence, `whole` is false, and the neighbouring sample has the rest.
    """

    occurrence: int
    sample: int
    start: int
    stop: int
    whole: bool


def samples_holding(
    index: SampleIndex, occurrences: Sequence[Occurrence], *, samples: int | None = None, limit: int = 100
) -> list[FoundSample]:
    """The first `limit` samples, of the first `samples` of the order, that hold an occurrence or a part of one."""
    places: dict[int, list[tuple[int, int, int]]] = {}
    for number, occurrence in enumerate(occurrences):
        for entry in _entries(index.dataset, occurrence):
            places.setdefault(entry, []).append((number, occurrence.start, occurrence.stop))
    found: list[FoundSample] = []
    spans = np.array([(entry, start, stop) for entry, ones in places.items() for _, start, stop in ones], np.int64)
    count = len(index) if samples is None else min(samples, len(index))
    for sample in index.holding(*spans.reshape(-1, 3).T, samples=count):
        offset = 0
        for sequence, start, stop in index.pieces(sample):
            for number, first, last in places.get(sequence, ()):
                low, high = max(first, start), min(last, stop)
                if low < high:
                    whole = (low, high) == (first, last)
                    at = offset + low - start
                    found.append(
                        FoundSample(occurrence=number, sample=sample, start=at, stop=at + high - low, whole=whole)
                    )
            offset += stop - start
        if len(found) >= limit:
            break
    return found[:limit]


def _entries(dataset: TokenDataset, occurrence: Occurrence) -> list[int]:
    """All entries of the index that read the same stored document."""
    row = occurrence.sequence
    same = (dataset.pointers == dataset.pointers[row]) & (dataset.sizes == dataset.sizes[row])
    return np.flatnonzero(same).tolist()
