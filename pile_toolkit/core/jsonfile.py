"""A JSON file in, a typed value out: bounded in bytes and in nesting before anything is built from it.

Every file that says what other files are (manifests, records of parts, tokenizers, configurations of models) is read
here, so that a hostile or damaged one is one sentence and never a full memory, a hang or a RecursionError.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from pile_toolkit.core.errors import CorruptData

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

# Of a file with one small fact in it: a lease, the record of a part.
RECORD_LIMIT_BYTES = 64 << 10
# config.json and its like, run states; the largest published ones have some ten kilobytes.
CONFIG_LIMIT_BYTES = 4 << 20
# A manifest has some 150 bytes per output: 400,000 files.
MANIFEST_LIMIT_BYTES = 64 << 20
# The largest published tokenizer.json files have 35 MB (256,000 tokens).
TOKENIZER_LIMIT_BYTES = 64 << 20
# No file of ours and none of Hugging Face's nests 20 deep. What the parser itself takes depends on Python's version.
NESTING_LIMIT = 256


def read_json(path: Path, kind: type[T], *, limit_bytes: int, what: str = "valid JSON", hint: str | None = None) -> T:
    """The content of a JSON file as a `kind`; `what` is what it should be, for the error.

    Raises CorruptData where it is no regular file, larger than `limit_bytes`, nested too deep or not a `kind`; OSError,
    FileNotFoundError among them, where it cannot be opened: only the caller knows what an absent file means.
    """
    return decode_json(
        read_bounded(path, limit_bytes=limit_bytes, hint=hint), kind, name=str(path), what=what, hint=hint
    )


def read_bounded(path: Path, *, limit_bytes: int, hint: str | None = None) -> bytes:
    """All bytes of a regular file. Raises CorruptData where there are more than `limit_bytes`, and OSError."""
    # Without waiting: a named pipe in the place of a file would hold the open for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(21, "Is a directory", str(path))
        if not stat.S_ISREG(status.st_mode):
            raise CorruptData(f"{path} is not a regular file", hint=hint)
        # By what is read: a size looked up before may have changed.
        data = b"" if status.st_size > limit_bytes else file.read(limit_bytes + 1)
    size = max(status.st_size, len(data))
    if size > limit_bytes:
        raise CorruptData(f"{path} has {size:,} bytes, such a file has at most {limit_bytes:,}", hint=hint)
    return data


def decode_json(data: bytes | str, kind: type[T], *, name: str, what: str = "valid JSON", hint: str | None = None) -> T:
    """Bytes as a `kind`; `name` is what errors call them. Raises CorruptData where they are none or nested too deep."""
    try:
        value = msgspec.json.decode(data, type=kind)
    except RecursionError as error:
        raise _too_deep(name, what, hint) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptData(f"{name} is not {what}: {error}", hint=hint) from error
    if _is_deeper(value, NESTING_LIMIT):
        raise _too_deep(name, what, hint)
    return value


def _too_deep(name: str, what: str, hint: str | None) -> CorruptData:
    return CorruptData(f"{name} is not {what}: its brackets are nested more than {NESTING_LIMIT} deep", hint=hint)


def _is_deeper(value: Any, limit: int) -> bool:
    # Level by level, and only what holds something: half a million names of tokens are looked at once each.
    level = [value]
    for _ in range(limit):
        level = [item for holder in level for item in _items(holder) if isinstance(item, _HOLDERS)]
        if not level:
            return False
    return True


_HOLDERS = (dict, list, tuple, msgspec.Struct)


def _items(holder: Any) -> Any:
    if isinstance(holder, dict):
        return holder.values()
    if isinstance(holder, msgspec.Struct):
        return (getattr(holder, name) for name in holder.__struct_fields__)
    return holder if isinstance(holder, (list, tuple)) else ()
