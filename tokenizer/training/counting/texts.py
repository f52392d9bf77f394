"""Texts in, word counts out: normalized, cut and counted as the `tokenizers` library does before it trains.

A text is held once or twice at a time, with about a megabyte of others: what grows is the table of distinct words.
"""

from __future__ import annotations

import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING

from tokenizer.encoder import lone_surrogate
from tokenizer.normalization.nfc import normalize
from tokenizer.training.counting.words import WordCounter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tokenizer.training.request import TextRules

# Texts counted in one call: more than that gains nothing.
BATCH_BYTES = 1 << 20


def count_texts(texts: Iterable[tuple[str, int]], rules: TextRules, *, threads: int = 1) -> WordCounter:
    """The words of texts, each text as often as the number beside it says; `threads` change nothing but the time.

    Raises CorruptData for a lone surrogate, naming the number of the text.
    """
    counters = [WordCounter() for _ in range(threads)]
    joined = batches(texts, rules)
    if threads == 1:
        for pieces, counts in joined:
            counters[0].add_texts(pieces, counts, longest_run=rules.longest_run)
        return counters[0]
    idle: SimpleQueue[WordCounter] = SimpleQueue()
    for counter in counters:
        idle.put(counter)

    def count(pieces: list[bytes], counts: list[int]) -> None:
        counter = idle.get()
        try:
            counter.add_texts(pieces, counts, longest_run=rules.longest_run)
        finally:
            idle.put(counter)

    with ThreadPoolExecutor(threads) as pool:
        _run_ahead((pool.submit(count, *batch) for batch in joined), 2 * threads)
    first, *others = counters
    while others:
        first.add_words(others.pop().words())
    return first


def _run_ahead(submitted: Iterator, most: int) -> None:
    """Waits for all, never more than `most` at a time: texts must not pile up before threads that are busy."""
    waiting: deque = deque()
    for future in submitted:
        waiting.append(future)
        if len(waiting) == most:
            waiting.popleft().result()
    for future in waiting:
        future.result()


def batches(texts: Iterable[tuple[str, int]], rules: TextRules) -> Iterator[tuple[list[bytes], list[int]]]:
    """Texts in UTF-8 as they are to be counted, some at a time, with how often each of them counts."""
    pieces: list[bytes] = []
    counts: list[int] = []
    size = 0
    for number, (text, count) in enumerate(texts):
        if count == 0:
            continue
        data = normalize(_utf8(text, number)) if rules.nfc else _utf8(text, number)
        added = _prefixed(data, rules) if rules.add_prefix_space else [data]
        pieces += added
        counts += [count] * len(added)
        size += len(data)
        if size >= BATCH_BYTES:
            yield pieces, counts
            pieces, counts, size = [], [], 0
    if pieces:
        yield pieces, counts


def _utf8(text: str, number: int) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise lone_surrogate(f"text {number}", error) from None


def _prefixed(data: bytes, rules: TextRules) -> list[bytes]:
    """The pieces between runs of spaces, each with a space before it where it has none."""
    pieces = [data]
    if rules.max_space_run > 1:
        pieces = re.split(rb" {2,%d}" % rules.max_space_run, data)
    return [piece if piece.startswith(b" ") else b" " + piece for piece in pieces if piece]
