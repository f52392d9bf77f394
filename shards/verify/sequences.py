"""An open pair in, what its sequences get wrong out: bounds of documents, unread bytes, ends, provenance, sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from pile_toolkit.core.errors import CorruptData
from shards.format import data_path, index_path
from shards.provenance import provenance_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from shards.dataset import TokenDataset

_ROWS = 1 << 20
# Each may be on another page of the .bin, and the system maps 16 pages around it.
_ROWS_IN_MEMORY = 1 << 11


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with one file, and what to do about it."""

    file: str
    what: str
    hint: str | None = None


def _by_pointer(dataset: TokenDataset) -> NDArray[np.intp]:
    """The sequences in the order of the `.bin`; empty ones read nothing, so where they point does not matter."""
    order = np.lexsort((dataset.sizes, dataset.pointers))
    return order[dataset.sizes[order] > 0]


def index_problems(dataset: TokenDataset, *, bin_is_recorded: bool) -> Iterator[Problem]:
    """Bounds of documents, and bytes behind the last sequence; a recorded `.bin` may hold more than is read."""
    path = str(index_path(dataset.prefix))
    bounds = dataset.doc_idx
    if len(bounds) < 1 or bounds[0] != 0 or bounds[-1] != len(dataset) or (np.diff(bounds) < 0).any():
        ends = f"{bounds[0]:,} to {bounds[-1]:,}" if len(bounds) else "nowhere"
        yield Problem(path, f"its document bounds run from {ends}, they must rise from 0 to {len(dataset):,}")
    reached = max(
        (
            int((dataset.pointers[rows] + dataset.sizes[rows] * np.int64(dataset.dtype.itemsize)).max())
            for rows in _spans(len(dataset))
        ),
        default=0,
    )
    trailing = dataset.ids.nbytes - reached
    if trailing and not bin_is_recorded:
        yield Problem(
            str(data_path(dataset.prefix)),
            f"{trailing:,} of its {dataset.ids.nbytes:,} bytes stand behind the last sequence of the index",
            "the files do not belong together, or one was cut or added to: restore both",
        )


def _spans(rows: int) -> Iterator[slice]:
    return (slice(first, min(first + _ROWS, rows)) for first in range(0, rows, _ROWS))


def overlap_notes(dataset: TokenDataset) -> Iterator[str]:
    """What other readers may stumble over: stretches that overlap without being equal, bytes that nobody reads."""
    order = _by_pointer(dataset)
    starts = dataset.pointers[order]
    sizes = dataset.sizes[order] * np.int64(dataset.dtype.itemsize)
    shared = starts[1:] == starts[:-1]
    differ = shared & (sizes[1:] != sizes[:-1])
    if differ.any():
        row = int(np.argmax(differ))
        yield (
            f"sequences {order[row]} and {order[row + 1]} start at the same byte {starts[row]:,} and have "
            f"{dataset.sizes[order[row]]:,} and {dataset.sizes[order[row + 1]]:,} ids"
        )
    reach = np.maximum.accumulate(starts + sizes)
    overlap = ~shared & (reach[:-1] > starts[1:])
    if overlap.any():
        row = int(np.argmax(overlap))
        yield f"sequence {order[row + 1]} starts at byte {starts[row + 1]:,}, inside another sequence"
    read_bytes = int(sizes[:1].sum()) + int((reach[1:] - np.maximum(reach[:-1], starts[1:])).sum())
    if read_bytes < dataset.ids.nbytes:
        yield f"the index reads {read_bytes:,} of the {dataset.ids.nbytes:,} bytes in the .bin"


def sum_problems(dataset: TokenDataset, counts: Mapping[str, int] | None) -> Iterator[Problem]:
    """Sequences, tokens and stored tokens, where the manifest counts them."""
    found = {"sequences": len(dataset), "tokens": dataset.total_tokens, "stored_tokens": len(dataset.ids)}
    for name, value in found.items():
        if counts is not None and counts.get(name, value) != value:
            what = f"has {value:,} {name.replace('_', ' ')}, its manifest counts {counts[name]:,}"
            yield Problem(str(index_path(dataset.prefix)), what, "write the shards again")


def end_problems(dataset: TokenDataset, end_of_text: int | None) -> Iterator[Problem]:
    """Sequences that do not end with `end_of_text`, or not with what the first of them ends with."""
    expected = end_of_text
    for first in range(0, len(dataset), _ROWS):
        sizes, pointers = dataset.sizes[first : first + _ROWS], dataset.pointers[first : first + _ROWS]
        lasts = _last_ids(dataset, pointers, sizes)
        if expected is None:
            if not dataset.has_provenance:
                return
            expected = int(lasts[0])
        wrong = lasts != expected
        if wrong.any():
            row = int(np.argmax(wrong))
            found = f"ends with id {lasts[row]}" if lasts[row] >= 0 else "is empty"
            yield Problem(
                str(data_path(dataset.prefix)),
                f"sequence {first + row} {found}, not with the end-of-text {expected}; "
                f"{np.count_nonzero(wrong):,} of {len(wrong):,} from sequence {first} on do not",
            )
            return


def _last_ids(dataset: TokenDataset, pointers: NDArray, sizes: NDArray) -> NDArray[np.int64]:
    """The last id of each sequence, -1 of an empty one."""
    lasts = np.full(len(sizes), -1, dtype=np.int64)
    filled = np.flatnonzero(sizes)
    places = pointers[filled] // dataset.dtype.itemsize + sizes[filled] - 1
    for first in range(0, len(filled), _ROWS_IN_MEMORY):
        some = slice(first, first + _ROWS_IN_MEMORY)
        lasts[filled[some]] = dataset.ids[places[some]]
        dataset.forget()
    return lasts


def provenance_problems(dataset: TokenDataset) -> Iterator[Problem]:
    """Rows of another length, without a name, and copies of one document that say different things."""
    if not dataset.has_provenance:
        return
    path = str(provenance_path(dataset.prefix))
    order = _by_pointer(dataset)
    try:
        rows = dataset.provenance
    except CorruptData as error:
        yield Problem(path, error.message)
        return
    known_files = np.zeros(256, dtype=np.int64)
    known_files[: len(rows.components)] = [len(rows.files.get(slug, ())) for slug in rows.components]
    unnamed = rows.file >= known_files[rows.component]
    if unnamed.any():
        row = int(np.argmax(unnamed))
        yield Problem(path, f"row {row} has no name for file {rows.file[row]} of component {rows.component[row]}")
    shared = (dataset.pointers[order[1:]] == dataset.pointers[order[:-1]]) & (
        dataset.sizes[order[1:]] == dataset.sizes[order[:-1]]
    )
    for name in ("component", "file", "line", "bytes"):
        values = getattr(rows, name)[order]
        differ = shared & (values[1:] != values[:-1])
        if differ.any():
            row = int(np.argmax(differ))
            yield Problem(
                path,
                f"rows {order[row]} and {order[row + 1]} are copies of one stored document, "
                f"but their {name} is {values[row]} and {values[row + 1]}",
            )
