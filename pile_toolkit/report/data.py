"""What a report says, as plain data: `reports/report.json` is exactly a `Report`.

Counts are exact integers; shares and other quotients are left to who reads them, so that nothing is rounded twice.
Sections of stages that have not run are None, `runs` is empty then.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pile_toolkit.core.components import FileCounts
from pile_toolkit.core.manifest import OutputFile
from pile_toolkit.report.run_data import Run
from pipelines.decontamination.decontaminate import ComponentContamination, SetContamination
from pipelines.filters.stage import Filtered
from pipelines.stats.results import GroupStatistics
from shards.stats import ShardStats


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One finished stage; paths of `outputs` are relative to the root, or absolute where they lie outside it.

    `other_inputs` names what lay there when the stage ran and does not any more: its figures are of that.
    """

    stage: str
    folder: str
    elapsed_s: float
    parameters: dict[str, Any]
    other_inputs: list[str]
    outputs: list[OutputFile]


class RejectedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that is no document."""

    file: str
    line: int
    reason: str


class ComponentFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A component on this disk; `excerpt` is how its first document begins, None where that cannot be read.

    `filtered` is what filters did to it, None where none were asked for; rejects are those of its source then.
    """

    slug: str
    source: str
    documents: int
    text_bytes: int
    rejects: int
    files: list[FileCounts]
    first_rejects: list[RejectedLine]
    excerpt: str | None
    filtered: Filtered | None = None


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """What is on this disk; `text_bytes` are UTF-8 bytes of texts."""

    documents: int
    text_bytes: int
    rejects: int
    components: list[ComponentFiles]


class LengthBucket(msgspec.Struct, frozen=True, kw_only=True):
    """Documents of `least_bytes` to `most_bytes` UTF-8 bytes, both included."""

    least_bytes: int
    most_bytes: int
    kept: int
    removed: int


class ComponentDedup(msgspec.Struct, frozen=True, kw_only=True):
    """One component before the build; `median_bytes` is that of all its documents, removed ones too."""

    slug: str
    documents: int
    kept: int
    exact: int
    near: int
    contaminated: int
    median_bytes: int
    lengths: list[LengthBucket]


class ContaminatedComponent(ComponentContamination, frozen=True, kw_only=True):
    """What deduplication counted of one component, and its name."""

    slug: str


class ContaminatingSet(SetContamination, frozen=True, kw_only=True):
    """What deduplication counted of one evaluation set, and its name."""

    name: str


class Contamination(msgspec.Struct, frozen=True, kw_only=True):
    """What corpus and evaluation sets share; `common_ngrams` were in more documents than count as contaminated."""

    documents: int
    dropped: int
    cut: int
    characters: int
    ngrams: int
    common_ngrams: int
    components: list[ContaminatedComponent]
    sets: list[ContaminatingSet]


class Dedup(msgspec.Struct, frozen=True, kw_only=True):
    """Which documents stay; `clusters` counts those of at least two documents, `threshold` is None without MinHash.

    `page` is where more is said of duplicates, relative to this report, None where nobody wrote it.
    """

    method: str
    threshold: float | None
    documents: int
    kept: int
    clusters: int
    components: list[ComponentDedup]
    lengths: list[LengthBucket]
    contamination: Contamination | None
    page: str | None


class ComponentMixture(msgspec.Struct, frozen=True, kw_only=True):
    """One component of the mixture: `copies` and their `bytes` are of all splits; `published_percent` is the Pile's.

    Realised epochs are `train_copies / train_documents`.
    """

    slug: str
    documents: int
    epochs: float
    copies: int
    bytes: int
    published_percent: float | None
    train_documents: int
    train_copies: int
    val_documents: int
    test_documents: int


class Mixture(msgspec.Struct, frozen=True, kw_only=True):
    """The plan; `splits` counts copies, `without_held_out` lists components absent from val and test."""

    documents: int
    copies: int
    bytes: int
    splits: dict[str, int]
    components: list[ComponentMixture]
    without_held_out: list[str]


class Corpus(msgspec.Struct, frozen=True, kw_only=True):
    """The `.jsonl.zst` files: copies and their text bytes per split."""

    files: int
    documents: dict[str, int]
    text_bytes: dict[str, int]


class VocabularyPart(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of token, and the ids between which it lies."""

    name: str
    tokens: int
    first_id: int
    last_id: int


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One token; bytes of `text` that are no UTF-8 are written as `\\xe2`."""

    id: int
    text: str
    bytes: int


class TokenLength(msgspec.Struct, frozen=True, kw_only=True):
    """How many merged tokens stand for so many bytes."""

    bytes: int
    tokens: int


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """The tokenizer, the text it was trained on, and its longest merged tokens, longest first."""

    vocab_size: int
    merges: int
    documents: int
    copies: int
    bytes: int
    parts: list[VocabularyPart]
    lengths: list[TokenLength]
    longest: list[Token]


class SplitShards(msgspec.Struct, frozen=True, kw_only=True):
    """One split; `file_bytes` are those of `.bin`, `.idx` and `.docs.arrow`."""

    split: str
    file_bytes: int
    stats: ShardStats


class Shards(msgspec.Struct, frozen=True, kw_only=True):
    """The token shards; `tokenizer` is the hash of the tokenizer that encoded them."""

    vocab_size: int
    tokenizer: str
    dtype: str
    splits: list[SplitShards]


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What `pile stats` counted of the root as it is, and its page, relative to this report.

    `tokenizer` is the hash of the one that counted, None of an estimate, `own` whether it is that of the shards.
    """

    page: str
    tokenizer: str | None
    own: bool
    groups: list[GroupStatistics]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one root folder; `elapsed_s` adds up what the stages took when they last ran."""

    root: str
    generated_at: str
    toolkit_version: str
    seed: int | None
    elapsed_s: float
    stages: list[Stage]
    download: Download | None = None
    dedup: Dedup | None = None
    build: Mixture | None = None
    corpus: Corpus | None = None
    tokenizer: Vocabulary | None = None
    shards: Shards | None = None
    runs: list[Run] = []
    statistics: Statistics | None = None
