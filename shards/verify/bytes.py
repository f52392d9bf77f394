"""Files in, what is wrong with their bytes out: size and hash against a manifest, ids against a vocabulary.

Every file is read once, in blocks; ids are looked at by several threads while one hashes.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xxhash

from shards.verify.sequences import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from pile_toolkit.core.console import Advance, Reporter
    from pile_toolkit.core.manifest import OutputFile

BLOCK_BYTES = 16 << 20


class ReadFiles(NamedTuple):
    """What was found, and the files that are what the manifest says."""

    problems: list[Problem]
    sound: list[str]


def read_files(
    paths: Sequence[Path],
    *,
    ids_type: np.dtype | None,
    vocab_size: int | None,
    recorded: Mapping[str, OutputFile],
    jobs: int,
    reporter: Reporter,
) -> ReadFiles:
    """Reads files whose hash is recorded, and every `.bin` whose ids have the type `ids_type`."""
    found = ReadFiles([], [])
    total = sum(path.stat().st_size for path in paths)
    with reporter.progress("verify", total=total, unit="bytes") as advance, ThreadPoolExecutor(jobs) as pool:
        for path in paths:
            wanted = recorded.get(str(path))
            kind = ids_type if path.suffix == ".bin" else None
            if wanted is None and kind is None:
                continue
            ids = _Ids(path, kind, vocab_size, pool, jobs) if kind is not None else None
            fact = _read(path, wanted, ids, advance)
            if fact is not None:
                hint = f"restore {path}, or write the shards again"
                found.problems.append(Problem(str(path), fact, hint))
            elif wanted is not None:
                found.sound.append(str(path))
            if ids is not None and (outside := ids.first_outside()) is not None:
                found.problems.append(outside)
    return found


def _read(path: Path, wanted: OutputFile | None, ids: _Ids | None, advance: Advance) -> str | None:
    """Reads one file through; what is wrong with its size or hash."""
    size = path.stat().st_size
    hasher = xxhash.xxh3_128() if wanted is not None and wanted.bytes == size else None
    if hasher is None and ids is None:
        return f"has {size:,} bytes, its manifest says {wanted.bytes:,}" if wanted is not None else None
    with path.open("rb", buffering=0) as file:
        while block := _block(file):
            if ids is not None:
                ids.look_at(block)
            if hasher is not None:
                hasher.update(block)
            advance(len(block))
    if wanted is None:
        return None
    if hasher is None:
        return f"has {size:,} bytes, its manifest says {wanted.bytes:,}"
    found = hasher.hexdigest()
    return None if found == wanted.hash else f"has the hash {found}, its manifest says {wanted.hash}"


def _block(file) -> bytes:
    # One read may give less than was asked for, and an id must not be cut in two.
    parts = []
    missing = BLOCK_BYTES
    while missing and (part := file.read(missing)):
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Ids:
    """Looks for ids outside a vocabulary in blocks of one file, some at a time; the first in the file counts."""

    def __init__(self, path: Path, kind: np.dtype, vocab_size: int | None, pool: ThreadPoolExecutor, jobs: int) -> None:
        self._path, self._kind, self._pool = path, kind, pool
        self._limit = vocab_size
        self._room = 2 * jobs
        self._bytes = 0
        self._pending: deque[Future[Problem | None]] = deque()
        self._problem: Problem | None = None

    def look_at(self, block: bytes) -> None:
        if len(self._pending) >= self._room:
            self._take()
        if self._problem is None:
            self._pending.append(self._pool.submit(self._look, block, self._bytes))
        self._bytes += len(block)

    def _take(self) -> None:
        problem = self._pending.popleft().result()
        self._problem = self._problem or problem

    def _look(self, block: bytes, first_byte: int) -> Problem | None:
        ids = np.frombuffer(block[: len(block) // self._kind.itemsize * self._kind.itemsize], self._kind)
        low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, 0)
        if low >= 0 and (self._limit is None or high < self._limit):
            return None
        wrong = ids < 0 if self._limit is None else (ids < 0) | (ids >= self._limit)
        place = int(np.argmax(wrong))
        limit = "any vocabulary" if self._limit is None else f"a vocabulary of {self._limit:,}"
        return Problem(
            str(self._path),
            f"id {ids[place]} at byte {first_byte + place * self._kind.itemsize:,} is outside {limit}",
            "write the shards again with the tokenizer of their manifest",
        )

    def first_outside(self) -> Problem | None:
        while self._pending:
            self._take()
        return self._problem
