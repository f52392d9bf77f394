"""Words in, each with the number of its occurrences: a table that grows with the distinct words only.

In memory: about 32 bytes over the load of the table (at most 5/8, at least 5/16) for each distinct word, and the bytes
of those longer than 15. While the table grows, the old and the new one are there together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.files import atomic_path
from tokenizer.pretokens.kernels import PADDING
from tokenizer.pretokens.tables import unicode_tables
from tokenizer.training.counting import kernels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SMALLEST_TABLE = 1 << 16
SMALLEST_ARENA = 1 << 16
# Pre-tokens looked up together; their keys stay in the second cache.
PRETOKENS_AT_ONCE = 1 << 11


class WordCounts(NamedTuple):
    """Distinct words: number i is `data[ends[i - 1]:ends[i]]` and occurs `counts[i]` times; uint8, int64, int64."""

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, counts: dict[bytes, int]) -> WordCounts:
        """From a dictionary."""
        return cls(
            np.frombuffer(b"".join(counts), np.uint8),
            np.cumsum([len(word) for word in counts], dtype=np.int64),
            np.array(list(counts.values()), np.int64),
        )

    def __len__(self) -> int:
        return len(self.ends)


class WordCounter:
    """Counts words of texts, or words that were counted elsewhere."""

    def __init__(self) -> None:
        self._table = np.zeros((SMALLEST_TABLE, 4), np.uint64)
        self._arena = np.empty(SMALLEST_ARENA, np.uint8)
        self._state = np.zeros(kernels.STATE_SIZE, np.int64)
        self._ends = np.empty(PRETOKENS_AT_ONCE, np.int64)
        self._keys = np.empty((PRETOKENS_AT_ONCE, 4), np.uint64)

    def __len__(self) -> int:
        return int(self._state[kernels.USED])

    def add_texts(self, texts: Iterable[bytes], counts: Iterable[int], *, longest_run: int) -> None:
        """Counts the words of texts in UTF-8, each text as often as `counts` says.

        Runs of 2 to `longest_run` spaces are no words. Texts are joined for this, so they should be some at a time.
        """
        texts = list(texts)
        text = np.frombuffer(b"".join([*texts, bytes(PADDING)]), np.uint8)
        text_ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        weights = np.fromiter(counts, np.int64, len(texts))
        self._state[kernels.TEXT] = self._state[kernels.POSITION] = 0
        tables = unicode_tables()
        while not kernels.count_texts(
            text, text_ends, weights, longest_run, *tables, self._ends, self._keys, *self._room()
        ):
            self._grow(len(self._ends), len(text))

    def add_words(self, words: WordCounts) -> None:
        """Adds words that were counted elsewhere."""
        data = np.concatenate([words.data, np.zeros(PADDING, np.uint8)])
        self._state[kernels.TEXT] = 0
        while not kernels.count_words(data, words.ends, words.counts, *self._room()):
            self._grow(1, len(data))

    def words(self, *, least: int = 1) -> WordCounts:
        """The words that occur at least so often, in no particular order."""
        return self.parts(1, least=least)[0]

    def parts(self, parts: int, *, least: int = 1) -> list[WordCounts]:
        """The words in so many parts; which part a word is in depends on the word only."""
        words, sizes = np.zeros(parts, np.int64), np.zeros(parts, np.int64)
        kernels.measure_words(self._table, least, parts, words, sizes)
        return [self._part(part, parts, least, int(words[part]), int(sizes[part])) for part in range(parts)]

    def _part(self, part: int, parts: int, least: int, words: int, size: int) -> WordCounts:
        found = WordCounts(np.empty(size, np.uint8), np.empty(words, np.int64), np.empty(words, np.int64))
        kernels.list_words(self._table, self._arena, least, parts, part, *found)
        return found

    def _room(self) -> tuple[NDArray[np.uint64], NDArray[np.uint8], int, NDArray[np.int64]]:
        return self._table, self._arena, len(self._table) * 5 // 8, self._state

    def _grow(self, words: int, text_bytes: int) -> None:
        """Makes room for so many further words, or for the bytes of long ones."""
        used, arena_used = self._state[kernels.USED], int(self._state[kernels.ARENA_USED])
        if used + words > len(self._table) * 5 // 8:
            larger = np.zeros((2 * len(self._table), 4), np.uint64)
            kernels.move_rows(self._table, larger)
            self._table = larger
        if arena_used + text_bytes > len(self._arena):
            larger_arena = np.empty(2 * len(self._arena) + text_bytes, np.uint8)
            larger_arena[:arena_used] = self._arena[:arena_used]
            self._arena = larger_arena

    def below(self, least: int) -> Dropped:
        """How many words occur less than so often, and how often together."""
        counts = self._table[:, kernels.COUNT]
        rare = counts[(self._table[:, kernels.SECOND] > 0) & (counts < np.uint64(least))]
        return Dropped(len(rare), int(rare.sum(dtype=np.int64)))


class Dropped(NamedTuple):
    """Distinct words that were left out, and how often they occurred."""

    words: int
    occurrences: int

    def __str__(self) -> str:
        return f"left out {self.words:,} rare words, which occur {self.occurrences:,} times"


def prune(counters: Iterable[WordCounter], least: int) -> tuple[WordCounts, Dropped]:
    """The words of all counters, no word in two of them, that occur at least so often, and what was left out."""
    kept = []
    dropped = np.zeros(2, np.int64)
    for counter in counters:
        kept.append(counter.words(least=least))
        dropped += counter.below(least)
    return joined(kept), Dropped(*dropped.tolist())


def joined(parts: Sequence[WordCounts]) -> WordCounts:
    """Parts that have no word in common as one."""
    starts = np.cumsum([0, *(len(part.data) for part in parts)])
    empty = WordCounts.of({})
    return WordCounts(
        np.concatenate([empty.data, *(part.data for part in parts)]),
        np.concatenate([empty.ends, *(part.ends + start for part, start in zip(parts, starts, strict=False))]),
        np.concatenate([empty.counts, *(part.counts for part in parts)]),
    )


def write_parts(path: Path, parts: Sequence[WordCounts]) -> list[int]:
    """Writes parts into one file; returns where each begins, for `read_part`."""
    starts = []
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        for part in parts:
            starts.append(stream.tell())
            for column in part:
                np.save(stream, column, allow_pickle=False)
    return starts


def read_part(path: Path, start: int) -> WordCounts:
    """One part of a file."""
    with path.open("rb") as stream:
        stream.seek(start)
        return WordCounts(*(np.load(stream, allow_pickle=False) for _ in WordCounts._fields))
