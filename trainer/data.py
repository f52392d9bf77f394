"""A step number in, this rank's micro-batches of it out: a pure function of the step, with no state to save.

Global batch g of size B is samples [g*B, (g+1)*B) of the index whatever the number of ranks; micro-batch m of it is the
next micro_batch x ranks samples, of which each rank takes its consecutive part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from pile_toolkit.core.errors import CorruptData, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from shards.dataset import TokenDataset
    from trainer.config import DataConfig


class Samples(Protocol):
    """What a sample index offers: sample i as sequence_length + 1 token ids."""

    def __len__(self) -> int: ...

    def tokens(self, i: int) -> np.ndarray: ...


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


def load_batch(samples: Samples, numbers: range | list[int], *, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Inputs and next tokens, each int64 [samples, sequence_length]. Raises CorruptData for an id out of range."""
    tokens = np.stack([samples.tokens(number) for number in numbers]).astype(np.int64)
    if tokens.min() < 0 or tokens.max() >= vocab_size:
        row = int(np.flatnonzero(((tokens < 0) | (tokens >= vocab_size)).any(axis=1))[0])
        raise CorruptData(
            f"sample {numbers[row]} holds token id {tokens[row].max()}, the vocabulary ends at {vocab_size - 1}",
            hint="write the shards again with the tokenizer of this run",
        )
    batch = torch.from_numpy(tokens)
    return batch[:, :-1].contiguous(), batch[:, 1:].contiguous()


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The first `count` samples are validated on; `bytes_per_token` of the text is None where the shards do not say."""

    samples: Samples
    count: int
    bytes_per_token: float | None


def open_training_samples(prefix: Path, config: DataConfig, *, steps: int) -> Samples:
    """The samples of `steps` global batches, in the recipe's order."""
    from shards.dataset import TokenDataset

    return _indexed(TokenDataset(prefix), config, samples=steps * config.global_batch)


def open_held_out(prefix: Path, config: DataConfig, *, batches: int) -> HeldOut | None:
    """At most `batches` global batches out of one pass over the held-out tokens; None where they fill no sample."""
    from shards.dataset import TokenDataset
    from shards.provenance import provenance_path

    if not prefix.with_name(f"{prefix.name}.idx").exists():
        return None
    dataset = TokenDataset(prefix)
    count = min((dataset.total_tokens - 1) // config.sequence_length, batches * config.global_batch)
    if count < 1:
        return None
    bytes_per_token = None
    if provenance_path(prefix).exists():
        bytes_per_token = float(dataset.provenance.bytes.sum()) / dataset.total_tokens
    return HeldOut(samples=_indexed(dataset, config, samples=count), count=count, bytes_per_token=bytes_per_token)


def data_identity(prefix: Path) -> str:
    """A digest of the token shards: by their manifest, which holds content hashes, else by sizes and pointers."""
    from pile_toolkit.core.manifest import read_manifest
    from shards.dataset import TokenDataset

    manifest = read_manifest(prefix.parent)
    return TokenDataset(prefix).hash if manifest is None else manifest.digest()


def _indexed(dataset: TokenDataset, config: DataConfig, *, samples: int) -> Samples:
    from shards.index import SampleIndex

    return SampleIndex.build(
        dataset, sequence_length=config.sequence_length, samples=samples, seed=config.seed, order=config.order
    )
