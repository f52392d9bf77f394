"""A run's sample numbers in, which index each was read from out; and with it, how often every document was read.

A phase begins where new weights (another `.idx`) come into a run: from then on sample n of the run is sample
n - first_sample of the phase's index. The record lies in the run's folder; what it names can be opened again years
later, and is compared by hash before anything is counted.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import write_bytes
from pile_toolkit.core.jsonfile import CONFIG_LIMIT_BYTES, read_json
from shards.dataset import TokenDataset
from shards.index import SampleIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

PHASES = "phases.json"


class Phase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From sample `first_sample` of the run on: the index of this hash, and all that it is built again from."""

    first_sample: int
    index: str
    prefix: str
    sequence_length: int
    samples: int
    seed: int
    order: str

    def open(self, *, cache_dir: str | Path | None = None) -> SampleIndex:
        """The phase's index. Raises CorruptData where the shards are not those it was made of, and as `build`."""
        index = SampleIndex.build(
            TokenDataset(self.prefix),
            sequence_length=self.sequence_length,
            samples=self.samples,
            seed=self.seed,
            order=self.order,
            cache_dir=cache_dir,
        )
        if index.hash != self.index:
            raise CorruptData(
                f"{self.prefix} gives the index {index.hash}, the phase from sample {self.first_sample:,} on was read "
                f"from {self.index}",
                hint="the shards were written again since: restore those of the run",
            )
        return index


class Phases(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The phases of one run in the order of their first samples, the first of which is 0."""

    phases: tuple[Phase, ...] = ()

    def __post_init__(self) -> None:
        firsts = [phase.first_sample for phase in self.phases]
        if firsts and (firsts[0] != 0 or any(later <= earlier for earlier, later in itertools.pairwise(firsts))):
            raise ValueError(f"phases begin at samples {firsts}: they must begin at 0 and rise")

    def started(self, first_sample: int, index: SampleIndex) -> Phases:
        """With one more phase, from `first_sample` on; the same where that is already the last one.

        Raises UsageError where it would begin before or at the last one's beginning, or reads past its end.
        """
        phase = Phase(
            first_sample=first_sample,
            index=index.hash,
            prefix=str(Path(index.dataset.prefix).resolve()),
            sequence_length=index.sequence_length,
            samples=index.samples,
            seed=index.seed,
            order=index.order,
        )
        least = self.phases[-1].first_sample + 1 if self.phases else 0
        if self.phases and self.phases[-1].index == phase.index:
            return self
        if first_sample < least or (not self.phases and first_sample):
            raise UsageError(
                f"a phase cannot begin at sample {first_sample:,}: "
                + (f"the last one begins at {least - 1:,}" if self.phases else "the first one begins at 0")
            )
        return Phases(phases=(*self.phases, phase))

    def of(self, number: int) -> tuple[Phase, int]:
        """The phase that sample `number` of the run belongs to, and its number in the phase's index."""
        for phase in reversed(self.phases):
            if 0 <= phase.first_sample <= number:
                return phase, number - phase.first_sample
        raise IndexError(f"sample {number} of a run of {len(self.phases)} phases")

    def spans(self, samples: int) -> Iterator[tuple[Phase, int]]:
        """Each phase that the first `samples` samples of the run reach, and how many of them it gave."""
        ends = [phase.first_sample for phase in self.phases[1:]]
        for phase, end in zip(self.phases, [*ends, samples], strict=True):
            if phase.first_sample < samples:
                yield phase, min(end, samples) - phase.first_sample


def read_phases(run: Path) -> Phases:
    """The phases of a run's folder. Raises UsageError where it has none, CorruptData where the file is damaged."""
    path = run / PHASES
    try:
        return read_json(path, Phases, limit_bytes=CONFIG_LIMIT_BYTES, what="a record of phases")
    except FileNotFoundError as error:
        raise UsageError(
            f"{run} does not say which samples it was trained on: there is no {PHASES}", hint="name the folder of a run"
        ) from error


def write_phases(run: Path, phases: Phases) -> None:
    """Replaces the record, atomically."""
    write_bytes(run / PHASES, msgspec.json.format(msgspec.json.encode(phases), indent=2) + b"\n")
