"""A compressed file in, its bytes out, forward only: all of them or CorruptData, and never more than it may hold.

gzip, bzip2, xz and deflate; zstd is read by core/frames.py. The standard library's own readers of bzip2 and xz pass
over damage behind the first stream; here every stream is walked to its end mark.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.frames import BOMB_RATIO, BOMB_SLACK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Small, because all that comes out of one block is in memory at once: bzip2 makes some 20 KiB of a byte.
BLOCK_BYTES = 1 << 10
PLAIN_BLOCK_BYTES = 1 << 20
# Of an xz file: its largest preset takes 65 MiB.
XZ_MEMORY_BYTES = 512 << 20
REPAIR = "fetch or make the archive again"
_FAULTS = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How one kind of compression is undone: `padded` where zeros may follow a stream, `single` where nothing may.

    `decoder` makes what zlib, bz2 and lzma have in common: decompress, eof, unused_data.
    """

    name: str
    decoder: Callable[[], Any]
    padded: bool = False
    single: bool = False


GZIP = Codec(name="gzip", decoder=lambda: zlib.decompressobj(wbits=31), padded=True)
BZIP2 = Codec(name="bzip2", decoder=bz2.BZ2Decompressor)
XZ = Codec(name="xz", decoder=lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES), padded=True)
# Inside a zip, where a member is one stream.
DEFLATE = Codec(name="deflate", decoder=lambda: zlib.decompressobj(wbits=-15), single=True)
BZIP2_MEMBER = Codec(name="bzip2", decoder=bz2.BZ2Decompressor, single=True)


class Budget:
    """Bytes that may still come out of one archive, by the bytes that it has on the disk and not by what it says."""

    def __init__(self, path: Path, *, compressed_bytes: int) -> None:
        self._path, self._compressed_bytes, self._spent_bytes = path, compressed_bytes, 0
        self._limit_bytes = BOMB_SLACK_BYTES + BOMB_RATIO * compressed_bytes

    def spend(self, count_bytes: int) -> None:
        """Raises CorruptData where that is more than is left."""
        self._spent_bytes += count_bytes
        if self._spent_bytes > self._limit_bytes:
            raise CorruptData(
                f"{self._path} has {self._compressed_bytes:,} bytes and unpacks to more than {self._limit_bytes:,}, "
                f"{BOMB_SLACK_BYTES:,} and {BOMB_RATIO:,} times its size: it is not what it claims to be",
                hint="unpack it yourself if you trust it, and name the folder",
            )


def unpacked(read: Callable[[int], bytes], codec: Codec, *, name: str, budget: Budget) -> Iterator[bytes]:
    """The blocks of a compressed file, all its streams; `read` gives its bytes, `name` is what errors call it.

    Raises CorruptData with the offset where it is damaged, cut short or followed by what is not compressed.
    """
    decoder, inside, streams, at = codec.decoder(), False, 0, 0
    while block := read(BLOCK_BYTES):
        at += len(block)
        while block:
            if streams and not inside and codec.padded:
                block = block.lstrip(b"\0")
                if not block:
                    break
            if streams and codec.single:
                raise CorruptData(f"{name} has {codec.name} data that goes on behind its end", hint=REPAIR)
            try:
                data = decoder.decompress(block)
            except _FAULTS as error:
                offset = at - len(block)
                raise CorruptData(f"{name} is damaged at byte {offset:,} or later: {error}", hint=REPAIR) from error
            inside, block = True, b""
            if decoder.eof:
                block, decoder, inside = decoder.unused_data, codec.decoder(), False
                streams += 1
            budget.spend(len(data))
            if data:
                yield data
    if inside or not streams:
        raise CorruptData(f"{name} ends inside its {codec.name} stream at byte {at:,}: it is cut short", hint=REPAIR)


class Bytes:
    """Forward-only bytes: of a plain file, or of the blocks that come out of a compressed one."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.position = 0
        self._blocks, self._rest = blocks, memoryview(b"")

    def some(self, most_bytes: int) -> bytes:
        """At least one byte and at most `most_bytes`; none at the end only."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._rest = memoryview(block)
        data, self._rest = bytes(self._rest[:most_bytes]), self._rest[most_bytes:]
        self.position += len(data)
        return data

    def upto(self, count_bytes: int) -> bytes:
        """That many bytes; fewer at the end only."""
        pieces, missing = [], count_bytes
        while missing and (data := self.some(missing)):
            pieces.append(data)
            missing -= len(data)
        return b"".join(pieces)

    def skip(self, count_bytes: int) -> int:
        """Passes over that many bytes; returns how many there were."""
        missing = count_bytes
        while missing and (data := self.some(min(missing, PLAIN_BLOCK_BYTES))):
            missing -= len(data)
        return count_bytes - missing


class PlainBytes(Bytes):
    """The bytes of a file as they are; what is passed over is not read."""

    def __init__(self, file: BinaryIO, *, size_bytes: int) -> None:
        super().__init__(iter(lambda: file.read(PLAIN_BLOCK_BYTES), b""))
        self._file, self._size_bytes = file, size_bytes

    def skip(self, count_bytes: int) -> int:
        """Passes over that many bytes; returns how many there were."""
        passed = min(count_bytes, max(0, self._size_bytes - self.position))
        self.position += passed
        if passed <= len(self._rest):
            self._rest = self._rest[passed:]
        else:
            self._file.seek(self.position)
            self._rest = memoryview(b"")
        return passed
