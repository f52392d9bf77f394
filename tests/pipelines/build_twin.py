"""A twin of the build in plain Python: documents of a keep-list in, rows of the plan and their order out."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import NamedTuple

from pile_toolkit.core.plan import SPLITS
from pile_toolkit.core.seeds import KEY_RANGE
from tests.core.separation_twin import Copy, column_key, halves, in_order, own_key


class Document(NamedTuple):
    """A row of the keep-list; `cluster` is a row number, `pieces` are (start, end, bytes)."""

    component: int
    file: int
    line: int
    bytes: int
    text: bytes
    normalized: bytes
    cluster: int
    reason: int
    pieces: tuple[tuple[int, int, int], ...] = ()


class Row(NamedTuple):
    """A row of the plan."""

    document: Document
    start: int | None
    end: int | None
    bytes: int
    split: str
    ordinal: int
    copies: int


def group_names(documents: list[Document]) -> list[int]:
    """A number per row, equal where rows share a normalized hash or a cluster, or any others that do."""
    names = list(range(len(documents)))
    before = None
    while names != before:
        before = list(names)
        for number, row in enumerate(documents):
            same = [other for other, twin in enumerate(documents) if twin.normalized == row.normalized]
            together = {number, row.cluster, *same}
            least = min(names[other] for other in together)
            for other in together:
                names[other] = least
    return names


def split_of(normalized: bytes, seed: int, val_share: float, test_share: float) -> str:
    key = column_key(seed, "split", *halves(normalized))
    if key < int(val_share * KEY_RANGE):
        return "val"
    return "test" if key < int((val_share + test_share) * KEY_RANGE) else "train"


def splits(documents: list[Document], seed: int, val_share: float, test_share: float) -> list[str]:
    """The split of every row, dropped ones too."""
    names = group_names(documents)
    least: dict[int, bytes] = {}
    for name, row in zip(names, documents, strict=True):
        least[name] = min(least.get(name, row.normalized), row.normalized, key=halves)
    return [split_of(least[name], seed, val_share, test_share) for name in names]


def plan(
    documents: list[Document],
    epochs: list[float],
    *,
    seed: int,
    val_share: float,
    test_share: float,
    duplicates: str = "drop",
) -> list[Row]:
    """The rows of the plan."""
    seen: Counter[bytes] = Counter()
    rows = []
    for row, split in zip(documents, splits(documents, seed, val_share, test_share), strict=True):
        if row.reason == 3 or (row.reason and duplicates == "drop"):
            continue
        for start, end, size in row.pieces or ((None, None, row.bytes),):
            rows.append(Row(row, start, end, size, split, seen[row.text], 0))
            seen[row.text] += 1
    copies = {}
    for component, weight in enumerate(epochs):
        exact = Fraction(str(weight))
        mine = [row for row in rows if row.document.component == component]
        firsts = [row for row in mine if row.start is None or row[1] == row.document.pieces[0][0]]
        train = [row for row in firsts if row.split == "train"]
        train.sort(key=lambda row: column_key(seed, "copies", *halves(row.document.text), row.ordinal))
        more = round((exact - exact.__floor__()) * len(train))
        copies |= {row.document: exact.__floor__() + (place < more) for place, row in enumerate(train)}
        copies |= {row.document: int(weight > 0) for row in firsts if row.split != "train"}
    return [row._replace(copies=copies[row.document]) for row in rows]


def order(rows: list[Row], split: str, seed: int) -> list[Copy]:
    """All copies of a split in the order of the corpus; `row` is that of the plan."""
    return in_order(
        [
            Copy(own_key(seed, row.document.text, row.ordinal, copy), number, copy, row.document.text)
            for number, row in enumerate(rows)
            if row.split == split
            for copy in range(row.copies)
        ],
        seed,
    )


def as_stored(rows: list[Row]) -> list[tuple]:
    """Rows as tuples in the order of the plan's columns."""
    return [
        (
            *row.document[:3],
            row.start,
            row.end,
            SPLITS.index(row.split),
            row.copies,
            row.bytes,
            row.document.text,
            row.ordinal,
        )
        for row in rows
    ]
