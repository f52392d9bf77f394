"""Kernels loaded before they are needed; on a machine that has none yet they are compiled once, and it is said."""

from __future__ import annotations

import functools


@functools.cache
def load_counting() -> None:
    """Loads what counts words, in this process."""
    from pile_toolkit.core.kernels import load_once
    from tokenizer.training.counting.words import WordCounter

    def count() -> None:
        counter = WordCounter()
        counter.add_texts([b"a"], [1], longest_run=1)
        counter.add_words(counter.words())

    load_once("counting", count, seconds=5)


@functools.cache
def load_merging() -> None:
    """Loads what merges pairs, in this process."""
    import numpy as np

    from pile_toolkit.core.kernels import load_once
    from tokenizer.training.counting.words import WordCounts
    from tokenizer.training.merging.merges import find_merges

    def merge() -> None:
        find_merges(WordCounts.of({b"ab": 1}), symbol_of_byte=np.arange(256, dtype=np.int32), first_id=256, limit=2)

    load_once("merging", merge, seconds=10)
