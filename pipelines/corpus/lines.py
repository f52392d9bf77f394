"""Lines of a component in, finished lines of the corpus out: the texts that the plan names, each meta with its name.

A line of the plain form needs no decoding: its text stands in it as it is to be written, once the hash of what it says
is the one of the plan. For large files a compiled loop finds it; without, and for all other lines, they are decoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import xxhash

from pile_toolkit.core import documents
from pile_toolkit.core.documents import decode_line
from pile_toolkit.core.plan.lines import PlannedLine, no_document, other_text, planned_documents, read_planned_lines
from pipelines.corpus.reading import MARGIN_BYTES, LineBuffer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from pile_toolkit.core.plan import Plan
    from pile_toolkit.core.plan.lines import Piece
    from pipelines.corpus.metas import Namer
    from pipelines.corpus.reading import WholeLines

# What arrays take for a row while its line waits.
WAITING_BYTES = 256
BEFORE_TEXT, _BEFORE_META, _AFTER_META = b'{"text":"', b'","meta":', b"}\n"
_WHOLE: list[Piece] = [(None, None)]


class _Line(msgspec.Struct):
    text: str
    meta: msgspec.Raw


_ENCODER = msgspec.json.Encoder()


class Batch(NamedTuple):
    """Finished lines of consecutive rows, in parts, as `join_lines` takes them: of rows from number `first` on.

    `spans[n]` is start and end of the text in `data`, as it is written there, and start and end in `rest` of what comes
    after it; where the first is -1, of the whole line. All of it is gone with the next batch.
    """

    first: int
    data: np.ndarray
    rest: np.ndarray
    spans: np.ndarray

    def line_bytes(self) -> np.ndarray:
        """Bytes of each line with its newline: int64."""
        start, end, rest_start, rest_end = self.spans.T
        return end - start + rest_end - rest_start + np.where(start >= 0, len(BEFORE_TEXT), 0)


def join_plainly(data: np.ndarray, rest: np.ndarray, spans: np.ndarray, chosen: np.ndarray, out: np.ndarray) -> int:
    """What the kernel `join_lines` does."""
    texts, rests = data.data, rest.data
    parts: list[bytes | memoryview] = []
    for start, end, rest_start, rest_end in spans[chosen].tolist():
        if start >= 0:
            parts += (BEFORE_TEXT, texts[start:end])
        parts.append(rests[rest_start:rest_end])
    joined = b"".join(parts)
    out[: len(joined)] = np.frombuffer(joined, np.uint8)
    return len(joined)


class Finisher:
    """Makes the lines of ascending `rows` of one file, a batch of about `batch_bytes` at a time.

    `kernels` is the module of the compiled loop, or None.
    """

    def __init__(
        self, plan: Plan, path: Path, name: Namer, kernels: ModuleType | None, *, batch_bytes: int = 1 << 20
    ) -> None:
        self._plan, self._path, self._name = plan, path, name
        self._find: Any = kernels.find_lines if kernels else None
        self._numbers: int = kernels.FOUND if kernels else 0
        self._batch_bytes = batch_bytes
        self._plain = np.empty(0, np.uint8)
        self._rest: list[bytes] = []
        self._rest_bytes = 0

    def batches(self, component: int, file: int, rows: np.ndarray) -> Iterator[Batch]:
        """A line for every row, in their order.

        Raises CorruptData where a text is not the one of the plan, a line no document, or the file ends before.
        """
        return self._found(rows) if self._find else self._one_by_one(component, file, rows)

    def _one_by_one(self, component: int, file: int, rows: np.ndarray) -> Iterator[Batch]:
        first, spans = 0, []
        for planned in read_planned_lines(self._plan, component, file, rows):
            spans += self._decoded(planned)
            if self._rest_bytes + WAITING_BYTES * len(spans) >= self._batch_bytes:
                yield self._batch(first, _NOTHING, [np.array(spans, np.int64)])
                first, spans = first + len(spans), []
        if spans:
            yield self._batch(first, _NOTHING, [np.array(spans, np.int64)])

    def _found(self, rows: np.ndarray) -> Iterator[Batch]:
        wanted, text, hashes = planned_documents(self._plan, rows), LineBuffer(self._path), _hashes(self._plan)
        number, done, first, waiting = 1, 0, 0, 0
        spans: list[np.ndarray] = []
        while done < len(wanted.numbers):
            lines = text.read()
            if lines is None:
                raise no_document(self._plan, self._path, int(wanted.numbers[done]))
            found, number = self._look(text.data, lines, number, wanted.numbers, done)
            end = done + len(found)
            places = wanted.first[done : end + 1]
            hashed = hashes[rows[places[:-1]]]
            spans.append(self._spans(text.data, found, rows, places, wanted.whole[done:end], hashed))
            waiting, done = waiting + len(spans[-1]), end
            if lines.end + self._rest_bytes + WAITING_BYTES * waiting >= self._batch_bytes:
                yield self._batch(first, text.data, spans)
                text.forget()
                first, waiting, spans = first + waiting, 0, []
        if waiting:
            yield self._batch(first, text.data, spans)
        text.close()

    def _batch(self, first: int, data: np.ndarray, spans: list[np.ndarray]) -> Batch:
        rest = np.frombuffer(b"".join(self._rest), np.uint8)
        self._rest, self._rest_bytes = [], 0
        return Batch(first, data, rest, np.concatenate(spans))

    def _look(
        self, data: np.ndarray, lines: WholeLines, number: int, numbers: np.ndarray, done: int
    ) -> tuple[np.ndarray, int]:
        """What the compiled loop finds, and the number of the line after these."""
        if len(self._plain) < lines.end - lines.begin + MARGIN_BYTES:
            self._plain = np.empty(lines.end - lines.begin + MARGIN_BYTES, np.uint8)
        found = np.empty((min(lines.lines, len(numbers) - done), self._numbers), np.int64)
        count, number = self._find(data, lines.begin, lines.end, number, numbers, done, self._plain, found)
        return found[:count], number

    def _spans(
        self,
        data: np.ndarray,
        found: np.ndarray,
        rows: np.ndarray,
        places: np.ndarray,
        whole: np.ndarray,
        hashes: np.ndarray,
    ) -> np.ndarray:
        """The spans of the rows of these documents: int64[rows, 4]. `hashes` are those that their texts must have."""
        spans = np.empty((len(found), 4), np.int64)
        spans[:, :2], spans[:, 2:] = found[:, 2:4], self._metas(data, found)
        sound = whole & (found[:, 2] >= 0) & (found[:, 1] - found[:, 0] <= documents.LONGEST_LINE_BYTES)
        sound &= (found[:, 7:9] == hashes.view(np.int64)).all(axis=1)
        sound &= spans[:, 2] >= 0
        if sound.all():
            return spans
        spans = np.repeat(spans, np.diff(places), axis=0)
        for place in np.flatnonzero(~sound).tolist():
            some = slice(int(places[place]), int(places[place + 1]))
            pieces = None
            if not whole[place]:
                starts, ends = (self._plan.pieces(name, rows[some]) for name in ("piece_start", "piece_end"))
                pieces = list(zip(starts, ends, strict=True))
            line = data[found[place, 0] : found[place, 1]].tobytes()
            number = int(self._plan.column("line")[rows[some.start]])
            planned = PlannedLine(number, line, hashes[place].tobytes(), pieces)
            spans[some.start - places[0] : some.stop - places[0]] = self._decoded(planned)
        return spans

    def _metas(self, data: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Start and end of what comes after each text; -1 where its meta is none as it stands in the line."""
        changes = np.flatnonzero(found[:, 6])
        ends = np.full((len(changes) + 1, 2), -1, np.int64)
        for number, (meta, newline) in enumerate(zip(*found[changes][:, [4, 1]].T.tolist(), strict=True)):
            named = self._name.of_line(data[meta : newline - 1].tobytes())
            if named is not None:
                ends[number] = self._keep(b"".join((_BEFORE_META, named, _AFTER_META)))
        return ends[np.cumsum(found[:, 6]) - 1]

    def _decoded(self, planned: PlannedLine) -> list[tuple[int, int, int, int]]:
        """The spans of the rows of a line of whatever form."""
        try:
            text, meta = decode_line(planned.line)
        except ValueError as error:
            raise no_document(self._plan, self._path, planned.number) from error
        if xxhash.xxh3_128_digest(text.encode()) != planned.text_hash:
            raise other_text(self._plan, self._path, planned.number)
        raw, spans = msgspec.Raw(self._name(meta)), []
        for start, end in planned.pieces or _WHOLE:
            line = _ENCODER.encode(_Line(text if start is None else text[start:end], raw))
            spans.append((-1, -1, *self._keep(line + b"\n")))
        return spans

    def _keep(self, part: bytes) -> tuple[int, int]:
        """Where it will stand in `rest`."""
        self._rest.append(part)
        self._rest_bytes += len(part)
        return self._rest_bytes - len(part), self._rest_bytes


def _hashes(plan: Plan) -> np.ndarray:
    """Those of all rows, as they lie in memory: uint64[rows, 2]."""
    groups = [block["text_hash"] for _, block in plan.blocks(["text_hash"])]
    return groups[0] if len(groups) == 1 else np.concatenate([np.empty((0, 2), np.uint64), *groups])


_NOTHING = np.empty(0, np.uint8)
