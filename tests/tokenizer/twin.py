"""Byte-pair training in plain Python, as it is defined: what the compiled one has to equal."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

from tokenizer.layout import SPECIAL_TOKENS, byte_characters

if TYPE_CHECKING:
    from collections.abc import Mapping


def merges_of_words(counts: Mapping[bytes, int], limit: int) -> list[tuple[str, str]]:
    """Count all pairs again after each merge; the most frequent, then the lowest ids."""
    character_of = byte_characters()
    words = {word: [character_of[byte] for byte in word] for word in counts}
    ids = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *sorted(character_of)])}
    found: list[tuple[str, str]] = []
    while len(found) < limit:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, tokens in words.items():
            for pair in itertools.pairwise(tokens):
                pairs[pair] += counts[word]
        if not pairs:
            break
        left, right = min(pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]))
        found.append((left, right))
        # The library gives a token that is made twice one id; no such token has ever been seen.
        assert left + right not in ids
        ids[left + right] = len(ids)
        words = {word: merged(tokens, left, right) for word, tokens in words.items()}
    return found


def merged(tokens: list[str], left: str, right: str) -> list[str]:
    """The tokens of a word with `left`, `right` replaced from the left."""
    result, position = [], 0
    while position < len(tokens):
        joined = tokens[position : position + 2] == [left, right]
        result.append(left + right if joined else tokens[position])
        position += 2 if joined else 1
    return result
