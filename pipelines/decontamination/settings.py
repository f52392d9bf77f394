"""What counts as contamination, and what becomes of a document in which there is some: rules as data."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from pile_toolkit.core.errors import UsageError
from pipelines.minhash.settings import Folding, unicode_version

NGRAM_WORDS = 13
COMMON_DOCUMENTS = 10
Action = Literal["drop", "cut"]
_LONGEST_NGRAM = 255
# Raised when the same settings come to mean other results.
_FORMAT = 1


class Against(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document is contaminated that shares `ngram` words in a row with an evaluation set.

    A text of an evaluation set that is shorter, but has `shortest` words, is looked for as a whole. N-grams found in
    more than `common` documents are phrases of the language and do not count; None counts all. `cut` takes `window`
    characters on each side along; pieces under `shortest_piece` characters go, and documents that come apart into more
    than `most_pieces` go as a whole. The defaults are those of Brown et al., Language Models are Few-Shot Learners,
    2020, appendix C. Raises UsageError for what cannot be.
    """

    ngram: int = NGRAM_WORDS
    shortest: int = 8
    common: int | None = COMMON_DOCUMENTS
    punctuation: bool = False
    action: Action = "cut"
    window: int = 200
    shortest_piece: int = 200
    most_pieces: int = 10

    def __post_init__(self) -> None:
        _check_range("an n-gram", self.ngram, 2, _LONGEST_NGRAM, "words", hint=f"--against-ngram {NGRAM_WORDS}")
        _check_range("the shortest text looked for", self.shortest, 1, _LONGEST_NGRAM, "words", hint="shortest=8")
        for name in ("window", "shortest_piece", "most_pieces"):
            _check_range(name, getattr(self, name), 0, 1 << 32, "", hint=f"{name}=200")
        if self.common is not None:
            hint = f"--against-common {COMMON_DOCUMENTS}"
            _check_range("the limit of common n-grams", self.common, 1, 1 << 62, "documents", hint=hint)
        if self.action not in get_args(Action):
            known = " or ".join(get_args(Action))
            raise UsageError(f"unknown action {self.action!r}", hint=f"--against-action {known}")

    @property
    def folding(self) -> Folding:
        """What is done to texts before they are compared: as for MinHash, and punctuation separates words."""
        return Folding(remove_punctuation=not self.punctuation)

    def parameters(self, digest: str) -> dict[str, Any]:
        """All that the result depends on beside the documents; `digest` is that of the evaluation sets' content."""
        described = msgspec.structs.asdict(self)
        return {**described, "content": digest, "unicode": unicode_version(), "format": _FORMAT}


def _check_range(name: str, value: object, least: int, most: int, unit: str, *, hint: str) -> None:
    if type(value) is not int or not least <= value <= most:
        units = f" {unit}" if unit else ""
        raise UsageError(f"{name} is {value!r}{units}, it lies between {least} and {most:,}", hint=hint)
