"""A plan and a scratch folder in, every copy of a split in the order of the corpus out, a range of keys at a time.

Copies are dealt by their keys into files, with what is asked for of their rows beside them; each file is then sorted by
itself. In memory are a group of rows of the plan or the copies of one range, however long the plan is; on the disk 18
bytes a copy and what is asked for.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, NamedTuple

from pile_toolkit.core.files import naming_full_disks, remove
from pile_toolkit.core.plan.files import SPLITS
from pile_toolkit.core.plan.order import Entries, copy_keys_of, text_identities
from pile_toolkit.core.plan.separation import OrderedCopies, separate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy as np

    from pile_toolkit.core.plan.table import Plan

COPIES_AT_ONCE = 1 << 20
# Files that are open at once: of more copies than 256 times those at once, ranges are longer.
_MOST_BITS = 8
_DEALT_AT_ONCE = 1 << 18
_KINDS = {"component": "u1", "file": "u4", "line": "u8", "bytes": "u8", "text": "u8"}


class RowValues(NamedTuple):
    """What is to stand beside copies and is no column of the plan: names and types, and a function of rows.

    It is called with ascending rows, each row of the split that has copies once, and returns an array per name.
    """

    kinds: dict[str, str]
    of: Callable[[np.ndarray], Sequence[np.ndarray]]


class EntryRange(NamedTuple):
    """Copies that follow each other in the order of the corpus, and the values beside them by name."""

    entries: Entries
    values: dict[str, np.ndarray]


class CopiesInOrder:
    """The copies of a split, dealt; an iteration gives them all in order, as often as wanted."""

    def __init__(self, paths: list[Path], kind: np.dtype, copies: int) -> None:
        self._paths, self._kind, self._copies = paths, kind, copies

    def __len__(self) -> int:
        return self._copies

    def __iter__(self) -> Iterator[EntryRange]:
        import numpy as np

        for path in self._paths:
            dealt = np.fromfile(path, self._kind)
            if not len(dealt):
                continue
            key = np.ascontiguousarray(dealt["key"])
            order = np.argsort(key)
            ordered = key[order]
            if (ordered[1:] == ordered[:-1]).any():
                # Hardly ever, and slower: of equal keys the first row and copy first, as they were dealt.
                order = np.argsort(key, kind="stable")
            values = {name: dealt[name][order] for name in self._kind.names or ()}
            entries = Entries(values.pop("row"), values.pop("copy"), ordered)
            del values["key"], dealt, key, order
            yield EntryRange(entries, values)


@contextlib.contextmanager
def copies_in_order(
    plan: Plan,
    split: str,
    folder: Path,
    *,
    columns: Sequence[str] = (),
    beside: RowValues | None = None,
    at_once: int = COPIES_AT_ONCE,
) -> Iterator[CopiesInOrder]:
    """The copies of `plan.entries(split)`, in that order, some `at_once` at a time, with `columns` of their rows.

    `folder` is made for the block and removed with what a killed run left there. Raises DiskFull.
    """
    remove(folder)
    folder.mkdir(parents=True)
    try:
        with naming_full_disks(folder):
            if plan.is_mixed:
                moved = _moved_here(plan, split, folder, at_once)
            else:
                moved = plan.moved._replace(row=plan.moved.row - plan.first_row)
            yield _deal(plan, split, folder, _Wanted(moved, list(columns), beside), at_once)
    finally:
        remove(folder)


def _moved_here(plan: Plan, split: str, folder: Path, at_once: int) -> Entries:
    """The copies of a split of other weights than the plan's that stand under another key than their own."""
    seed = plan.header.seed
    dealt = _deal(plan, split, folder, _Wanted(Entries.none(), ["text"], None), at_once)

    def scan() -> Iterator[OrderedCopies]:
        for entries, values in dealt:
            yield OrderedCopies(entries.key, values["text"], entries.row, entries.copy)

    return separate(scan, seed=seed).moved


