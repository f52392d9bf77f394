"""Two tokenizer.json files in, which tokens and merges only one of them has out."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.jsonfile import TOKENIZER_LIMIT_BYTES, read_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

EXAMPLES = 20


class TokenizerDiff(msgspec.Struct, frozen=True, kw_only=True):
    """`renumbered` tokens are in both with other ids. Merges are numbered from 1, in the order in which they apply.

    `first_merge` is the first that is not the same in both, as "left" and "right", None where one has no more.
    """

    left_tokens: int
    right_tokens: int
    only_left: int
    only_right: int
    renumbered: int
    left_merges: int
    right_merges: int
    merges_only_left: int
    merges_only_right: int
    first_merge: int | None
    first_merge_left: str | None
    first_merge_right: str | None
    examples_left: list[str]
    examples_right: list[str]


def diff_tokenizers(left: Path, right: Path) -> TokenizerDiff:
    """Raises CorruptData where a file is no tokenizer.json."""
    vocabularies, merges = zip(*(_read(path) for path in (left, right)), strict=True)
    first = next((n for n, pair in enumerate(zip_longest(*merges), 1) if pair[0] != pair[1]), None)
    only = [[token for token in one if token not in other] for one, other in (vocabularies, vocabularies[::-1])]
    sets = [set(one) for one in merges]
    return TokenizerDiff(
        left_tokens=len(vocabularies[0]),
        right_tokens=len(vocabularies[1]),
        only_left=len(only[0]),
        only_right=len(only[1]),
        renumbered=sum(vocabularies[1].get(token, number) != number for token, number in vocabularies[0].items()),
        left_merges=len(merges[0]),
        right_merges=len(merges[1]),
        merges_only_left=len(sets[0] - sets[1]),
        merges_only_right=len(sets[1] - sets[0]),
        first_merge=first,
        first_merge_left=_merge(merges[0], first),
        first_merge_right=_merge(merges[1], first),
        examples_left=only[0][:EXAMPLES],
        examples_right=only[1][:EXAMPLES],
    )


def _merge(merges: Sequence[str], number: int | None) -> str | None:
    return merges[number - 1] if number is not None and number <= len(merges) else None


class _Model(msgspec.Struct):
    vocab: dict[str, int]
    merges: list[Any]


class _Added(msgspec.Struct):
    id: int
    content: str


class _Tokenizer(msgspec.Struct):
    model: _Model
    added_tokens: list[_Added] = []


def _read(path: Path) -> tuple[dict[str, int], list[str]]:
    """The vocabulary by id, added tokens included, and the merges as `a b`."""
    found = read_json(path, _Tokenizer, limit_bytes=TOKENIZER_LIMIT_BYTES, what="a tokenizer.json")
    vocabulary = found.model.vocab | {token.content: token.id for token in found.added_tokens}
    merges = [merge if isinstance(merge, str) else " ".join(map(str, merge)) for merge in found.model.merges]
    return dict(sorted(vocabulary.items(), key=lambda item: item[1])), merges
