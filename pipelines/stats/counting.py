"""A document file and its rows of the plan in, lengths, languages and a compressed sample out: one pass, in blocks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import zstandard

from pile_toolkit.core.components import read_component
from pile_toolkit.core.documents import COMPRESSION_LEVEL, read_documents
from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import atomic_path
from pile_toolkit.core.plan import SPLITS, Plan
from pile_toolkit.core.seeds import KEY_RANGE, keyed_columns
from pipelines.stats.language import load_detector
from pipelines.stats.lengths import LengthTally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pile_toolkit.core.documents import Document
    from pipelines.stats.tokens import Carried, Encoder

LENGTHS_FILE = "lengths.npy"
# Groups of a file's documents: as they are, then the splits of the plan.
AS_THEY_ARE = 0
BYTES, CHARACTERS, TOKENS = range(3)
UNITS = ("bytes", "characters", "tokens")
SAMPLE_SEED = 0
_BLOCK_DOCUMENTS = 1 << 13
_BLOCK_CHARACTERS = 4 << 20


class CountOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted of one file.

    `planned` is the component's number in the plan; `sample_share` that of documents that are compressed,
    `language_share` that of documents whose language is detected. `encode` all
    documents, those that the plan has not as a whole, or none; `encode_plan` what the plan has.
    """

    planned: int | None
    sample_share: float
    language_share: float
    encode: str
    encode_plan: bool


class FileCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What a task returns beside its lengths: documents per group, (documents, bytes) per group and language.

    `sample` is documents, bytes of text and compressed bytes.
    """

    documents: list[int]
    languages: list[dict[str, tuple[int, int]]]
    sample: tuple[int, int, int]


def count_file(
    folder: Path, root: str, slug: str, file: int, options: CountOptions, carried: Carried | None
) -> FileCounts:
    """A task: one document file, read once; lengths go to LENGTHS_FILE of its folder."""
    item = read_component(Path(root), slug).files[file]
    counting = _Counting(Path(root), item.path, f"{slug}/{item.counts.name}", file, options, carried)
    for lines, documents in _blocks(item.path):
        counting.add(lines, documents)
    with atomic_path(folder / LENGTHS_FILE) as temporary, temporary.open("wb") as stream:
        np.save(stream, counting.tally.rows(), allow_pickle=False)
    return counting.finish()


def _blocks(path: Path) -> Iterator[tuple[NDArray[np.int64], list[Document]]]:
    """Some documents at a time, and the lines that they stand on."""
    block: list[Document] = []
    characters = 0
    for document in read_documents(path):
        block.append(document)
        characters += len(document.text)
        if len(block) == _BLOCK_DOCUMENTS or characters >= _BLOCK_CHARACTERS:
            yield _lines(block), block
            block, characters = [], 0
    if block:
        yield _lines(block), block


def _lines(documents: list[Document]) -> NDArray[np.int64]:
    return np.fromiter((document.line for document in documents), np.int64, len(documents))


def utf8_bytes(text: str) -> int:
    """The length of a text in UTF-8; of ASCII, which knows that it is, without a copy."""
    return len(text) if text.isascii() else len(text.encode())


class _Counting:
    """What was counted so far of one file."""

    def __init__(
        self, root: Path, path: Path, name: str, file: int, options: CountOptions, carried: Carried | None
    ) -> None:
        self.tally = LengthTally()
        self._options, self._encoder = options, cast("Encoder", carried.encoder if carried else None)
        self._detect = load_detector() if options.language_share else None
        self._asked = _Chosen(f"languages {name}", options.language_share)
        self._plan = None if options.planned is None else _PlannedFile(root, path, options.planned, file)
        self._documents = [0] * (1 + len(SPLITS))
        self._languages: list[dict[str, tuple[int, int]]] = [{} for _ in self._documents]
        self._sample = _Sample(name, options.sample_share)

    def add(self, lines: NDArray[np.int64], documents: list[Document]) -> None:
        """Counts a block of documents in order."""
        texts = [document.text for document in documents]
        sizes = {
            BYTES: np.fromiter(map(utf8_bytes, texts), np.int64, len(texts)),
            CHARACTERS: np.fromiter(map(len, texts), np.int64, len(texts)),
        }
        languages = self._detected(lines, texts)
        self._sample.add(lines, documents, sizes[BYTES])
        self._documents[AS_THEY_ARE] += len(texts)
        for unit, values in sizes.items():
            self.tally.add((AS_THEY_ARE, unit), values)
        self._add_languages(AS_THEY_ARE, languages, sizes[BYTES], np.ones(len(texts), np.int64))
        wanted = self._to_encode(lines)
        if wanted.size:
            tokens = self._tokens([texts[place] for place in wanted])
            self.tally.add((AS_THEY_ARE, TOKENS), tokens)
            if wanted.size == len(texts):
                sizes[TOKENS] = tokens
        if self._plan is not None:
            self._add_planned(self._plan, lines, texts, sizes, languages)

    def _detected(self, lines: NDArray[np.int64], texts: list[str]) -> list[str | None] | None:
        """The language of each text, None of those that are not in the sample."""
        if self._detect is None:
            return None
        found: list[str | None] = [None] * len(texts)
        for place in self._asked.places(lines).tolist():
            found[place] = self._detect(texts[place])
        return found

    def _to_encode(self, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._options.encode == "none":
            return np.empty(0, np.int64)
        if self._options.encode == "rest" and self._plan is not None:
            return np.flatnonzero(~np.isin(lines, self._plan.whole_lines))
        return np.arange(len(lines))

    def _tokens(self, texts: list[str]) -> NDArray[np.int64]:
        """Ids of each text and the end-of-text behind it, as shards hold them."""
        _, offsets = self._encoder.encode_batch(texts)
        ends = np.asarray(offsets, np.int64)
        return ends[1:] - ends[:-1] + 1

    def _add_planned(
        self,
        plan: _PlannedFile,
        lines: NDArray[np.int64],
        texts: list[str],
        sizes: dict[int, NDArray],
        languages: list[str | None] | None,
    ) -> None:
        rows = plan.rows(lines)
        place = np.searchsorted(lines, plan.lines[rows])
        measured = {unit: values[place] for unit, values in sizes.items()}
        if (cut := np.flatnonzero(plan.cut[rows])).size:
            pieces = [texts[place[row]][slice(*plan.pieces[int(rows[row])])] for row in cut]
            measured[BYTES][cut] = [utf8_bytes(piece) for piece in pieces]
            measured[CHARACTERS][cut] = [len(piece) for piece in pieces]
            if TOKENS in measured and self._options.encode_plan:
                measured[TOKENS][cut] = self._tokens(pieces)
        copies, splits, first = plan.copies[rows], plan.splits[rows], plan.first[rows]
        for number in range(len(SPLITS)):
            mine = np.flatnonzero(splits == number)
            if not mine.size:
                continue
            group = 1 + number
            self._documents[group] += int(first[mine].sum())
            for unit, values in measured.items():
                if unit != TOKENS or self._options.encode_plan:
                    self.tally.add((group, unit), values[mine], copies[mine])
            said = None if languages is None else [languages[at] for at in place[mine]]
            self._add_languages(group, said, measured[BYTES][mine], copies[mine])

    def _add_languages(
        self, group: int, languages: list[str | None] | None, sizes: NDArray[np.int64], copies: NDArray[np.int64]
    ) -> None:
        found = self._languages[group]
        for language, size, copy in zip(languages or (), sizes.tolist(), copies.tolist(), strict=False):
            if language is None:
                continue
            documents, text_bytes = found.get(language, (0, 0))
            found[language] = (documents + copy, text_bytes + copy * size)

    def finish(self) -> FileCounts:
        """What was counted. Raises CorruptData where the plan names documents that never came."""
        if self._plan is not None:
            self._plan.refuse_unread()
        return FileCounts(documents=self._documents, languages=self._languages, sample=self._sample.finish())


class _PlannedFile:
    """The rows of the plan of one file that have copies, as columns."""

    def __init__(self, root: Path, path: Path, component: int, file: int) -> None:
        plan = Plan.read_file(root, component, file)
        rows = plan.rows_of(component, file)
        self._path, self._root, self._read = path, root, 0
        self.lines = plan.column("line")[rows].astype(np.int64)
        self.copies = plan.column("copies")[rows].astype(np.int64)
        self.splits = plan.column("split")[rows]
        starts = plan.pieces("piece_start", rows)
        self.cut = np.array([start is not None for start in starts], bool)
        self.pieces = {}
        if self.cut.any():
            ends = plan.pieces("piece_end", rows)
            self.pieces = {int(row): (starts[row], ends[row]) for row in np.flatnonzero(self.cut)}
        self.whole_lines = self.lines[~self.cut]
        # Of a document in pieces the first one stands for it.
        self.first = np.ones(len(rows), bool)
        self.first[1:] = self.lines[1:] != self.lines[:-1]

    def rows(self, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of the next block of lines. Raises CorruptData where one of theirs is no document."""
        end = int(np.searchsorted(self.lines, lines[-1], "right"))
        rows = np.arange(self._read, end)
        self._read = end
        if missing := np.flatnonzero(~np.isin(self.lines[rows], lines)).tolist():
            raise self._without(int(self.lines[rows[missing[0]]]))
        return rows

    def refuse_unread(self) -> None:
        """Raises CorruptData where the file ended before its rows did."""
        if self._read < len(self.lines):
            raise self._without(int(self.lines[self._read]))

    def _without(self, line: int) -> CorruptData:
        return CorruptData(
            f"{self._path} has no document on line {line:,}, which the plan names",
            hint=f"it changed after the build: pile download and pile dedup again, then pile build --root {self._root}",
        )


