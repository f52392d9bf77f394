"""The phases of a run in, how often it read every document out: counted, not estimated, in tokens read as inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.errors import CorruptData

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shards.index import SampleIndex
    from shards.phases import Phases
    from shards.provenance import Provenance

# A document's file and line as one number, which sorts ten times as fast as a row of two.
_LINE_BITS = 40
_FILE_BITS = 63 - _LINE_BITS


class Exposures(NamedTuple):
    """One row per document that any phase's shards hold.

    `file` counts into `files`, (slug, name) each; `tokens` is what one copy of the document has, `read` how many of its
    ids were read as inputs, all copies together.
    """

    files: tuple[tuple[str, str], ...]
    file: NDArray[np.int64]
    line: NDArray[np.int64]
    tokens: NDArray[np.int64]
    read: NDArray[np.int64]

    @property
    def times(self) -> NDArray[np.float64]:
        """How often each document was read; 0 for one without tokens."""
        return self.read / np.maximum(self.tokens, 1)

    def document(self, row: int) -> str:
        """The id of a row's document, `<slug>/<file>:<line>`."""
        slug, name = self.files[self.file[row]]
        return f"{slug}/{name}:{self.line[row]}"

    def epochs(self) -> dict[str, float]:
        """By component, tokens read over tokens there are."""
        sums: dict[str, list[int]] = {}
        of_file = [np.zeros(len(self.files), np.int64) for _ in range(2)]
        for total, column in zip(of_file, (self.read, self.tokens), strict=True):
            np.add.at(total, self.file, column)
        for number, (slug, _) in enumerate(self.files):
            both = sums.setdefault(slug, [0, 0])
            both[0] += int(of_file[0][number])
            both[1] += int(of_file[1][number])
        return {slug: read / max(tokens, 1) for slug, (read, tokens) in sums.items()}


def exposures(phases: Phases, samples: int, *, cache_dir: str | Path | None = None) -> Exposures:
    """How often the first `samples` samples of a run read each document, over all its phases.

    Raises UsageError where shards came without `.docs.arrow`, CorruptData where they are no longer the run's, and
    IndexError where a phase has fewer samples.
    """
    files: dict[tuple[str, str], int] = {}
    none = np.empty(0, np.int64)
    keys, tokens, reads = [none], [none], [none]
    for phase, count in phases.spans(samples):
        index = phase.open(cache_dir=cache_dir)
        found = _by_document(index, index.reads(0, count), files)
        for rows, column in zip(found, (keys, tokens, reads), strict=True):
            column.append(rows)
    documents, row = np.unique(np.concatenate(keys), return_inverse=True)
    total, longest = np.zeros_like(documents), np.zeros_like(documents)
    np.add.at(total, row, np.concatenate(reads))
    np.maximum.at(longest, row, np.concatenate(tokens))
    line = documents & ((1 << _LINE_BITS) - 1)
    return Exposures(files=tuple(files), file=documents >> _LINE_BITS, line=line, tokens=longest, read=total)


def _by_document(
    index: SampleIndex, reads: NDArray[np.int64], files: dict[tuple[str, str], int]
) -> tuple[NDArray, NDArray, NDArray]:
    """A phase's documents, the tokens of one copy of each, and the tokens read of all its copies."""
    rows = index.dataset.provenance
    documents, row = np.unique(_document_keys(rows, files), return_inverse=True)
    tokens, read = np.zeros_like(documents), np.zeros_like(documents)
    # A document cut into pieces is several sequences of its first copy.
    firsts = rows.copy == 0
    np.add.at(tokens, row[firsts], index.dataset.sizes[firsts].astype(np.int64))
    np.add.at(read, row, reads)
    return documents, tokens, read


def _document_keys(rows: Provenance, files: dict[tuple[str, str], int]) -> NDArray[np.int64]:
    """A number for each row's document, the same in all phases: `files` numbers files by name as they come."""
    if len(rows) and int(rows.line.max()) >> _LINE_BITS:
        raise CorruptData(f"{rows.path} names line {int(rows.line.max()):,} of a file", hint="write the shards again")
    keys = rows.line.astype(np.int64)
    if len(rows) and int(rows.component.max()) >= len(rows.components):
        raise CorruptData(f"{rows.path} has names for {len(rows.components)} components only, and more numbers")
    for number, slug in enumerate(rows.components):
        known = [files.setdefault((slug, name), len(files)) for name in rows.files.get(slug, ())]
        of_component = rows.component == number
        numbers = rows.file[of_component]
        if len(numbers) and int(numbers.max()) >= len(known):
            raise CorruptData(f"{rows.path} has names for {len(known)} files of {slug} only, and more numbers")
        keys[of_component] |= np.array(known, np.int64)[numbers] << _LINE_BITS
    if len(files) >> _FILE_BITS:
        raise CorruptData(f"{rows.path} names {len(files):,} files", hint="write the shards again")
    return keys
