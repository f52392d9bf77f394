"""Lines of documents as a file, and what is read of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zstandard

from pile_toolkit.core.documents import Document, Reject, read_records

if TYPE_CHECKING:
    from pathlib import Path

GOOD = b'{"text":"good","meta":{"n":1}}'


def frame(data: bytes) -> bytes:
    """Data as a zstd frame with a checksum."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def records(path: Path, lines: bytes) -> list[Document | Reject]:
    """What is read of these lines, which are written to `path`."""
    path.write_bytes(frame(lines))
    return list(read_records(path))