class _Chosen:
    """A share of the lines of a file, by key."""

    def __init__(self, purpose: str, share: float) -> None:
        self._purpose = purpose
        self._limit = min(int(share * KEY_RANGE), KEY_RANGE)

    def places(self, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of these lines are among them."""
        if self._limit >= KEY_RANGE:
            return np.arange(len(lines))
        return np.flatnonzero(keyed_columns(SAMPLE_SEED, self._purpose, lines) < np.uint64(self._limit))


class _Sample:
    """A keyed sample of the lines of a file, compressed as a corpus file is."""

    def __init__(self, name: str, share: float) -> None:
        self._chosen = _Chosen(f"statistics {name}", share)
        self._stream = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True).compressobj()
        self._documents = self._text_bytes = self._bytes = 0

    def add(self, lines: NDArray[np.int64], documents: list[Document], sizes: NDArray[np.int64]) -> None:
        for place in self._chosen.places(lines).tolist():
            text, meta = documents[place].text, documents[place].meta
            line = b'{"text":' + msgspec.json.encode(text) + b',"meta":' + meta + b"}\n"
            self._bytes += len(self._stream.compress(line))
            self._documents += 1
            self._text_bytes += int(sizes[place])

    def finish(self) -> tuple[int, int, int]:
        end = self._stream.flush()
        return self._documents, self._text_bytes, self._bytes + len(end) if self._documents else 0


def counted_of(value: Any) -> FileCounts:
    """A task's result as it comes back from JSON."""
    return msgspec.convert(value, FileCounts)
