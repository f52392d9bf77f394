"""Texts in, ids out, by the compiled kernels; safe to share between threads.

The ids depend on the tokenizer and the text alone: caches hold exact keys, and every thread has its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.characters.windows import changed_in_windows, room_for_windows
from tokenizer.encoding import kernels
from tokenizer.encoding.caches import borrow
from tokenizer.encoding.ids import GrowingIds
from tokenizer.encoding.merges import merge_arrays
from tokenizer.encoding.pieces import NO_TOKEN, Cutter
from tokenizer.normalization.library import library_nfc
from tokenizer.pretokens.tables import unicode_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tokenizer.definition import Definition
    from tokenizer.encoding.caches import Workspace

NO_WINDOWS = np.empty((0, 3), np.int64)


class Engine:
    """The arrays of one tokenizer and the loop around the kernel."""

    def __init__(self, definition: Definition, *, owner: str, dtype: np.dtype) -> None:
        self._merges = merge_arrays(definition)
        self._tables = unicode_tables()
        self._owner = owner
        self._dtype = dtype

    def encode(self, chunks: Sequence[Sequence[str]], cutter: Cutter) -> tuple[NDArray, NDArray[np.int64]]:
        """Ids of all texts one after the other, and how many each has; UnicodeEncodeError for a lone surrogate."""
        characters = sum(sum(map(len, texts)) for texts in chunks)
        ids, counts = GrowingIds(self._dtype, characters), [np.empty(0, np.int64)]
        with borrow(self._owner) as room:
            for texts in chunks:
                encode_chunk = self._encode_whole if cutter.whole else self._encode_pieces
                counts.append(encode_chunk(texts, cutter, room, ids))
        return ids.all(), np.concatenate(counts)

    def _encode_whole(
        self, texts: Sequence[str], cutter: Cutter, room: Workspace, ids: GrowingIds
    ) -> NDArray[np.int64]:
        ends = room.put(text.encode() for text in texts)
        tokens = np.full(len(texts), NO_TOKEN, np.int64)
        windows = NO_WINDOWS
        if cutter.normalize and not all(map(str.isascii, texts)):
            windows = room_for_windows(ends)
        counts, found = self._encode_parts(ends, tokens, cutter, room, ids, windows)
        if found == 0:
            return counts
        if changed := changed_in_windows(room.text, ends, windows[:found], library_nfc()):
            ends = room.put(changed.get(number) or text.encode() for number, text in enumerate(texts))
        return self._encode_parts(ends, tokens, cutter, room, ids, NO_WINDOWS)[0]

    def _encode_pieces(
        self, texts: Sequence[str], cutter: Cutter, room: Workspace, ids: GrowingIds
    ) -> NDArray[np.int64]:
        pieces: list[str] = []
        tokens: list[int] = []
        first_piece = []
        for text in texts:
            text.encode()  # a lone surrogate is found before the text is cut or normalized
            first_piece.append(len(pieces))
            for piece, token in cutter.pieces(text):
                if piece or token != NO_TOKEN:
                    pieces.append(piece)
                    tokens.append(token)
        ends = room.put(piece.encode() for piece in pieces)
        counts, _ = self._encode_parts(ends, np.array(tokens, np.int64), cutter, room, ids, NO_WINDOWS)
        return np.diff(np.concatenate([[0], np.cumsum(counts)])[[*first_piece, len(pieces)]])

    def _encode_parts(
        self,
        ends: NDArray[np.int64],
        tokens: NDArray[np.int64],
        cutter: Cutter,
        room: Workspace,
        ids: GrowingIds,
        windows: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], int]:
        """How many ids each part has; or, in `windows`, how many places there are to be normalized first."""
        counts = np.zeros(ends.size, np.int64)
        run_tokens = np.array(cutter.run_tokens or (0,), np.uint32)
        longest_run = max(1, len(cutter.run_tokens) - 1)
        most = (int(ends[-1]) if ends.size else 0) + ends.size + kernels.SLACK
        piece = at = 0
        while piece < ends.size:
            # One call a chunk, so that threads ask for Python's lock once.
            count, piece, at, long_bytes = kernels.encode_pieces(
                room.text, windows, ends, tokens, piece, at, longest_run, run_tokens, self._tables, self._merges,
                room.cache, room.scratch, room.ends, room.keys, ids.room(most), counts,
            )  # fmt: skip
            if count < 0:
                return counts, -count
            ids.added(count)
            windows = NO_WINDOWS
            if long_bytes:
                room.fit_scratch(long_bytes)
        return counts, 0
