"""A prefix in, all that can be said of its ids out: use of the vocabulary, special and white-space tokens, epochs.

What an id stands for is the caller's knowledge, handed in as a `Vocabulary`; without it ids stay numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from shards.dataset import TokenDataset
from shards.stats.counted import ShardStats, shard_stats
from shards.stats.ids import IdCounts, count_all_ids
from shards.stats.table import write_id_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pile_toolkit.core.console import Reporter
    from shards.stats.vocabulary import Vocabulary

LISTED = 20


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """One id: `stored` times in the `.bin`, `read` times in one epoch, and its share of the tokens read."""

    id: int
    token: str | None
    stored: int
    read: int
    share: float


class WhiteSpaceUse(msgspec.Struct, frozen=True, kw_only=True):
    """All white-space tokens together; `ids` of them are in the vocabulary, `used` occur."""

    ids: int
    used: int
    stored: int
    read: int
    share: float


class TokenUse(msgspec.Struct, frozen=True, kw_only=True):
    """How the ids are used. `least` are the rarest that occur; what needs a tokenizer is None or empty without one.

    `padding` is the share of ids that fill up samples: 0, as samples are cut from one stream. `unread_tokens` are
    stored and read by no sequence, such as documents of weight 0.
    """

    ids: int
    used: int
    unused: int
    unused_examples: list[TokenRow]
    unread_tokens: int
    most: list[TokenRow]
    least: list[TokenRow]
    special: list[TokenRow]
    white_space: WhiteSpaceUse | None
    padding: float = 0.0


class ComponentEpochs(msgspec.Struct, frozen=True, kw_only=True):
    """How often a run reads each stored document of a component, on average: its epochs times the copies."""

    slug: str
    epochs: float
    tokens: int


class RunLength(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of so many samples makes of a prefix; `epochs` are passes over the index, copies and all."""

    sequence_length: int
    samples: int
    tokens: int
    epochs: float
    components: list[ComponentEpochs]


class ShardStudy(ShardStats, frozen=True, kw_only=True):
    """`ShardStats`, the use of ids, and the epochs of a run where its length was given."""

    token_use: TokenUse
    run: RunLength | None


def study_shards(
    prefix: str | Path,
    *,
    vocabulary: Vocabulary | None = None,
    sequence_length: int | None = None,
    samples: int | None = None,
    listed: int = LISTED,
    parquet: Path | None = None,
    jobs: int = 1,
    reporter: Reporter = SILENT,
) -> ShardStudy:
    """Counts one pair of files, every id once; `listed` most, least and unused ids come by name, all in `parquet`.

    Raises UsageError where the pair is absent, or one of `sequence_length` and `samples` is given without the other;
    CorruptData where the files do not fit together or an id lies outside the vocabulary.
    """
    if (sequence_length is None) != (samples is None):
        raise UsageError(
            "the length of a run takes both: the sequence length and the number of samples",
            hint="--length 2048 --samples 1000",
        )
    stats = shard_stats(prefix)
    with TokenDataset(prefix) as dataset:
        size = vocabulary.size if vocabulary else None
        counts = count_all_ids(dataset, vocab_size=size, jobs=jobs, reporter=reporter)
        unread = unread_tokens(dataset)
    if parquet is not None:
        write_id_table(parquet, counts, vocabulary, stats)
    return ShardStudy(
        **msgspec.structs.asdict(stats),
        token_use=token_use(counts, vocabulary, listed=listed, unread_tokens=unread),
        run=run_length(stats, sequence_length=sequence_length, samples=samples)
        if sequence_length and samples
        else None,
    )


def unread_tokens(dataset: TokenDataset) -> int:
    """Ids of the `.bin` that no sequence holds."""
    starts = dataset.pointers // dataset.dtype.itemsize
    order = np.argsort(starts, kind="stable")
    begins, ends = starts[order], (starts + dataset.sizes)[order]
    reached = np.concatenate([[0], np.maximum.accumulate(ends)])
    gaps = np.maximum(np.append(begins, len(dataset.ids)) - reached, 0)
    return int(gaps.sum())


def token_use(counts: IdCounts, vocabulary: Vocabulary | None, *, listed: int, unread_tokens: int) -> TokenUse:
    """The rows that people look at, out of the counts of every id; equal counts stand by their ids."""
    total = int(counts.read.sum())

    def rows(ids: NDArray) -> list[TokenRow]:
        return [_row(int(token_id), counts, vocabulary, total) for token_id in ids]

    used = np.flatnonzero(counts.stored)
    # Stable on what was sorted by id, so that equal counts do not depend on the sort.
    by_use = used[np.argsort(counts.read[used], kind="stable")]
    most = used[np.argsort(-counts.read[used], kind="stable")]
    unused = np.flatnonzero(counts.stored == 0)
    return TokenUse(
        ids=len(counts.stored),
        used=len(used),
        unused=len(unused),
        unused_examples=rows(unused[:listed]),
        unread_tokens=unread_tokens,
        most=rows(most[:listed]),
        least=rows(by_use[:listed]),
        special=rows(np.array(sorted(vocabulary.special.values()), int)) if vocabulary else [],
        white_space=_white_space(counts, vocabulary, total) if vocabulary else None,
    )


def _row(token_id: int, counts: IdCounts, vocabulary: Vocabulary | None, total: int) -> TokenRow:
    read = int(counts.read[token_id])
    return TokenRow(
        id=token_id,
        token=vocabulary.token(token_id) if vocabulary else None,
        stored=int(counts.stored[token_id]),
        read=read,
        share=read / total if total else 0.0,
    )


def _white_space(counts: IdCounts, vocabulary: Vocabulary, total: int) -> WhiteSpaceUse:
    mask = vocabulary.white_space
    read = int(counts.read[mask].sum())
    return WhiteSpaceUse(
        ids=int(np.count_nonzero(mask)),
        used=int(np.count_nonzero(counts.stored[mask])),
        stored=int(counts.stored[mask].sum()),
        read=read,
        share=read / total if total else 0.0,
    )


def run_length(stats: ShardStats, *, sequence_length: int, samples: int) -> RunLength:
    """The epochs of a run of `samples` samples; raises UsageError where there is nothing to read or to ask for."""
    if sequence_length < 1 or samples < 1 or not stats.tokens:
        raise UsageError(
            f"a run of {samples:,} samples of length {sequence_length:,} over {stats.tokens:,} tokens makes no epochs",
            hint="--length 2048 --samples 1000",
        )
    tokens = sequence_length * samples
    epochs = tokens / stats.tokens
    return RunLength(
        sequence_length=sequence_length,
        samples=samples,
        tokens=tokens,
        epochs=epochs,
        components=[
            ComponentEpochs(
                slug=row.slug,
                epochs=epochs * row.tokens / row.stored_tokens if row.stored_tokens else 0.0,
                tokens=round(epochs * row.tokens),
            )
            for row in stats.components
        ],
    )
