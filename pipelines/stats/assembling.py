"""What tasks counted in, a component's groups and the totals of all out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from pile_toolkit.core.plan import SPLITS
from pipelines.stats.counting import AS_THEY_ARE, LENGTHS_FILE, TOKENS, UNITS, counted_of
from pipelines.stats.lengths import EMPTY, merged, of_key, study
from pipelines.stats.results import Compression, DuplicateShare, GroupStatistics, LanguageShare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from pile_toolkit.core.components import ComponentDocuments
    from pipelines.stats.counting import FileCounts
    from pipelines.stats.lengths import Lengths
    from pipelines.stats.results import TokensFrom

ALL_SPLITS = "all"


class TokenKnowledge(NamedTuple):
    """What is known of tokens beside those that tasks encoded: in shards by (component, split), and a guess."""

    shards: Mapping[tuple[str, str | None], Lengths]
    per_byte: float


class Group(NamedTuple):
    """One group before its figures are worked out; `encoded` of the lengths in tokens are not from shards."""

    of: Literal["components", "plan"]
    component: str | None
    split: str | None
    documents: int
    lengths: list[Lengths]
    encoded: int
    languages: dict[str, tuple[int, int]] | None
    tokens_per_byte: float


def component_groups(
    component: ComponentDocuments,
    folders: Sequence[Path],
    results: Sequence[Any],
    tokens: TokenKnowledge,
    *,
    planned: bool,
    detected: bool,
) -> tuple[list[Group], list[FileCounts]]:
    """The groups of one component: as it is, and where it is planned its splits and these together."""
    counted = [counted_of(result) for result in results]
    rows = [np.load(folder / LENGTHS_FILE, allow_pickle=False) for folder in folders]
    groups = []
    for number in range(1 + len(SPLITS)) if planned else (AS_THEY_ARE,):
        lengths = [merged(of_key(part, (number, unit)) for part in rows) for unit in range(len(UNITS))]
        split = SPLITS[number - 1] if number != AS_THEY_ARE else None
        if split and not lengths[0].documents:
            continue
        encoded = lengths[TOKENS].documents
        lengths[TOKENS] = merged([lengths[TOKENS], tokens.shards.get((component.slug, split), EMPTY)])
        groups.append(
            Group(
                of="plan" if split else "components",
                component=component.slug,
                split=split,
                documents=sum(item.documents[number] for item in counted),
                lengths=lengths,
                encoded=encoded,
                languages=_scaled(_summed(item.languages[number] for item in counted), lengths[0].total)
                if detected
                else None,
                tokens_per_byte=tokens.per_byte,
            )
        )
    if len(groups) > 1:
        groups.append(together(groups[1:], component.slug, ALL_SPLITS))
    return groups, counted


def _scaled(sampled: Mapping[str, tuple[int, int]], text_bytes: int) -> dict[str, tuple[int, int]]:
    """From the bytes of a sample to those of all, so that samples of different shares can be summed."""
    in_sample = max(sum(size for _, size in sampled.values()), 1)
    return {name: (count, text_bytes * size // in_sample) for name, (count, size) in sampled.items()}


def _summed(parts: Iterable[Mapping[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    total: dict[str, tuple[int, int]] = {}
    for part in parts:
        for language, (documents, text_bytes) in part.items():
            before = total.get(language, (0, 0))
            total[language] = (before[0] + documents, before[1] + text_bytes)
    return total


def together(groups: Sequence[Group], component: str | None, split: str | None) -> Group:
    """Several groups as one."""
    known = [group.languages for group in groups if group.languages is not None]
    return Group(
        of=groups[0].of,
        component=component,
        split=split,
        documents=sum(group.documents for group in groups),
        lengths=[merged(group.lengths[unit] for group in groups) for unit in range(len(UNITS))],
        encoded=sum(group.encoded for group in groups),
        languages=_summed(known) if len(known) == len(groups) else None,
        tokens_per_byte=groups[0].tokens_per_byte,
    )


def statistics_of(
    group: Group, *, duplicates: DuplicateShare | None = None, compression: Compression | None = None
) -> GroupStatistics:
    """The figures of a group; tokens are exact where each of its documents has some, else an estimate."""
    size, characters, tokens = group.lengths
    copies, text_bytes = size.documents, size.total
    exact = tokens.documents == copies
    estimate = round(text_bytes * group.tokens_per_byte) + copies
    count = tokens.total if exact else estimate
    units = UNITS if exact else UNITS[:TOKENS]
    return GroupStatistics(
        of=group.of,
        component=group.component,
        split=group.split,
        documents=group.documents,
        copies=copies,
        bytes=text_bytes,
        characters=characters.total,
        mean_bytes=text_bytes / copies if copies else None,
        tokens=count,
        tokens_from=_tokens_from(group.encoded, copies) if exact else "estimate",
        bytes_per_token=text_bytes / count if count else None,
        lengths={unit: study(lengths) for unit, lengths in zip(units, group.lengths, strict=False)},
        languages=None if group.languages is None else _languages(group.languages),
        duplicates=duplicates,
        compression=compression,
    )


def _tokens_from(encoded: int, copies: int) -> TokensFrom:
    if not encoded:
        return "shards"
    return "encoded" if encoded == copies else "shards and encoded"


def _languages(found: Mapping[str, tuple[int, int]]) -> list[LanguageShare]:
    # The most of the text first; equal ones by name.
    order = sorted(found.items(), key=lambda item: (-item[1][1], item[0]))
    total = max(sum(size for _, size in found.values()), 1)
    return [
        LanguageShare(language=name, documents=count, bytes=size, share=size / total)
        for name, (count, size) in order
        if count
    ]


def compression_of(component: ComponentDocuments, counted: Sequence[FileCounts]) -> Compression:
    """How the files of a component are compressed, and how a sample of it is at level 3."""
    documents, text_bytes, compressed = (sum(item.sample[place] for item in counted) for place in range(3))
    file_bytes = sum(file.path.stat().st_size for file in component.files)
    return _compression(component.text_bytes, file_bytes, documents, text_bytes, compressed)


def compression_of_all(rows: Sequence[Compression], text_bytes: Sequence[int]) -> Compression:
    """That of all components: the measured ratio weighs each component by its text, not by its sample."""
    files = sum(row.file_bytes for row in rows)
    expected = sum(size / row.zstd3_ratio for row, size in zip(rows, text_bytes, strict=True) if row.zstd3_ratio)
    total = _compression(
        sum(text_bytes),
        files,
        *(sum(getattr(row, name) for row in rows) for name in ("sample_documents", "sample_bytes", "zstd3_bytes")),
    )
    known = sum(size for row, size in zip(rows, text_bytes, strict=True) if row.zstd3_ratio)
    return Compression(
        file_bytes=total.file_bytes,
        ratio=total.ratio,
        sample_documents=total.sample_documents,
        sample_bytes=total.sample_bytes,
        zstd3_bytes=total.zstd3_bytes,
        zstd3_ratio=known / expected if expected else None,
    )


def _compression(text_bytes: int, files: int, documents: int, sample_bytes: int, compressed: int) -> Compression:
    return Compression(
        file_bytes=files,
        ratio=text_bytes / files if files else None,
        sample_documents=documents,
        sample_bytes=sample_bytes,
        zstd3_bytes=compressed,
        zstd3_ratio=sample_bytes / compressed if compressed and sample_bytes else None,
    )


def duplicates_of(counts: Mapping[str, Any]) -> DuplicateShare:
    """What deduplication counted of a component, or of all, as shares."""
    documents, text_bytes = counts["documents"], counts["bytes"]
    removed, gone = documents - counts["kept"], text_bytes - counts["kept_bytes"]
    return DuplicateShare(
        exact=counts["exact"],
        near=counts["near"],
        contaminated=removed - counts["exact"] - counts["near"],
        removed=removed,
        removed_bytes=gone,
        documents_share=removed / documents if documents else 0.0,
        bytes_share=gone / text_bytes if text_bytes else 0.0,
    )
