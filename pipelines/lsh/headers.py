"""The first 64 bytes of a file of band hashes or of shingle sets: written last, checked before anything is believed."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, NamedTuple

from pile_toolkit.core.errors import CorruptData, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Magic, version, a number (bands, or zero), two counts, the digest in ASCII, padded by zeros.
_LAYOUT = struct.Struct("<8sIIQQ32s")
HEADER_BYTES = _LAYOUT.size
VERSION = 1
MOST_BANDS = 1 << 16
_DIGEST = re.compile(r"[0-9a-f]{16}(?:[0-9a-f]{16})?")


class Header(NamedTuple):
    """`digest` is that of the settings that the content was made with, as 16 or 32 hexadecimal digits."""

    bands: int
    rows: int
    values: int
    digest: str


def check_digest(digest: str) -> None:
    """Raises UsageError where it is none."""
    if not _DIGEST.fullmatch(digest):
        raise UsageError(f"the settings' digest {digest!r} is not 16 or 32 hexadecimal digits", hint="digest=...")


def pack(magic: bytes, header: Header) -> bytes:
    """The 64 bytes."""
    return _LAYOUT.pack(magic, VERSION, header.bands, header.rows, header.values, header.digest.encode())


def read_header(path: Path, magic: bytes, *, name: str) -> Header:
    """The header of a file; `name` says what it should be. Raises UsageError without a file, CorruptData."""
    try:
        with path.open("rb") as stream:
            data = stream.read(HEADER_BYTES)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file of {name} {path}", hint="the same command again makes it") from error
    if len(data) < HEADER_BYTES:
        raise damaged(path, name, f"it has {len(data)} bytes, its header alone has {HEADER_BYTES}")
    found, version, bands, rows, values, digest = _LAYOUT.unpack(data)
    if found != magic:
        raise damaged(path, name, f"it begins with {found!r}, not with {magic!r}")
    if version != VERSION:
        raise damaged(path, name, f"it is of version {version}, known is {VERSION}")
    text = digest.rstrip(b"\0").decode("ascii", "replace")
    if not _DIGEST.fullmatch(text):
        raise damaged(path, name, f"its digest of the settings is {text!r}")
    return Header(bands, rows, values, text)


def check_size(path: Path, expected_bytes: int, *, name: str) -> None:
    """Raises CorruptData where a file is shorter or longer than its header says."""
    found_bytes = path.stat().st_size
    if found_bytes != expected_bytes:
        raise damaged(path, name, f"it has {found_bytes:,} bytes, its header says {expected_bytes:,}")


def check_same(paths: Sequence[Path], headers: Sequence[Header], *, name: str) -> None:
    """Raises UsageError where files were made with different settings."""
    for path, header in zip(paths, headers, strict=True):
        if (header.bands, header.digest) != (headers[0].bands, headers[0].digest):
            raise UsageError(
                f"{path} holds {name} of other settings than {paths[0]}: "
                f"{header.bands} bands, {header.digest}, against {headers[0].bands} bands, {headers[0].digest}",
                hint=f"make both with the same settings: rm {path}, then the same command again",
            )


def damaged(path: Path, name: str, fact: str) -> CorruptData:
    """The error of such a file."""
    return CorruptData(f"{path} is no file of {name}: {fact}", hint=f"rm {path}, then the same command again")