class _Wanted(NamedTuple):
    """The copies that have other keys, and what to put beside all; a column `text` is that of `OrderedCopies`."""

    moved: Entries
    columns: list[str]
    beside: RowValues | None


def _deal(plan: Plan, split: str, folder: Path, wanted: _Wanted, at_once: int) -> CopiesInOrder:
    import numpy as np

    kinds = {"key": "u8", "row": "i8", "copy": "u2", **{name: _KINDS[name] for name in wanted.columns}}
    kind = np.dtype([*(kinds | (wanted.beside.kinds if wanted.beside else {})).items()])
    number = SPLITS.index(split)
    counted = sum(
        int(copies[splits == number].sum(dtype=np.int64)) for splits, copies in plan.groups(["split", "copies"])
    )
    bits = min(max(-(-counted // at_once) - 1, 0).bit_length(), _MOST_BITS)
    paths = [folder / f"{place:03d}.copies" for place in range(1 << bits)]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for dealt in _records(plan, number, wanted, kind):
            if not bits:
                files[0].write(dealt.data)
                continue
            place = (dealt["key"] >> np.uint64(64 - bits)).astype(np.uint16)
            # Stable, so that copies of equal keys stay in the order of rows and copies.
            dealt = dealt[np.argsort(place, kind="stable")]
            ends = np.cumsum(np.bincount(place, minlength=len(files))).tolist()
            for file, start, end in zip(files, [0, *ends], ends, strict=False):
                if end > start:
                    file.write(dealt[start:end].data)
    return CopiesInOrder(paths, kind, counted)


def _records(plan: Plan, number: int, wanted: _Wanted, kind: np.dtype) -> Iterator[np.ndarray]:
    """The copies of a split, not many at a time, by row and copy."""
    import numpy as np

    columns = [name for name in wanted.columns if name != "text"]
    for first, block in plan.blocks(["split", "copies", "text_hash", "ordinal", *columns]):
        here = np.flatnonzero((block["split"] == number) & (block["copies"] > 0))
        if not here.size:
            continue
        block = {name: values[here] for name, values in block.items()}
        if "text" in wanted.columns:
            block["text"] = text_identities(plan.header.seed, block["text_hash"])
        if wanted.beside:
            block.update(zip(wanted.beside.kinds, wanted.beside.of(here + first), strict=True))
        copies = block["copies"].astype(np.int64)
        ends = np.cumsum(copies)
        # A row may have 65,535 copies, and a group of rows then more than all of the Pile.
        cuts = np.searchsorted(ends, np.arange(_DEALT_AT_ONCE, ends[-1], _DEALT_AT_ONCE)).tolist()
        for start, end in itertools.pairwise(sorted({0, *cuts, len(here)})):
            some = {name: values[start:end] for name, values in block.items()}
            yield _copies_of(plan.header.seed, here[start:end] + first, some, wanted.moved, kind)


def _copies_of(seed: int, rows: np.ndarray, block: dict[str, np.ndarray], moved: Entries, kind: np.dtype) -> np.ndarray:
    import numpy as np

    copies = block["copies"].astype(np.int64)
    starts = np.cumsum(copies) - copies
    place = np.repeat(np.arange(len(rows)), copies)
    copy = np.arange(len(place)) - starts[place]
    dealt = np.empty(len(place), kind)
    dealt["row"], dealt["copy"] = rows[place], copy
    dealt["key"] = copy_keys_of(seed, block["text_hash"][place], block["ordinal"][place], copy)
    # Moved copies ascend by row; rows between those of this block may have some too.
    some = slice(*np.searchsorted(moved.row, [rows[0], rows[-1] + 1]).tolist())
    at = np.searchsorted(rows, moved.row[some])
    mine = np.flatnonzero(rows[at] == moved.row[some])
    dealt["key"][starts[at[mine]] + moved.copy[some][mine]] = moved.key[some][mine]
    for name in (kind.names or ())[3:]:
        dealt[name] = block[name][place]
    return dealt
