"""A run's sample numbers in, which index each was read from out; and with it, how often every document was read.

A phase begins where new weights (another `.idx`) come into a run: from then on sample n of the run is sample
n - first_sample of the phase's index. The record lies in the run's folder, names shards of the same root relative to
it, so that both can be moved together, and is compared by hash before anything is read.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import write_bytes
from pile_toolkit.core.jsonfile import CONFIG_LIMIT_BYTES, read_json
from pile_toolkit.core.manifest import read_manifest
from shards.dataset import TokenDataset
from shards.index import SampleIndex, index_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PHASES = "phases.json"


class Phase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From sample `first_sample` of the run on: the index of this hash, and all that it is built again from.

    `shards` is the digest of the shards' content as `data_identity` gives it, empty where nobody asked for it.
    """

    first_sample: int
    index: str
    shards: str = ""
    prefix: str
    sequence_length: int
    samples: int
    seed: int
    order: str

    def is_over(self, other: Phase) -> bool:
        """Whether both read the same samples, each from its own first on."""
        return (self.index, self.shards) == (other.index, other.shards)

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
        fact = f"the phase from sample {self.first_sample:,} on was read from"
        hint = "the shards were written again since: restore those of the run"
        if index.hash != self.index:
            raise CorruptData(f"{self.prefix} gives the index {index.hash}, {fact} {self.index}", hint=hint)
        if self.shards and (found := data_identity(Path(self.prefix))) != self.shards:
            raise CorruptData(f"{self.prefix} has the content {found}, {fact} {self.shards}", hint=hint)
        return index


class Phases(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The phases of one run in the order of their first samples, the first of which is 0."""

    phases: tuple[Phase, ...] = ()

    def __post_init__(self) -> None:
        firsts = [phase.first_sample for phase in self.phases]
        if firsts and (firsts[0] != 0 or any(later <= earlier for earlier, later in itertools.pairwise(firsts))):
            raise ValueError(f"phases begin at samples {firsts}: they must begin at 0 and rise")

    def started(self, first_sample: int, index: SampleIndex) -> Phases:
        """`followed_by` a phase of this index, from `first_sample` on."""
        return self.followed_by(
            Phase(
                first_sample=first_sample,
                index=index.hash,
                prefix=str(_named(index.dataset.prefix)),
                sequence_length=index.sequence_length,
                samples=index.samples,
                seed=index.seed,
                order=index.order,
            )
        )

    def followed_by(self, phase: Phase) -> Phases:
        """With one more phase; the same where the last one is over the same samples already.

        Raises UsageError where it would begin before or at the last one's beginning, or begin again with the samples
        of an earlier one.
        """
        if self.phases and self.phases[-1].is_over(phase):
            return self
        first = phase.first_sample
        least = self.phases[-1].first_sample + 1 if self.phases else 0
        if first < least or (not self.phases and first):
            raise UsageError(
                f"a phase cannot begin at sample {first:,}: "
                + (f"the last one begins at {least - 1:,}" if self.phases else "the first one begins at 0")
            )
        for earlier in self.phases:
            # Whatever else changed: the held-out splits, which the content covers as well.
            if earlier.index == phase.index:
                raise UsageError(
                    f"{phase.prefix} gives the index that was read from sample {earlier.first_sample:,} of the run on: "
                    "another phase of it would read the same samples again, from the first",
                    hint="pile shards mix NAME --weights FILE, with weights that the run did not have yet",
                )
        return Phases(phases=(*self.phases, phase))

    def of(self, number: int) -> tuple[Phase, int]:
        """The phase that sample `number` of the run belongs to, and its number in the phase's index."""
        for phase in reversed(self.phases):
            if 0 <= phase.first_sample <= number:
                return phase, number - phase.first_sample
        raise IndexError(f"sample {number} of a run of {len(self.phases)} phases")

    def before(self, sample: int) -> tuple[Phase, ...]:
        """The phases that samples below `sample` are of, and the first one in any case."""
        return tuple(phase for phase in self.phases if phase.first_sample < max(sample, 1))

    def spans(self, samples: int) -> Iterator[tuple[Phase, int]]:
        """Each phase that the first `samples` samples of the run reach, and how many of them it gave."""
        ends = [phase.first_sample for phase in self.phases[1:]]
        for phase, end in zip(self.phases, [*ends, samples], strict=True):
            if phase.first_sample < samples:
                yield phase, min(end, samples) - phase.first_sample


def summary(phases: Sequence[Phase]) -> list[list[int | str]]:
    """(first sample, index hash, content of the shards) of each, as JSON gives it back."""
    return [[phase.first_sample, phase.index, phase.shards] for phase in phases]


def phase_of(prefix: Path, *, sequence_length: int, samples: int, seed: int, order: str) -> Phase:
    """The first phase of a run of `samples` samples over these shards; no index is built for it.

    Raises UsageError where the shards are absent, CorruptData where they do not fit together.
    """
    with TokenDataset(prefix) as dataset:
        index = index_hash(dataset, sequence_length=sequence_length, samples=samples, seed=seed, order=order)
    return Phase(
        first_sample=0,
        index=index,
        shards=data_identity(prefix),
        prefix=str(_named(prefix)),
        sequence_length=sequence_length,
        samples=samples,
        seed=seed,
        order=order,
    )


def data_identity(prefix: Path) -> str:
    """A digest of the token shards: by their manifest, which holds content hashes, else by sizes and pointers."""
    manifest = read_manifest(prefix.parent)
    return TokenDataset(prefix).hash if manifest is None else manifest.digest()


def read_phases(run: Path) -> Phases:
    """The phases of a run's folder. Raises UsageError where it has none, CorruptData where the file is damaged."""
    path = run / PHASES
    hint = f"restore it; or rm {path} and train again, which writes it anew for a run of a single phase"
    try:
        phases = read_json(path, Phases, limit_bytes=CONFIG_LIMIT_BYTES, what="a record of phases", hint=hint)
    except FileNotFoundError as error:
        raise UsageError(
            f"{run} does not say which samples it was trained on: there is no {PHASES}", hint="name the folder of a run"
        ) from error
    if not phases.phases:
        raise CorruptData(f"{path} is not a record of phases: it holds none", hint=hint)
    return _with_prefixes(phases, lambda prefix: str(_named(run / prefix)))


def write_phases(run: Path, phases: Phases) -> None:
    """Replaces the record, atomically, where it is another one. Equal runs of equal roots have equal bytes."""
    here = _named(run)

    def relative(prefix: str) -> str:
        # Of the root that a run lies in, as root/runs/name. What lies outside stays where it is when that is moved.
        return os.path.relpath(prefix, here) if Path(prefix).is_relative_to(here.parent.parent) else prefix

    content = msgspec.json.format(msgspec.json.encode(_with_prefixes(phases, relative)), indent=2) + b"\n"
    path = run / PHASES
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)


def _named(path: str | Path) -> Path:
    """The path from the top, by name and not through links: a run may be one, to a disk with no shards beside it."""
    return Path(os.path.normpath(Path(path).absolute()))


def _with_prefixes(phases: Phases, change: Callable[[str], str]) -> Phases:
    replaced = [msgspec.structs.replace(phase, prefix=change(phase.prefix)) for phase in phases.phases]
    return Phases(phases=tuple(replaced))
