"""What is told of a component or a split, and where each figure is from."""

from __future__ import annotations

from typing import Literal

import msgspec

from pile_toolkit.core.stages import StageResult
from pipelines.stats.lengths import LengthStatistics

Of = Literal["components", "plan", "all"]
TokensFrom = Literal["shards", "encoded", "shards and encoded", "estimate"]


class LanguageShare(msgspec.Struct, frozen=True, kw_only=True):
    """One language: documents of the sample that are in it, copies counted, and about how many UTF-8 bytes of all.

    Of a component whose sample is all of it, both are exact.
    """

    language: str
    documents: int
    bytes: int
    share: float


class DuplicateShare(msgspec.Struct, frozen=True, kw_only=True):
    """What deduplication removed: documents and bytes, and their shares of the component."""

    exact: int
    near: int
    contaminated: int
    removed: int
    removed_bytes: int
    documents_share: float
    bytes_share: float


class Compression(msgspec.Struct, frozen=True, kw_only=True):
    """UTF-8 bytes of text per byte of a file: `ratio` of the component's files as they are.

    `zstd3_ratio` is measured: the lines of a keyed sample of documents, zstd level 3, one frame per file.
    """

    file_bytes: int
    ratio: float | None
    sample_documents: int
    sample_bytes: int
    zstd3_bytes: int
    zstd3_ratio: float | None


class GroupStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The documents of a component (None: of all) as they are, or as the plan has them in a split (None: in all).

    In the plan everything counts copies, but for `documents`. `tokens` include the end-of-text of each document; as an
    estimate they have no lengths. What nobody could tell is None.
    """

    of: Literal["components", "plan"]
    component: str | None
    split: str | None
    documents: int
    copies: int
    bytes: int
    characters: int
    mean_bytes: float | None
    tokens: int
    tokens_from: TokensFrom
    bytes_per_token: float | None
    lengths: dict[str, LengthStatistics]
    languages: list[LanguageShare] | None = None
    duplicates: DuplicateShare | None = None
    compression: Compression | None = None


class StatisticsResult(StageResult, frozen=True, kw_only=True):
    """All groups, components first, each kind closed by its total; `notes` say what is missing and why.

    `text_bytes` are those of all components, which were read.
    """

    root: str
    text_bytes: int
    tokenizer: str | None
    detector: str | None
    groups: list[GroupStatistics]
    notes: list[str]

    def total(self, of: Literal["components", "plan"], split: str | None = None) -> GroupStatistics | None:
        """The group of all components, None where it was not counted."""
        totals = (row for row in self.groups if row.component is None)
        return next((row for row in totals if row.of == of and row.split == split), None)
