"""The phases of a run in, its samples out as one order: sample n of the run, whichever index it is read from."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from shards.index import SampleIndex
    from shards.phases import Phase, Phases


class PhasedSamples:
    """`len(samples)` samples of a run, numbered through all its phases, whose indexes are opened when they are needed.

    Pickles as the record of the phases, so that worker processes map the same files.
    """

    def __init__(self, phases: Phases, *, samples: int, cache_dir: str | Path | None = None) -> None:
        """`samples` is how many the run has. Raises UsageError where phases differ in the length of their samples."""
        lengths = {phase.sequence_length for phase in phases.phases}
        if len(lengths) != 1:
            raise UsageError(f"the phases of a run have samples of one length, these have {sorted(lengths)}")
        self.phases = phases
        self.samples = samples
        (self.sequence_length,) = lengths
        self._cache_dir = cache_dir
        self._firsts = np.array([phase.first_sample for phase in phases.phases], np.int64)
        self._open: dict[int, SampleIndex] = {}

    def __len__(self) -> int:
        return self.samples

    def __reduce__(self) -> tuple:
        return _rebuilt, (self.phases, self.samples, self._cache_dir)

    def index_of(self, phase: Phase) -> SampleIndex:
        """The index of one of the phases. Raises as `Phase.open`."""
        if phase.first_sample not in self._open:
            self._open[phase.first_sample] = phase.open(cache_dir=self._cache_dir)
        return self._open[phase.first_sample]

    def find(self, number: int) -> tuple[SampleIndex, int]:
        """The index that sample `number` is of, and its number there. Raises IndexError past the last."""
        place = operator.index(number)
        if not 0 <= place < self.samples:
            raise IndexError(f"sample {number} of a run of {self.samples:,}")
        phase, inside = self.phases.of(place)
        return self.index_of(phase), inside

    def tokens(self, number: int) -> NDArray:
        """The `sequence_length` + 1 ids of a sample, as `SampleIndex.tokens`."""
        index, inside = self.find(number)
        return index.tokens(inside)

    def batch(self, numbers: ArrayLike, *, dtype: DTypeLike | None = None) -> NDArray:
        """Several samples as one array [samples, sequence_length + 1], as `SampleIndex.batch`, of any phases.

        Without `dtype` in a type that holds the ids of all phases asked for. Raises IndexError past the last sample.
        """
        places = np.asarray(numbers, np.int64)
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < self.samples:
            raise IndexError(f"samples {places.min()} to {places.max()} of a run of {self.samples:,}")
        owners = np.searchsorted(self._firsts, places, side="right") - 1
        asked = np.unique(owners).tolist() or [0]
        indexes = {owner: self.index_of(self.phases.phases[owner]) for owner in asked}
        inside = places - self._firsts[owners]
        if len(indexes) == 1:
            return indexes[asked[0]].batch(inside, dtype=dtype)
        kind = np.result_type(*(index.dataset.dtype for index in indexes.values())) if dtype is None else dtype
        batch = np.empty((len(places), self.sequence_length + 1), kind)
        for owner, index in indexes.items():
            batch[owners == owner] = index.batch(inside[owners == owner], dtype=kind)
        return batch


def _rebuilt(phases: Phases, samples: int, cache_dir: str | Path | None) -> PhasedSamples:
    return PhasedSamples(phases, samples=samples, cache_dir=cache_dir)
