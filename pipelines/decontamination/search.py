"""One document file and a table of n-grams in, every place where they meet out, in characters of the documents.

Guaranteed: what is found depends on the file, the table and the settings only. Memory: as reading the file takes, and
for a document in which something is found 5 to 25 bytes a character.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import hash_file
from pipelines.decontamination.loading import load_kernels
from pipelines.decontamination.ngrams import open_ngrams
from pipelines.decontamination.settings import Against
from pipelines.decontamination.spans import word_spans

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from numpy.typing import NDArray

    from pipelines.decontamination.ngrams import Ngrams
    from pipelines.decontamination.spans import Spans
    from pipelines.minhash.kernels import Room

DOCUMENTS_FILE = "documents.npy"
HITS_FILE = "hits.npy"
# What the kernels get at a time: as much as stays in a core's second cache.
CHUNK_CHARACTERS = 1 << 18
_FIRST_HITS = 1 << 14
DOCUMENT_TYPE = np.dtype([("number", np.int64), ("line", np.int64), ("characters", np.int64), ("bytes", np.int64)])
# Of an n-gram and of what is cut out with it, in characters; and how many bytes stand before each end of the cut.
HIT_TYPE = np.dtype(
    [(name, np.int64) for name in ("document", "ngram", "start", "end", "cut", "cut_end", "byte", "byte_end")]
)


class Found(NamedTuple):
    """Rows of DOCUMENT_TYPE and HIT_TYPE; `document` of a hit is a row of `documents`."""

    documents: NDArray[Any]
    hits: NDArray[Any]


def search_file(
    folder: Path, path: str, file_hash: str, table: str, kept: str, first_row: int, settings: dict[str, Any]
) -> int:
    """A task: writes what is found in the kept documents of a file to `folder`. Returns the number of hits.

    `table` is the folder of the n-grams, `kept` a file with a bit for each document of all files, of which this one's
    first is number `first_row`. Raises CorruptData where the file is no longer the one of `file_hash`.
    """
    if not Path(path).exists() or hash_file(Path(path)) != file_hash:
        raise CorruptData(f"{path} changed since it was downloaded", hint="pile download again, then pile dedup")
    against = Against(**settings)
    searcher = Searcher(Path(table), against)
    bits = np.load(kept, mmap_mode="r", allow_pickle=False)
    parts = [Found(np.empty(0, DOCUMENT_TYPE), np.empty(0, HIT_TYPE))]
    before = 0
    for numbers, lines, texts in _batches(path, bits, first_row):
        found = searcher.find(texts)
        found.documents["number"] = np.array(numbers, np.int64)[found.documents["number"]]
        found.documents["line"] = np.array(lines, np.int64)[found.documents["line"]]
        found.hits["document"] += before
        before += len(found.documents)
        parts.append(found)
    for name, arrays in ((DOCUMENTS_FILE, [one.documents for one in parts]), (HITS_FILE, [one.hits for one in parts])):
        with (folder / name).open("wb") as stream:
            np.save(stream, np.concatenate(arrays), allow_pickle=False)
    return sum(len(one.hits) for one in parts)


def spans_of_equal(ascending: NDArray[Any]) -> list[tuple[int, int, int]]:
    """Each value of an ascending array, with where it begins and ends."""
    values, firsts = np.unique(ascending, return_index=True)
    return list(zip(values.tolist(), firsts.tolist(), [*firsts[1:].tolist(), len(ascending)], strict=False))


def read_found(folder: Path) -> Found:
    """What a task found; `number` of a document counts the documents of its file from 0."""
    return Found(*(np.load(folder / name, allow_pickle=False) for name in (DOCUMENTS_FILE, HITS_FILE)))


def _batches(path: str, bits: NDArray[np.uint8], first_row: int) -> Iterator[tuple[list[int], list[int], list[str]]]:
    """Kept documents, some at a time: their numbers in the file, lines and texts."""
    numbers: list[int] = []
    lines: list[int] = []
    texts: list[str] = []
    characters = 0
    for number, document in enumerate(read_documents(Path(path))):
        row = first_row + number
        if not bits[row >> 3] >> (7 - (row & 7)) & 1:
            continue
        numbers.append(number)
        lines.append(document.line)
        texts.append(document.text)
        characters += len(document.text)
        if characters >= CHUNK_CHARACTERS:
            yield numbers, lines, texts
            numbers, lines, texts, characters = [], [], [], 0
    if texts:
        yield numbers, lines, texts


class Searcher:
    """A table of n-grams, mapped, and the arrays to search texts for them."""

    def __init__(self, table: Path, against: Against) -> None:
        self._kernels = load_kernels()
        from pipelines.minhash.folded import TextFolder
        from pipelines.minhash.kernels import make_room

        self._against = against
        header, self._table = open_ngrams(table)
        self._size = header.size
        self._folder = TextFolder(against.folding)
        self._room = make_room(header.size)

    def find(self, texts: Sequence[str]) -> Found:
        """What is found in texts; `number` and `line` of a document are its place among them."""
        self._folder.fold(texts, list(map(str.encode, texts)))
        rows = scan(self._kernels, self._table, self._folder.text, self._folder.ends, self._size, self._room)
        count = len(np.unique(rows[:, 0]))
        documents, hits = np.empty(count, DOCUMENT_TYPE), np.empty(len(rows), HIT_TYPE)
        for place, (number, first, end) in enumerate(spans_of_equal(rows[:, 0])):
            spans = word_spans(texts[number], self._against.folding)
            (text_bytes,) = spans.bytes_before(np.array([spans.characters]))
            documents[place] = number, number, spans.characters, text_bytes
            self._locate(hits[first:end], place, rows[first:end], spans)
        return Found(documents, hits)

    def _locate(self, hits: NDArray[Any], place: int, rows: NDArray[np.int64], spans: Spans) -> None:
        _, word, ngram = rows.T
        hits["document"], hits["ngram"] = place, ngram
        hits["start"] = spans.starts[word]
        hits["end"] = spans.ends[word + self._table.words[ngram] - 1]
        hits["cut"], hits["cut_end"] = _widened(hits["start"], hits["end"], spans, self._against.window)
        for name in ("cut", "cut_end"):
            hits[name.replace("cut", "byte")] = spans.bytes_before(hits[name])


def _widened(
    starts: NDArray[np.int64], ends: NDArray[np.int64], spans: Spans, window: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`window` characters more on each side, and then as far as the next whole word, which stays.

    Half a word would be a word of its own, and so could begin an n-gram that was not there before.
    """
    last = np.searchsorted(spans.ends, starts - window, "right") - 1
    cut = np.where(last >= 0, spans.ends[last], 0)
    following = np.searchsorted(spans.starts, ends + window, "left")
    beyond = following == len(spans.starts)
    return cut, np.where(beyond, spans.characters, spans.starts[following - beyond])


def scan(
    kernels: ModuleType, table: Ngrams, text: NDArray[np.uint8], ends: NDArray[np.int64], size: int, room: Room
) -> NDArray[np.int64]:
    """The hits in folded texts that end at `ends`: number of the text, of the word and of the n-gram, in order."""
    count = _FIRST_HITS
    prefixes = np.empty(room.starts.size, np.uint64)
    while True:
        hits = np.empty((count, 3), np.int64)
        found = kernels.scan_texts(
            text, ends, size, room, prefixes, table.marks, table.kinds, 64 - (table.marks.size.bit_length() - 1),
            table.lengths, table.slots, table.keys, table.starts, table.sizes, table.text, hits,
        )  # fmt: skip
        if found <= count:
            return hits[:found]
        count = found
