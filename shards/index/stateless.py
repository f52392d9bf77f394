"""A sample number in, where it starts out: a pure function of (seed, index hash, number), with no end and no state.

The documents stand in the order of the `.idx`, again and again; sample g of that endless text is tokens g * L to
(g + 1) * L. The samples that start in epoch e are ceil(e T / L) to ceil((e + 1) T / L) - 1 of them, for T tokens an
epoch, and a permutation keyed by (seed, index hash, e) decides in which order they are read. So every epoch reads every
token once as an input, whatever is left over at its end begins the next one, and where samples are cut moves from epoch
to epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.seeds import keyed
from shards.index.arrays import places, total_tokens
from shards.index.neox import sample_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Tokens before a sample are counted in 64 bits.
TOKEN_LIMIT = 1 << 62
_BLOCK = 1 << 20


def epoch_table(sizes: NDArray[np.int32], *, sequence_length: int) -> NDArray:
    """[n, 2]: place in the `.idx` and offset of every L-th token of one pass; gpt-neox's sample_idx, unshuffled."""
    tokens = total_tokens(sizes, sequence_length=sequence_length)
    kind = sample_dtype(tokens=tokens, sequence_length=sequence_length, entries=len(sizes))
    rows = (tokens - 1) // sequence_length + 1
    return places(sizes, None, sequence_length=sequence_length, rows=rows, dtype=kind)


class StatelessOrder:
    """The samples of one data set, one length and one seed; `key` names the first two, 32 hexadecimal digits."""

    def __init__(self, table: NDArray, *, sizes: NDArray, sequence_length: int, key: str, seed: int) -> None:
        """`table` is what `epoch_table` makes of the sizes and the length."""
        self.table = table
        self.sizes = sizes
        self.sequence_length = sequence_length
        self.tokens = total_tokens(sizes, sequence_length=sequence_length)
        self._key = bytes.fromhex(key)
        self._seed = seed
        self._latest: tuple[int, NDArray] | None = None

    @property
    def limit(self) -> int:
        """The first sample number that does not exist any more: 2^62 tokens on."""
        return TOKEN_LIMIT // self.sequence_length

    def epoch_of(self, number: int) -> int:
        """The epoch, from 0, in which sample `number` is read."""
        return number * self.sequence_length // self.tokens

    def first_of(self, epoch: int) -> int:
        """The first sample of an epoch."""
        return -(-epoch * self.tokens // self.sequence_length)

    def sequence(self, position: int) -> int:
        """Which sequence stands at a position of the endless text."""
        return position % len(self.sizes)

    def start(self, number: int) -> tuple[int, int]:
        """Position in the endless text and offset of a sample's first token."""
        from shards.index.kernels import permuted

        epoch = self.epoch_of(number)
        first = self.first_of(epoch)
        sample = first + permuted(number - first, self.first_of(epoch + 1) - first, self._round_keys(epoch))
        known, offset = divmod(sample * self.sequence_length % self.tokens, self.sequence_length)
        position = self.table.item(known, 0)
        offset += self.table.item(known, 1)
        while offset >= (size := self.sizes.item(position)):
            position, offset = position + 1, offset - size
        return position, offset

    def starts(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """[n, 2]: position in the endless text and offset of each sample's first token. Numbers are inside `limit`."""
        from shards.index.kernels import fill_starts

        starts = np.empty((len(numbers), 2), np.int64)
        epochs = numbers * self.sequence_length // self.tokens
        # Nearly always all are of one epoch.
        for epoch in [int(epochs[0])] if len(epochs) and (epochs == epochs[0]).all() else np.unique(epochs).tolist():
            rows = np.flatnonzero(epochs == epoch)
            found = np.empty((len(rows), 2), np.int64)
            first = self.first_of(epoch)
            fill_starts(
                numbers[rows],
                first,
                self.first_of(epoch + 1) - first,
                self._round_keys(epoch),
                self.tokens,
                self.sequence_length,
                self.sizes,
                self.table,
                found,
            )
            starts[rows] = found
        return starts

    def reads(self, first: int, stop: int) -> NDArray[np.int64]:
        """Ids of each sequence that samples `first` to `stop` - 1 read as inputs: their first L ids each."""
        return self._reads_before(stop) - self._reads_before(first)

    def _reads_before(self, stop: int) -> NDArray[np.int64]:
        from shards.index.kernels import add_reads

        epoch = self.epoch_of(stop)
        whole = self.first_of(epoch)
        # Whole epochs are the endless text up to where the first sample of the next one starts.
        reads = self.sizes.astype(np.int64)
        reads *= epoch
        none = np.empty(0, np.int32)
        begun = whole * self.sequence_length - epoch * self.tokens
        add_reads(self.sizes, none, np.zeros((1, 2), np.int64), begun, reads)
        for numbers in _spans(whole, stop):
            add_reads(self.sizes, none, self.starts(numbers), self.sequence_length, reads)
        return reads

    def holding(self, sequences: NDArray, starts: NDArray, stops: NDArray, samples: int) -> Iterator[int]:
        """Numbers below `samples`, rising: the samples that hold one of the ids `starts` to `stops` of some sequences.

        The work is that of the samples found and of one pass over the sizes, and not of the samples there are.
        """
        from shards.index.inverse import unpermuted

        before = np.cumsum(self.sizes, dtype=np.int64) - self.sizes
        filled = stops > starts
        firsts, lasts = (before[sequences] + starts)[filled], (before[sequences] + stops - 1)[filled]
        for epoch in range(self.epoch_of(samples - 1) + 1 if samples and len(firsts) else 0):
            first, end = self.first_of(epoch), self.first_of(epoch + 1)
            found = [np.empty(0, np.int64)]
            # A sample that starts in this pass may end in the next; it holds one id more than its length.
            for passed in (epoch * self.tokens, (epoch + 1) * self.tokens):
                lows = np.maximum(-(-(firsts + passed) // self.sequence_length) - 1, first)
                highs = np.minimum((lasts + passed) // self.sequence_length + 1, end)
                found += [np.arange(low, high) for low, high in zip(lows.tolist(), highs.tolist(), strict=True)]
            places = np.unique(np.concatenate(found)) - first
            numbers = unpermuted(places, end - first, self._round_keys(epoch)) + first
            yield from np.sort(numbers[numbers < samples]).tolist()

    def _round_keys(self, epoch: int) -> NDArray[np.uint64]:
        from shards.index.kernels import ROUNDS

        latest = self._latest
        if latest is None or latest[0] != epoch:
            parts = [keyed(self._seed, "stateless sample order", self._key, epoch, turn) for turn in range(ROUNDS)]
            # One assignment, so that threads in different epochs at most compute it again.
            self._latest = latest = (epoch, np.array(parts, np.uint64))
        return latest[1]


def _spans(first: int, stop: int) -> Iterator[NDArray[np.int64]]:
    return (np.arange(start, min(start + _BLOCK, stop), dtype=np.int64) for start in range(first, stop, _BLOCK))
