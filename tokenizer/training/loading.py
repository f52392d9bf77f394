"""Kernels loaded before they are needed; on a machine that has none yet they are compiled once, and it is said."""

from __future__ import annotations

from pile_toolkit.core.loading import loads_once


@loads_once("counting", seconds=5)
def load_counting() -> None:
    """Loads what counts words, in this process."""
    from tokenizer.training.counting.words import WordCounter

    counter = WordCounter()
    counter.add_texts([b"a"], [1], longest_run=1)
    counter.add_words(counter.words())


@loads_once("merging", seconds=10)
def load_merging() -> None:
    """Loads what merges pairs, in this process."""
    import numpy as np

    from tokenizer.training.counting.words import WordCounts
    from tokenizer.training.merging.merges import find_merges

    find_merges(WordCounts.of({b"ab": 1}), symbol_of_byte=np.arange(256, dtype=np.int32), first_id=256, limit=2)
