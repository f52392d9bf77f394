"""Encoders and documents in, a table out: the tokens each encoder needs, per component and in all.

Documents are read once and held a few at a time; special tokens inside them count as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.errors import UsageError
from tokenizer.encoder import lone_surrogate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tokenizer.encoder import Encoder

BATCH_CHARACTERS = 1 << 20
TOTAL = "total"


class ComparisonRow(msgspec.Struct, frozen=True, kw_only=True):
    """One component, or all of them; the dicts are by encoder name, None where nothing can be divided.

    `ratio` is tokens over the first encoder's tokens: below 1 is a shorter text.
    """

    component: str
    documents: int
    bytes: int
    tokens: dict[str, int]
    bytes_per_token: dict[str, float | None]
    ratio: dict[str, float | None]


class ComparisonTable(msgspec.Struct, frozen=True, kw_only=True):
    """Rows in the order in which components first came; `total` is their sum."""

    encoders: tuple[str, ...]
    rows: tuple[ComparisonRow, ...]
    total: ComparisonRow


class _Count:
    def __init__(self, encoders: Iterable[str]) -> None:
        self.documents = 0
        self.bytes = 0
        self.tokens = dict.fromkeys(encoders, 0)

    def row(self, component: str) -> ComparisonRow:
        first = next(iter(self.tokens.values()))
        return ComparisonRow(
            component=component,
            documents=self.documents,
            bytes=self.bytes,
            tokens=self.tokens,
            bytes_per_token={name: self.bytes / count if count else None for name, count in self.tokens.items()},
            ratio={name: count / first if first else None for name, count in self.tokens.items()},
        )


def compare(encoders: dict[str, Encoder], documents: Iterable[tuple[str, str]], *, threads: int = 1) -> ComparisonTable:
    """Counts the tokens of (component, text) pairs under each encoder; the first is what the others are held against.

    Raises UsageError where there is no encoder or no document.
    """
    if not encoders:
        raise UsageError("there is no tokenizer to compare", hint="pile tokenizer compare A.json B.json --data FOLDER")
    counts: dict[str, _Count] = {}
    for batch in _batches(documents):
        for component, text in batch:
            count = counts.setdefault(component, _Count(encoders))
            count.documents += 1
            count.bytes += _text_bytes(component, text)
        for name, encoder in encoders.items():
            _, offsets = encoder.encode_batch([text for _, text in batch], threads=threads)
            for (component, _), tokens in zip(batch, (offsets[1:] - offsets[:-1]).tolist(), strict=True):
                counts[component].tokens[name] += tokens
    if not counts:
        raise UsageError("there are no documents to compare on", hint="--data FOLDER with *.jsonl.zst files")
    total = _Count(encoders)
    for count in counts.values():
        total.documents += count.documents
        total.bytes += count.bytes
        total.tokens = {name: total.tokens[name] + count.tokens[name] for name in encoders}
    rows = tuple(count.row(component) for component, count in counts.items())
    return ComparisonTable(encoders=tuple(encoders), rows=rows, total=total.row(TOTAL))


def _text_bytes(component: str, text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise lone_surrogate(f"a document of {component}", error) from None


def _batches(documents: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    batch: list[tuple[str, str]] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document[1])
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
