"""Arrays by the hash of what they were made of: built by one process, mapped read-only by all, never beside the data.

A file is `<key>.index`: a magic, the length of a header, the header (JSON: types, shapes, places, the hash of the
content), then the arrays, each at a multiple of 64 bytes. It appears by a rename, so that whoever opens it sees all of
it; one that is not what its header says is built again. A lock makes processes that start together build once; where
the file system has no locks they build side by side, and the last rename wins over equal content.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import mmap
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import xxhash

from pile_toolkit.core.caches import NAME, user_cache_folders
from pile_toolkit.core.console import reporter
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import fsync_file, naming_full_disks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

MAGIC = b"PILEIDX1"
# Raised when the arrays for the same request change.
FORMAT = 1
# Below, building takes less time than asking the disk; only a folder that was named is used for those.
LEAST_BYTES = 8 << 20
HEADER_LIMIT_BYTES = 64 << 10

_ALIGNMENT = 64
_HASH_BLOCK_BYTES = 4 << 20
_LENGTH = struct.Struct("<8sQ")


class _Array(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    dtype: str
    shape: list[int]
    at: int


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: str
    content: str
    arrays: list[_Array]


def cache_key(*parts: object) -> str:
    """XXH3-128 of all that the arrays are made of, 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(msgspec.json.encode([FORMAT, *map(str, parts)]))


def cached_arrays(
    key: str,
    build: Callable[[], Sequence[NDArray]],
    *,
    expected_bytes: int,
    cache_dir: str | Path | None,
) -> tuple[tuple[NDArray, ...], Path | None]:
    """The arrays of `key`, read-only, and the file they lie in: mapped from the cache, or built and put there.

    Without `cache_dir` it is the user's cache folder, for arrays of at least `LEAST_BYTES`; where that cannot be
    written, the arrays stay in memory and the file is None. Raises UsageError where the folder that was named cannot be
    written, DiskFull where it has no room.
    """
    if cache_dir is not None:
        return _open_or_build(Path(cache_dir), key, build)
    if expected_bytes >= LEAST_BYTES:
        for parent in user_cache_folders():
            with contextlib.suppress(UsageError, OSError):
                return _open_or_build(parent / NAME / "index", key, build)
    return tuple(map(_frozen, build())), None


def _open_or_build(folder: Path, key: str, build: Callable[[], Sequence[NDArray]]) -> tuple[tuple, Path]:
    path = folder / f"{key}.index"
    # Without the lock first: a folder that holds it need not be writable.
    if (arrays := _open_sound(path, key)) is not None:
        return arrays, path
    with _naming_unwritable(folder), _locked(folder, key):
        # Whoever had the lock before may have built it.
        if (arrays := _open_sound(path, key, says=reporter().say)) is not None:
            return arrays, path
        _write(path, key, build())
    return read_arrays(path, key), path


def _open_sound(path: Path, key: str, says: Callable[[str], None] = lambda message: None) -> tuple | None:
    try:
        return read_arrays(path, key)
    except OSError:
        # Absent, or in a folder that cannot be used: which of them, the attempt to write will say.
        return None
    except CorruptData as error:
        says(f"{error}: building it again")
        return None


def read_arrays(path: Path, key: str) -> tuple[NDArray, ...]:
    """The arrays of a cache file, mapped read-only.

    Raises CorruptData where it is not what it claims to be, every byte of the arrays included; FileNotFoundError.
    """
    with path.open("rb") as file:
        total_bytes = os.fstat(file.fileno()).st_size
        magic, header_bytes = _LENGTH.unpack(file.read(_LENGTH.size).ljust(_LENGTH.size, b"\0"))
        if magic != MAGIC or header_bytes > HEADER_LIMIT_BYTES:
            raise CorruptData(f"{path} is no cached index")
        try:
            header = msgspec.json.decode(file.read(header_bytes), type=_Header)
            types = [np.dtype(array.dtype) for array in header.arrays]
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, ValueError) as error:
            raise CorruptData(f"{path} has no readable header: {error}") from error
        _check_places(path, header, types, total_bytes)
        if header.key != key:
            raise CorruptData(f"{path} holds the index {header.key}")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if _content_hash([memoryview(mapped)[_aligned(_LENGTH.size + header_bytes) :]]) != header.content:
        raise CorruptData(f"{path} was damaged after it was written")
    return tuple(
        np.frombuffer(mapped, kind, _elements(array), array.at).reshape(array.shape)
        for array, kind in zip(header.arrays, types, strict=True)
    )


