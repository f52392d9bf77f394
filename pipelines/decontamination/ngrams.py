"""Evaluation sets in, a table of their n-grams in a folder out, which any number of processes map into memory.

An n-gram is its bytes: folded words with one space between them. It is there once, whatever the number of texts that
hold it; `places` says in which sets it stands, and where first in each. A million n-grams take some 100 MB of disk, and
40 MB in memory to be searched for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import write_bytes
from pile_toolkit.core.jsonfile import MANIFEST_LIMIT_BYTES, read_json
from pipelines.decontamination.evaluation import read_evaluation_sets
from pipelines.decontamination.passages import passages
from pipelines.decontamination.settings import Against

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipelines.decontamination.passages import Passage
    from pipelines.minhash.folded import TextFolder

HEADER_FILE = "sets.json"
_FILTER_BITS_PER_NGRAM = 32
_PADDING = 128


class SetCounts(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation set: its records, those without a text long enough to be looked for, and its n-grams."""

    name: str
    records: int
    too_short: int
    ngrams: int


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the numbers in the arrays stand for; `size` words are the beginning of every n-gram."""

    sets: list[SetCounts]
    fields: list[str]
    ignored: list[str]
    digest: str
    size: int


class Ngrams(NamedTuple):
    """`text` uint8 with the n-grams: `starts`, `sizes` (bytes), `words` of each; `slots` and `keys` find them.

    `marks` and `kinds`, of one length, say before whether there may be any, and of which lengths.
    `lengths`: the numbers of words that there are, ascending. `places` int64[n, 4]: n-gram, set, line and field, the
    first of each n-gram in each set, in this order.
    """

    text: NDArray[np.uint8]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    words: NDArray[np.int64]
    slots: NDArray[np.uint32]
    keys: NDArray[np.uint64]
    marks: NDArray[np.uint64]
    kinds: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    places: NDArray[np.int64]

    def ngram_text(self, ngram: int) -> str:
        """The folded words, one space between them."""
        start = int(self.starts[ngram])
        return self.text[start : start + int(self.sizes[ngram])].tobytes().decode()


def write_ngrams(folder: Path, against: str, settings: dict[str, Any]) -> int:
    """A task: writes the table of the evaluation sets in `against` to `folder`. Returns the number of n-grams."""
    from pathlib import Path

    from pipelines.decontamination.loading import load_kernels

    load_kernels()
    gathered = _gather(Path(against), Against(**settings))
    header, table = _table(gathered)
    for name, array in table._asdict().items():
        with (folder / f"{name}.npy").open("wb") as stream:
            np.save(stream, array, allow_pickle=False)
    write_bytes(folder / HEADER_FILE, msgspec.json.encode(header))
    return len(table.starts)


def open_ngrams(folder: Path) -> tuple[Header, Ngrams]:
    """The table in a folder, mapped and not read."""
    header = read_json(folder / HEADER_FILE, Header, limit_bytes=MANIFEST_LIMIT_BYTES)
    arrays = (np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)) for name in Ngrams._fields)
    return header, Ngrams(*arrays)


class _Gathered:
    """All n-grams as they come, repeats among them: rows of place, bytes, words, set, line and field."""

    def __init__(self) -> None:
        self.text = bytearray()
        self.rows: list[NDArray[np.int64]] = []
        self.fields: dict[str, int] = {}
        self.sets: list[SetCounts] = []
        self.ignored: list[str] = []
        self.digest = ""


def _gather(folder: Path, against: Against) -> _Gathered:
    from pipelines.minhash.folded import TextFolder

    sets, folder_of_texts, found = read_evaluation_sets(folder), TextFolder(against.folding), _Gathered()
    found.ignored, found.digest = sets.ignored, sets.digest

    def fold(texts: Sequence[str]) -> list[list[bytes]]:
        return _folded_words(folder_of_texts, texts)

    for number, name in enumerate(sets.files):
        records = too_short = 0
        for record in sets.records(name):
            rows: list[tuple[int, ...]] = [
                row
                for passage in passages(record, fold, ngram=against.ngram, shortest=against.shortest)
                for row in _rows(found, passage, number, record.line)
            ]
            records, too_short = records + 1, too_short + (not rows)
            if rows:
                found.rows.append(np.array(rows, np.int64))
        found.sets.append(SetCounts(name=name, records=records, too_short=too_short, ngrams=0))
    if not found.rows:
        raise UsageError(
            f"no text in {folder} has {min(against.ngram, against.shortest)} words, so that nothing can be looked for",
            hint="a smaller --against-ngram",
        )
    return found


def _folded_words(folder: TextFolder, texts: Sequence[str]) -> list[list[bytes]]:
    folder.fold(texts, list(map(str.encode, texts)))
    return [view.tobytes().split() for view in folder.views()]


def _rows(found: _Gathered, passage: Passage, number: int, line: int) -> list[tuple[int, ...]]:
    """The n-grams of a passage, whose words go to the end of the text."""
    if not passage.ngrams:
        return []
    starts, at = [], len(found.text)
    for word in passage.words:
        starts.append(at)
        at += len(word) + 1
    found.text += b" ".join(passage.words)
    rows: list[tuple[int, ...]] = []
    for start, words, field in passage.ngrams:
        last = start + words - 1
        size = starts[last] + len(passage.words[last]) - starts[start]
        of_field = found.fields.setdefault(field, len(found.fields))
        rows.append((starts[start], size, words, number, line, of_field))
    return rows


def _table(found: _Gathered) -> tuple[Header, Ngrams]:
    from pipelines.decontamination.scanning import kernels
    from pipelines.minhash.kernels import make_room

    rows = np.concatenate(found.rows)
    found.rows.clear()
    text = np.frombuffer(bytes(found.text) + bytes(_PADDING), np.uint8)
    places, sizes, words = (np.ascontiguousarray(rows[:, column]) for column in range(3))
    slots = np.zeros(1 << (2 * len(rows)).bit_length(), np.uint32)
    keys, numbers = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.int64)
    starts, lengths = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    count = kernels.insert_ngrams(text, places, sizes, slots, keys, starts, lengths, numbers)
    words_of = np.zeros(count, np.int64)
    words_of[numbers] = words
    size = int(words.min())
    bits = max((_FILTER_BITS_PER_NGRAM * count - 1).bit_length() - 6, 1)
    marks, kinds, room = np.zeros(1 << bits, np.uint64), np.zeros(1 << bits, np.uint64), make_room(size)
    different, prefixes = np.unique(words), np.zeros(room.starts.size, np.uint64)
    which = np.searchsorted(different, words_of)
    given = text, starts[:count], lengths[:count], which
    kernels.mark_ngrams(*given, size, room, prefixes, marks, kinds, 64 - bits)
    first_places, per_set = _places(numbers, rows, len(found.sets))
    sets = [msgspec.structs.replace(one, ngrams=int(n)) for one, n in zip(found.sets, per_set, strict=True)]
    header = Header(sets=sets, fields=list(found.fields), ignored=found.ignored, digest=found.digest, size=size)
    table = Ngrams(
        text=text,
        starts=starts[:count],
        sizes=lengths[:count],
        words=words_of,
        slots=slots,
        keys=keys[:count],
        marks=marks,
        kinds=kinds,
        lengths=different,
        places=first_places,
    )
    return header, table


def _places(
    numbers: NDArray[np.int64], rows: NDArray[np.int64], sets: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first place of each n-gram in each set, and how many n-grams each set has."""
    pairs = numbers * sets + rows[:, 3]
    # Rows are in the order of the sets and their lines, and the first of equal values is the one that is kept.
    _, first = np.unique(pairs, return_index=True)
    of_set = rows[first, 3]
    places = np.stack([numbers[first], of_set, rows[first, 4], rows[first, 5]], axis=1)
    return places, np.bincount(of_set, minlength=sets)
