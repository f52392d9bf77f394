"""A step number in, this rank's micro-batches of it out: a pure function of the step, with no state to save.

Global batch g of size B is samples [g*B, (g+1)*B) of the index whatever the number of ranks; micro-batch m of it is the
next micro_batch x ranks samples, of which each rank takes its consecutive part. The trainer's own loop and a
`DataLoader`, with or without worker processes, read the same batches: `batch_loader` gives those of any steps.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pile_toolkit.core.errors import CorruptData, PileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from shards.dataset import TokenDataset
    from shards.index import SampleIndex
    from shards.phased import PhasedSamples
    from shards.phases import Phase, Phases
    from trainer.config import AttentionConfig, DataConfig
    from trainer.mixture import Components


# How many documents show whether they end as the recipe says.
LOOKED_AT = 100


class Samples(Protocol):
    """What a sample index offers: sample i as sequence_length + 1 token ids.

    One that has `batch(numbers, dtype=...)` as well is asked for whole batches.
    """

    def __len__(self) -> int: ...

    def tokens(self, i: int) -> np.ndarray: ...


@runtime_checkable
class BatchReader(Protocol):
    """Reads many samples as one array [samples, sequence_length + 1], without Python's lock."""

    def batch(self, numbers: np.ndarray, *, dtype: type) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How a global batch is cut: `accumulation` micro-batches one after another, `ranks` parts of each side by side."""

    global_batch: int
    micro_batch: int
    rank: int
    ranks: int

    def __post_init__(self) -> None:
        at_once = self.micro_batch * self.ranks
        if self.global_batch % at_once:
            fits = [n for n in range(1, self.global_batch + 1) if self.global_batch % (n * self.ranks) == 0]
            raise UsageError(
                f"global_batch {self.global_batch} is not a multiple of micro_batch {self.micro_batch} x ranks "
                f"{self.ranks} = {at_once}",
                hint=f"data.micro_batch={max(n for n in fits if n <= self.micro_batch)}"
                if fits
                else f"a number of ranks that divides {self.global_batch}",
            )

    @property
    def accumulation(self) -> int:
        """Micro-batches of one rank in one step."""
        return self.global_batch // (self.micro_batch * self.ranks)

    def micro_batches(self, step: int) -> Iterator[range]:
        """The sample numbers of this rank in step `step` (from 1), micro-batch by micro-batch."""
        at_once = self.micro_batch * self.ranks
        first = (step - 1) * self.global_batch + self.rank * self.micro_batch
        for micro in range(self.accumulation):
            start = first + micro * at_once
            yield range(start, start + self.micro_batch)

    def samples_of(self, step: int) -> range:
        """All sample numbers of the step, over all ranks."""
        return range((step - 1) * self.global_batch, step * self.global_batch)


def load_batch(samples: Samples, numbers: Sequence[int], *, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Inputs and next tokens, each int64 [samples, sequence_length]. Raises CorruptData for an id out of range."""
    batch = torch.from_numpy(read_tokens(samples, numbers, vocab_size=vocab_size))
    return batch[:, :-1].contiguous(), batch[:, 1:].contiguous()


def read_tokens(samples: Samples, numbers: Sequence[int], *, vocab_size: int | None = None) -> np.ndarray:
    """The ids of these samples, int64 [samples, sequence_length + 1], checked against `vocab_size` where given.

    Raises CorruptData for an id out of range.
    """
    if isinstance(samples, BatchReader):
        tokens = samples.batch(np.asarray(numbers, np.int64), dtype=np.int64)
    else:
        tokens = np.stack([samples.tokens(number) for number in numbers]).astype(np.int64)
    if vocab_size is not None and tokens.size and (tokens.min() < 0 or tokens.max() >= vocab_size):
        row, column = np.argwhere((tokens < 0) | (tokens >= vocab_size))[0]
        raise CorruptData(
            f"sample {numbers[row]} holds token id {tokens[row, column]}, the vocabulary ends at {vocab_size - 1}",
            hint="write the shards again with the tokenizer of this run",
        )
    return tokens


class SampleDataset(Dataset):
    """Samples for torch's own loaders, by number: int64 tensors of sequence_length + 1 ids.

    Pickles as its samples do: an index as what it was asked for, token shards as their prefix, so that worker processes
    map the files themselves.
    """

    def __init__(self, samples: Samples, *, vocab_size: int | None = None) -> None:
        """Ids are checked against `vocab_size` where given."""
        self.samples = samples
        self.vocab_size = vocab_size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Tensor:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: list[int]) -> list[Tensor]:
        """The samples of a batch, read together: rows of one tensor."""
        return list(torch.from_numpy(read_tokens(self.samples, numbers, vocab_size=self.vocab_size)).unbind())


class StepSampler(Sampler[list[int]]):
    """The sample numbers of the steps `first` to `last` of a plan, micro-batch by micro-batch: no state, no shuffling.

    The samples are in the order of training already.
    """

    def __init__(self, plan: BatchPlan, *, first: int, last: int) -> None:
        """Steps count from 1."""
        self.plan = plan
        self.steps = range(first, last + 1)

    def __len__(self) -> int:
        return len(self.steps) * self.plan.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            for numbers in self.plan.micro_batches(step):
                yield list(numbers)


class _Carried(SampleDataset):
    """Samples whose errors travel as values: torch would raise one again with a traceback in place of its sentence."""

    def __getitems__(self, numbers: list[int]) -> list[Tensor] | PileError:  # type: ignore[override]
        try:
            return super().__getitems__(numbers)
        except PileError as error:
            return error


