"""nanoGPT's `.bin` in and out: ids of one type one after the other, no header and no documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path
from shards.exchange.blocks import blocks
from shards.exchange.shapes import Incoming, Part, Reading, Writing, Written, raw_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from shards.dataset import TokenDataset

HIGHEST = 2**16 - 1
# llm.c and its followers begin with 256 numbers, of which this is the first.
LLM_C = (20_240_520).to_bytes(4, "little")


def read(source: Path, reading: Reading) -> Incoming:
    """A file of ids, cut after every end-of-text. Raises UsageError where that id is not given."""
    if reading.end_of_text is None:
        raise UsageError(
            f"{source} does not say where documents end: which id is the end-of-text?",
            hint="--end-of-text 50256, GPT-2's",
        )
    end, (tokens, ids) = reading.end_of_text, raw_ids(source, reading.id_type or "uint16")
    _refuse_header(source)

    def parts() -> Iterator[Part]:
        for block in ids:
            yield Part(block, np.flatnonzero(block == end) + 1)

    return Incoming(parts=parts(), tokens=tokens)


def _refuse_header(source: Path) -> None:
    with source.open("rb") as file:
        head = file.read(8)
    if head.startswith((b"\x93NUMPY", b"PK\x03\x04", b"MMIDIDX")) or head[:4] == LLM_C:
        raise CorruptData(
            f"{source} begins with a header ({head!r}), a .bin of nanoGPT has none",
            hint="another --from, or its ids alone",
        )


def write(dataset: TokenDataset, output: Path, writing: Writing, advance: Callable[[int], None]) -> Written:
    """Every sequence in the order of the index, copies written out. Raises UsageError for ids over 65,535."""
    with atomic_path(output, needs_bytes=2 * dataset.total_tokens) as temporary, temporary.open("wb") as file:
        for block in blocks(dataset):
            file.write(_narrow(block.ids, dataset.prefix).data)
            advance(len(block.ids))
    return Written(files=[output], said=["documents are not marked: each ends where its end-of-text stands"])


def _narrow(ids: NDArray, prefix: str) -> NDArray:
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) <= HIGHEST:
        raise UsageError(
            f"{prefix} holds ids from {int(ids.min()):,} to {int(ids.max()):,}, two bytes hold 0 to {HIGHEST:,}",
            hint="--to megatron keeps them",
        )
    return np.ascontiguousarray(ids, "<u2")
