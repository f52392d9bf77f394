"""Decontamination as its documentation says it, in plain Python: tuples of words in sets, one character at a time."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

WINDOW = PIECE = 200
MOST_PIECES = 10


def words_of(text: str, *, punctuation: bool = False) -> tuple[str, ...]:
    """The folded words of a text."""
    folded = unicodedata.normalize("NFC", text).casefold()
    if not punctuation:
        folded = "".join(" " if unicodedata.category(character)[0] in "PS" else character for character in folded)
    return tuple(folded.split())


def strings(value: Any) -> list[str]:
    """All strings of a JSON value, in order."""
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in strings(item)]


def lists(value: Any, before: list[str]) -> list[tuple[int, list[int]]]:
    """Of each list of a record the string before it and the first one of each element; `before` collects strings.

    Strings are named by their place among all of the record.
    """
    found = []
    if isinstance(value, str):
        before.append(value)
    elif isinstance(value, dict):
        for item in value.values():
            found += lists(item, before)
    elif isinstance(value, list):
        ahead, firsts = len(before) - 1, []
        for item in value:
            firsts += [len(before)] if strings(item) else []
            found += lists(item, before)
        found += [(ahead, firsts)] if ahead >= 0 and len(firsts) > 1 else []
    return found


def grams(words: tuple[str, ...], size: int) -> set[tuple[str, ...]]:
    """All `size` words in a row."""
    return {words[at : at + size] for at in range(len(words) - size + 1)}


def sought(value: Any, size: int = 13, shortest: int = 8) -> set[tuple[str, ...]]:
    """All n-grams that are looked for of one record."""
    texts = strings(value)
    alone = [words_of(text) for text in texts]
    found = grams(tuple(word for words in alone for word in words), size)
    whole = tuple(word for words in alone for word in words)
    found |= {words for words in [*alone, whole] if shortest <= len(words) < size}
    options = lists(value, [])
    for before, firsts in options:
        for option in firsts[1:]:
            found |= grams(alone[before][1 - size :] + alone[option][: size - 1], size)
    blanks = [place for place, text in enumerate(texts) if text.split(" ").count("_") == 1][:1]
    for blank in blanks:
        for option in {place for _, firsts in options for place in firsts} - {blank}:
            parts = texts[blank].split(" ")
            found |= _around(parts, parts.index("_"), texts[option], size, shortest)
    return found


def _around(parts: list[str], at: int, option: str, size: int, shortest: int) -> set[tuple[str, ...]]:
    before, after = words_of(" ".join(parts[:at])), words_of(" ".join(parts[at + 1 :]))
    words = before[1 - size :] + words_of(option) + after[: size - 1]
    if len(words) >= size:
        return grams(words, size)
    return {words} if len(words) >= shortest else set()


def read_records(path: Path) -> list[Any]:
    """The records of a `.jsonl` file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def spans_of(text: str) -> list[tuple[int, int]]:
    """Where the words of a text stand that NFC leaves alone, a character at a time."""
    assert unicodedata.is_normalized("NFC", text)
    spans, start = [], None
    for at, character in enumerate([*text, " "]):
        separates = not words_of(character)
        if start is not None and separates:
            spans.append((start, at))
            start = None
        elif start is None and not separates:
            start = at
    return spans


class Hit(NamedTuple):
    """Words `first` to `last` of a text are an n-gram that is looked for."""

    first: int
    last: int
    ngram: tuple[str, ...]


def hits_of(text: str, ngrams: set[tuple[str, ...]]) -> list[Hit]:
    """All hits in a text, in order."""
    words, sizes = words_of(text), sorted({len(ngram) for ngram in ngrams})
    return [
        Hit(at, at + size - 1, words[at : at + size])
        for at in range(len(words))
        for size in sizes
        if at + size <= len(words) and words[at : at + size] in ngrams
    ]


def pieces_of(text: str, spans: list[tuple[int, int]], hits: list[Hit]) -> list[tuple[int, int]] | None:
    """What stays of a text with hits: characters, None where all of it goes."""
    gone = [False] * len(text)
    for hit in hits:
        start, end = spans[hit.first][0] - WINDOW, spans[hit.last][1] + WINDOW
        start = max([stop for _, stop in spans if stop <= start], default=0)
        end = min([begin for begin, _ in spans if begin >= end], default=len(text))
        gone[start:end] = [True] * (end - start)
    pieces, at = [], 0
    while at < len(text):
        if gone[at]:
            at += 1
            continue
        start = at
        while at < len(text) and not gone[at]:
            at += 1
        pieces.append((start, at))
    long = [(start, end) for start, end in pieces if end - start >= PIECE]
    return long if long and len(pieces) <= MOST_PIECES else None