def _check_places(path: Path, header: _Header, types: list[np.dtype], total_bytes: int) -> None:
    for array, kind in zip(header.arrays, types, strict=True):
        if kind.kind not in "iu" or min(array.shape, default=-1) < 0 or array.at < 0 or array.at % _ALIGNMENT:
            raise CorruptData(f"{path} has an impossible array: {array}")
        end = array.at + kind.itemsize * _elements(array)
        if end > total_bytes:
            raise CorruptData(f"{path} has {total_bytes:,} bytes, its arrays end at {end:,}")


def _elements(array: _Array) -> int:
    product = 1
    # In Python's integers, which do not overflow.
    for length in array.shape:
        product *= length
    return product


def _write(path: Path, key: str, arrays: Sequence[NDArray]) -> None:
    arrays = [np.ascontiguousarray(array) for array in arrays]
    # Places need the length of the header, which holds them: with room for the longest numbers it is known.
    start = _aligned(_LENGTH.size + len(_header(key, "0" * 32, arrays, 1 << 60)))
    header = _header(key, _content_hash(_pieces(arrays)), arrays, start)
    # Host and process, because the folder may be shared by machines that number their processes alike.
    temporary = path.with_name(f".{key}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with naming_full_disks(path, needs_bytes=sum(array.nbytes for array in arrays)):
            with temporary.open("wb") as file:
                file.write(_LENGTH.pack(MAGIC, start - _LENGTH.size))
                file.write(header.ljust(start - _LENGTH.size))
                for piece in _pieces(arrays):
                    file.write(piece)
            fsync_file(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _header(key: str, content: str, arrays: Sequence[NDArray], start: int) -> bytes:
    described, at = [], start
    for array in arrays:
        described.append(_Array(dtype=array.dtype.str, shape=list(array.shape), at=at))
        at = _aligned(at + array.nbytes)
    return msgspec.json.encode(_Header(key=key, content=content, arrays=described))


def _pieces(arrays: Sequence[NDArray]) -> Iterator[Any]:
    for array in arrays:
        yield array.reshape(-1).view(np.uint8).data
        yield bytes(_aligned(array.nbytes) - array.nbytes)


def _content_hash(pieces: Any) -> str:
    hasher = xxhash.xxh3_128()
    for piece in pieces:
        for first in range(0, len(piece), _HASH_BLOCK_BYTES):
            hasher.update(piece[first : first + _HASH_BLOCK_BYTES])
    return hasher.hexdigest()


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


@contextlib.contextmanager
def _naming_unwritable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"the index cannot be kept in {folder}: {error.strerror}", hint="--cache-dir with a folder to write to"
        ) from error


@contextlib.contextmanager
def _locked(folder: Path, key: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{key}.lock").open("w") as lock:
        # Some shared file systems have no locks; then processes build side by side.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        _remove_leftovers(folder, key)
        yield


def _remove_leftovers(folder: Path, key: str) -> None:
    import psutil

    # Of this machine's own dead processes only: nobody here knows whether those of another live.
    for leftover in folder.glob(f".{glob.escape(key)}.{glob.escape(socket.gethostname())}.*.tmp"):
        process = leftover.name.split(".")[-2]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            leftover.unlink(missing_ok=True)


def _frozen(array: NDArray) -> NDArray:
    array.flags.writeable = False
    return array
