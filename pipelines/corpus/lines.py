"""Lines of a component in, finished lines of the corpus out: the texts that the plan names, each meta with its name.

A line of the plain form needs no decoding: its text stands in it as it is to be written, once the hash of what it says
is the one of the plan. For large files a compiled loop finds it; without, and for all other lines, they are decoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import xxhash

from pile_toolkit.core.documents import decode_line
from pile_toolkit.core.plan.lines import no_document, other_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from types import ModuleType

    from pile_toolkit.core.plan import Plan
    from pile_toolkit.core.plan.lines import Piece, PlannedLine
    from pipelines.corpus.metas import Namer

BATCH_BYTES = 256 << 10
BATCH_LINES = 1 << 12
# Read by the compiled loop eight at a time.
_PADDING = bytes(8)
_BEFORE_TEXT, _BEFORE_META, _AFTER_META = b'{"text":"', b'","meta":', b"}"
_WHOLE: list[Piece] = [(None, None)]


class _Line(msgspec.Struct):
    text: str
    meta: msgspec.Raw


_ENCODER = msgspec.json.Encoder()


class Finisher:
    """Makes the lines of one file; `kernels` is the module of the compiled loop, or None."""

    def __init__(self, plan: Plan, path: Path, name: Namer, kernels: ModuleType | None) -> None:
        self._plan, self._path, self._name = plan, path, name
        self._find: Callable | None = kernels.find_plain if kernels else None

    def finished(self, planned: Iterable[PlannedLine]) -> Iterator[bytes]:
        """A line without its newline for every row that the planned lines stand for, in their order.

        Raises CorruptData where a text is not the one of the plan, or a line no document.
        """
        if self._find is None:
            for each in planned:
                yield from self._decoded(each)
            return
        batch: list[PlannedLine] = []
        batch_bytes = 0
        for each in planned:
            batch.append(each)
            # Of a line too long to be held only its length is there.
            batch_bytes += len(each.line)
            if batch_bytes >= BATCH_BYTES or len(batch) == BATCH_LINES:
                yield from self._batch(batch)
                batch.clear()
                batch_bytes = 0
        yield from self._batch(batch)

    def _decoded(self, planned: PlannedLine) -> Iterator[bytes]:
        try:
            text, meta = decode_line(planned.line)
        except ValueError as error:
            raise no_document(self._plan, self._path, planned.number) from error
        if xxhash.xxh3_128_digest(text.encode()) != planned.text_hash:
            raise other_text(self._plan, self._path, planned.number)
        raw = msgspec.Raw(self._name(meta))
        for start, end in planned.pieces or _WHOLE:
            yield _ENCODER.encode(_Line(text if start is None else text[start:end], raw))

    def _batch(self, batch: list[PlannedLine]) -> Iterator[bytes]:
        import numpy as np

        if not batch or self._find is None:
            return
        lines = [bytes(each.line) if isinstance(each.line, bytes | bytearray) else b"" for each in batch]
        joined = b"\n".join([*lines, _PADDING])
        ends = np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)) + 1) - 1
        plain, found = np.empty(len(joined), np.uint8), np.empty((len(batch), 4), np.int64)
        self._find(np.frombuffer(joined, np.uint8), ends, plain, found)
        texts, begin, at = plain.data, 0, 0
        for each, line, end, (start, close, meta, text_end) in zip(
            batch, lines, ends.tolist(), found.tolist(), strict=True
        ):
            named = None
            if start >= 0 and each.pieces is None and xxhash.xxh3_128_digest(texts[at:text_end]) == each.text_hash:
                named = self._name.of_line(line[meta - begin : -1])
            if named is None:
                yield from self._decoded(each)
            else:
                yield b"".join((_BEFORE_TEXT, line[start - begin : close - begin], _BEFORE_META, named, _AFTER_META))
            begin, at = end + 1, text_end
