"""A prefix in, a list of problems out: what one can know of shards from the files alone, every id read once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from pile_toolkit.core.errors import CorruptData
from shards.dataset import TokenDataset
from shards.format import data_path, index_path
from shards.provenance import provenance_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_IDS = 16 << 20
_ROWS = 1 << 20


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with one file."""

    file: str
    what: str


def verify_shards(prefix: str | Path, vocab_size: int | None = None, end_of_text: int | None = None) -> list[Problem]:
    """What is wrong with `<prefix>.bin`, `.idx` and `.docs.arrow`; an empty list where nothing is.

    Ids are checked against `vocab_size` where it is given. Each sequence must end with `end_of_text`; without it, all
    must end alike where the shards have provenance, hence are ours. Shared pointers are legal. Raises UsageError where
    the pair is absent.
    """
    try:
        dataset = TokenDataset(prefix)
    except CorruptData as error:
        return [Problem(str(index_path(prefix)), error.message)]
    with dataset:
        # Empty sequences read nothing, so where they point does not matter.
        order = np.argsort(dataset.pointers, kind="stable")
        order = order[dataset.sizes[order] > 0]
        return [
            *_index_problems(dataset, order),
            *_id_problems(dataset, vocab_size),
            *_end_problems(dataset, end_of_text),
            *(_provenance_problems(dataset, order) if dataset.has_provenance else ()),
        ]


def _index_problems(dataset: TokenDataset, order: NDArray[np.intp]) -> Iterator[Problem]:
    path = str(index_path(dataset.prefix))
    bounds = dataset.doc_idx
    if len(bounds) < 1 or bounds[0] != 0 or bounds[-1] != len(dataset) or (np.diff(bounds) < 0).any():
        ends = f"{bounds[0]:,} to {bounds[-1]:,}" if len(bounds) else "nowhere"
        yield Problem(path, f"its document bounds run from {ends}, they must rise from 0 to {len(dataset):,}")
    starts = dataset.pointers[order]
    sizes = dataset.sizes[order] * np.int64(dataset.dtype.itemsize)
    shared = starts[1:] == starts[:-1]
    differ = shared & (sizes[1:] != sizes[:-1])
    if differ.any():
        row = int(np.argmax(differ))
        yield Problem(
            path,
            f"sequences {order[row]} and {order[row + 1]} start at the same byte {starts[row]:,} and have "
            f"{dataset.sizes[order[row]]:,} and {dataset.sizes[order[row + 1]]:,} ids",
        )
    overlap = ~shared & (starts[:-1] + sizes[:-1] > starts[1:])
    if overlap.any():
        row = int(np.argmax(overlap))
        yield Problem(path, f"sequence {order[row]} reaches into sequence {order[row + 1]} at byte {starts[row + 1]:,}")
    elif not differ.any():
        stored_bytes = int(sizes[:1].sum()) + int(sizes[1:][~shared].sum())
        unread_bytes = dataset.ids.nbytes - stored_bytes
        if unread_bytes:
            yield Problem(path, f"it reads {stored_bytes:,} of the {dataset.ids.nbytes:,} bytes in the .bin")


def _id_problems(dataset: TokenDataset, vocab_size: int | None) -> Iterator[Problem]:
    for first in range(0, len(dataset.ids), _IDS):
        ids = dataset.ids[first : first + _IDS]
        wrong = ids < 0
        if vocab_size is not None:
            wrong |= ids >= vocab_size
        if wrong.any():
            row = int(np.argmax(wrong))
            limit = "any vocabulary" if vocab_size is None else f"a vocabulary of {vocab_size:,}"
            yield Problem(
                str(data_path(dataset.prefix)),
                f"id {ids[row]} at byte {(first + row) * dataset.dtype.itemsize:,} is outside {limit}",
            )
            return


def _end_problems(dataset: TokenDataset, end_of_text: int | None) -> Iterator[Problem]:
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
    filled = sizes > 0
    lasts[filled] = dataset.ids[pointers[filled] // dataset.dtype.itemsize + sizes[filled] - 1]
    return lasts


def _provenance_problems(dataset: TokenDataset, order: NDArray[np.intp]) -> Iterator[Problem]:
    path = str(provenance_path(dataset.prefix))
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
    shared = dataset.pointers[order[1:]] == dataset.pointers[order[:-1]]
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