class _Loader(DataLoader):
    """Raises in the process that reads what was raised in the one that read ahead."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, PileError):
                raise batch
            yield batch


def _split_or_error(rows: list[Tensor] | PileError) -> tuple[Tensor, Tensor] | PileError:
    return rows if isinstance(rows, PileError) else split_batch(rows)


def split_batch(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Inputs and next tokens of the samples of a batch, as `load_batch` returns them."""
    return torch.stack([row[:-1] for row in rows]), torch.stack([row[1:] for row in rows])


def batch_loader(
    samples: Samples, plan: BatchPlan, *, first: int, last: int, vocab_size: int | None = None, workers: int = 0
) -> DataLoader:
    """This rank's micro-batches of steps `first` to `last`, in order: what `load_batch` gives for each, read ahead.

    Without `workers` batches are read when they are asked for; with them, so many processes read two batches each in
    advance. Memory is pinned where there is a CUDA device.
    """
    return _Loader(
        _Carried(samples, vocab_size=vocab_size),
        batch_sampler=StepSampler(plan, first=first, last=last),
        collate_fn=_split_or_error,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The first `count` samples are validated on; what the shards do not say of their text is None."""

    samples: Samples
    count: int
    bytes_per_token: float | None
    components: Components | None = None


def offered_phase(prefix: Path, config: DataConfig, *, steps: int) -> Phase:
    """What a run of `steps` global batches would record of these shards if it began with them."""
    from shards.phases import phase_of

    return phase_of(
        prefix,
        sequence_length=config.sequence_length,
        samples=steps * config.global_batch,
        seed=config.seed,
        order=config.order,
    )


def refuse_other_end(prefix: Path, config: AttentionConfig) -> None:
    """Raises UsageError where documents are to be kept apart by an id that none of the first ends with.

    Which id ends a text depends on the tokenizer, and a wrong one would keep nothing apart without a word.
    """
    from shards.dataset import TokenDataset

    if not config.reset_at_eod:
        return
    dataset = TokenDataset(prefix)
    # A document may be several sequences, of which the last has its end.
    last = [stop - 1 for start, stop in itertools.pairwise(dataset.doc_idx[:LOOKED_AT].tolist()) if stop > start]
    ends = {int(dataset[number][-1]) for number in last if dataset.sizes[number]}
    if ends and config.eod_id not in ends:
        found = f"end with {ends.pop():,}" if len(ends) == 1 else f"end with {len(ends)} ids, none of them that"
        raise UsageError(
            f"attention.reset_at_eod keeps documents apart at attention.eod_id {config.eod_id:,}, those of {prefix} "
            f"{found}",
            hint="attention.eod_id = the id of the tokenizer's <|endoftext|>",
        )


def open_training_samples(
    prefix: Path, config: DataConfig, *, steps: int, cache_dir: str | Path | None = None
) -> Samples:
    """The samples of `steps` global batches, in the recipe's order, all of them from these shards.

    Large indexes are kept in `cache_dir`, by default in the user's cache folder: ranks that start together build once.
    """
    from shards.dataset import TokenDataset

    return _indexed(TokenDataset(prefix), config, samples=steps * config.global_batch, cache_dir=cache_dir)


def open_phases(phases: Phases, *, samples: int, cache_dir: str | Path | None = None) -> PhasedSamples:
    """The `samples` samples of a run, numbered through its phases; the index of the last phase is built or found now.

    Raises CorruptData where the shards are not those of the record.
    """
    from shards.phased import PhasedSamples

    phased = PhasedSamples(phases, samples=samples, cache_dir=cache_dir)
    phased.index_of(phases.phases[-1])
    return phased


def open_held_out(
    prefix: Path,
    config: DataConfig,
    *,
    batches: int,
    training: Path | None = None,
    cache_dir: str | Path | None = None,
) -> HeldOut | None:
    """At most `batches` global batches out of one pass over the held-out tokens; None where they fill no sample.

    `training` are the shards whose mixture of components the losses of components are weighted by.
    """
    from shards.dataset import TokenDataset
    from shards.provenance import provenance_path
    from trainer.mixture import components_of

    if not prefix.with_name(f"{prefix.name}.idx").exists():
        return None
    dataset = TokenDataset(prefix)
    count = min((dataset.total_tokens - 1) // config.sequence_length, batches * config.global_batch)
    if count < 1:
        return None
    bytes_per_token = None
    if provenance_path(prefix).exists():
        bytes_per_token = float(dataset.provenance.bytes.sum()) / dataset.total_tokens
    samples = _indexed(dataset, config, samples=count, cache_dir=cache_dir)
    components = components_of(dataset, TokenDataset(training) if training is not None else None)
    return HeldOut(samples=samples, count=count, bytes_per_token=bytes_per_token, components=components)


def finished_epochs(index: SampleIndex, samples: int) -> int:
    """How often the first `samples` samples of an index read all tokens of its shards, or as many as they are.

    In gpt-neox's order the samples of several epochs are shuffled together: their tokens are counted.
    """
    return samples * index.sequence_length // index.dataset.total_tokens


def _indexed(dataset: TokenDataset, config: DataConfig, *, samples: int, cache_dir: str | Path | None) -> Samples:
    from shards.index import SampleIndex

    return SampleIndex.build(
        dataset,
        sequence_length=config.sequence_length,
        samples=samples,
        seed=config.seed,
        order=config.order,
        cache_dir=cache_dir,
    )
