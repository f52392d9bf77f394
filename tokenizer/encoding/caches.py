"""Room to work in for a thread at a time: at most LIMIT_BYTES in all caches of all encoders of a process.

A cache belongs to the tokenizer whose ids it holds and to one thread as long as that borrows it. Where all exist and
are in use, a thread waits for one; where one is free, it is emptied for the tokenizer that needs it. Copies of one
tokenizer share theirs.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

import numpy as np

from tokenizer.encoding.kernels import CACHE_SIZE, LOOKAHEAD
from tokenizer.encoding.merging.kernels import SHORT_BYTES
from tokenizer.pretokens.kernels import PADDING, SMALLEST_ENDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

LIMIT_BYTES = 256 << 20
CACHE_BYTES = 8 * CACHE_SIZE
MOST_CACHES = LIMIT_BYTES // CACHE_BYTES
ENDS = 4 * SMALLEST_ENDS
TEXT_BYTES = 1 << 20
# Numbers of 64 bits in a cache line.
LINE = 8


class Workspace:
    """A cache, and the scratch of a thread: 1.1 MiB, and 24 times the bytes of a long pre-token as long as it takes."""

    def __init__(self) -> None:
        self.owner = ""
        # A slot must not lie across two of the processor's cache lines.
        room = np.zeros(CACHE_SIZE + LINE, np.uint64)
        first = -(room.ctypes.data // 8) % LINE
        self.cache = room[first : first + CACHE_SIZE]
        self.ends = np.empty(ENDS, np.int64)
        self.keys = np.empty((LOOKAHEAD, 3), np.uint64)
        self.shrink()

    def shrink(self) -> None:
        """Scratch and results for ordinary text."""
        self.text = np.zeros(TEXT_BYTES, np.uint8)
        self.fit_scratch(SHORT_BYTES)

    @property
    def grown(self) -> bool:
        """Whether something here is larger than ordinary text needs."""
        return self.scratch[0].size > SHORT_BYTES or self.text.size > TEXT_BYTES

    def put(self, parts: Iterable[bytes]) -> NDArray[np.int64]:
        """Lays the parts one after the other into `text`; the offsets where they end.

        Into memory that the processor has at hand: new memory for each part would take as long as to encode it.
        """
        memory, end = self.text.data, 0
        ends = []
        for part in parts:
            start, end = end, end + len(part)
            if end + PADDING > self.text.size:
                before, self.text = self.text, np.zeros(2 * end + PADDING, np.uint8)
                self.text[:start] = before[:start]
                memory = self.text.data
            memory[start:end] = part
            ends.append(end)
        return np.array(ends, np.int64)

    def fit_scratch(self, size: int) -> None:
        """What the merge loops write to, for a pre-token of `size` bytes."""
        self.scratch = (
            np.empty(size, np.int32),
            np.empty(size, np.uint32),
            np.empty(2 * size, np.int32),
            np.empty(2 * size, np.uint64),
        )


class Pool:
    """Hands out workspaces, a limited number of them."""

    def __init__(self, most: int = MOST_CACHES) -> None:
        self._most = most
        self._made = 0
        self._free: list[Workspace] = []
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def borrow(self, owner: str) -> Iterator[Workspace]:
        """A workspace of this thread, its cache empty or filled by tokenizers of the same `owner`."""
        with self._changed:
            while (workspace := self._take(owner)) is None:
                self._changed.wait()
        try:
            if workspace.owner != owner:
                workspace.cache[:] = 0
                workspace.owner = owner
            yield workspace
        finally:
            if workspace.grown:
                workspace.shrink()
            with self._changed:
                self._free.append(workspace)
                self._changed.notify()

    def _take(self, owner: str) -> Workspace | None:
        for place in reversed(range(len(self._free))):
            if self._free[place].owner == owner:
                return self._free.pop(place)
        if self._made < self._most:
            self._made += 1
            return Workspace()
        # The one that was not used for the longest time.
        return self._free.pop(0) if self._free else None


_pool = Pool()


def borrow(owner: str) -> contextlib.AbstractContextManager[Workspace]:
    """A workspace out of the pool of this process."""
    return _pool.borrow(owner)


def _after_fork() -> None:
    # Another thread of the parent may have held the lock or a cache at that moment.
    global _pool
    _pool = Pool()


os.register_at_fork(after_in_child=_after_fork)
