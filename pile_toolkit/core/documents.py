"""`.jsonl.zst` files in, documents out, and back: every physical line becomes a document or a reject, none is lost.

A document is one JSON line `{"text": str, "meta": object}` in zstd frames, the Pile's own format. Its `meta` is carried
as the bytes that came, so that nothing in it changes on the way through.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import jsonlines
import msgspec
import zstandard

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# The level of the original Pile.
COMPRESSION_LEVEL = 3
# Small, because what comes out of one block is in memory at once: zstd makes up to 32 KiB of a byte.
READ_BLOCK_BYTES = 16 << 10
# `zstd --long=31`, the longest window the format's own tool writes.
LONGEST_WINDOW_BYTES = 1 << 31
EMPTY_META = b"{}"
# Fixed, because what the parser itself can take depends on the Python version and on who calls it from how deep.
NESTING_LIMIT = 256
_TOO_DEEP = f"brackets are nested more than {NESTING_LIMIT} deep"


class Document(NamedTuple):
    """One document: `line` is the physical line in its file, from 1; `meta` is a JSON object as bytes."""

    line: int
    text: str
    meta: bytes


class Reject(NamedTuple):
    """One physical line that is no document, and why."""

    line: int
    reason: str


class _Record(msgspec.Struct):
    text: str
    meta: msgspec.Raw = msgspec.Raw(EMPTY_META)


_DECODER = msgspec.json.Decoder(_Record)
_ENCODER = msgspec.json.Encoder()
_STRING = r'"(?:[^"\\]++|\\.)*+"'
_BRACKETS = re.compile(_STRING.encode() + rb"|(?P<open>[\[{])|(?P<close>[\]}])")
# What other JSON libraries write for numbers that JSON has no name for.
_NO_NUMBER = re.compile(_STRING + r"|(?<![-\w.+])NaN\b|(?<![\w.+])Infinity\b")
_SMALL_NUMBER = re.compile(r"1e-0*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a file in order. Rejected lines are passed over: the stage that took the file in counted them.

    Raises CorruptData where the container is damaged.
    """
    return (record for record in read_records(path) if isinstance(record, Document))


def read_records(path: Path) -> Iterator[Document | Reject]:
    """Every physical line of a file, as a document or as a reject with its reason.

    Raises CorruptData with file and byte offset where the zstd container is truncated or damaged.
    """
    with jsonlines.Reader(read_lines(path), loads=cast("Any", _decode)) as reader:
        line = 0
        while True:
            line += 1
            try:
                record = cast("_Record", reader.read())
            except EOFError:
                return
            except jsonlines.InvalidLineError as error:
                yield Reject(line, _reason(error))
            else:
                yield Document(line, record.text, bytes(record.meta))


def _decode(line: str) -> _Record:
    if not line.strip():
        raise ValueError("the line is blank")
    try:
        record = _DECODER.decode(line)
    except msgspec.ValidationError as error:
        # jsonlines knows a bad line by ValueError, msgspec has its own root.
        raise ValueError(str(error)) from error
    except msgspec.DecodeError as error:
        record = _decode_no_numbers(line, error)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    meta = bytes(record.meta)
    if not meta.startswith(b"{"):
        raise ValueError("Expected `object` - at `$.meta`")
    if meta.count(b"[") + meta.count(b"{") > NESTING_LIMIT and _depth(meta) > NESTING_LIMIT:
        raise ValueError(_TOO_DEEP)
    return record


def _decode_no_numbers(line: str, error: msgspec.DecodeError) -> _Record:
    """Decodes a line with NaN or Infinity in it: numbers found nowhere else in the line stand in for them meanwhile."""
    absent = max(_SMALL_NUMBER.findall(line), key=len, default="1e-") + "0"
    stand_in = {"NaN": absent + "1", "Infinity": absent + "2"}
    numbers = _NO_NUMBER.sub(lambda token: stand_in.get(token[0], token[0]), line)
    try:
        record = _DECODER.decode(numbers)
    except msgspec.DecodeError:
        raise ValueError(_explained(str(error), line)) from error
    except RecursionError:
        raise ValueError(_TOO_DEEP) from error
    meta = bytes(record.meta)
    for name, number in stand_in.items():
        meta = meta.replace(number.encode(), name.encode())
    return _Record(record.text, msgspec.Raw(meta))


def _explained(reason: str, line: str) -> str:
    if _SURROGATE.search(line) and ("truncated" in reason or "surrogate" in reason):
        return f"half a surrogate pair, or the line ends too early: {reason}"
    return reason


def _depth(meta: bytes) -> int:
    deepest = depth = 0
    for token in _BRACKETS.finditer(meta):
        depth += (token["open"] is not None) - (token["close"] is not None)
        deepest = max(deepest, depth)
    return deepest


def _reason(error: jsonlines.InvalidLineError) -> str:
    cause = error.__cause__
    return f"bad UTF-8: {cause}" if isinstance(cause, UnicodeDecodeError) else str(cause or error)


def decode_meta(meta: bytes) -> dict[str, Any]:
    """A meta as Python values; NaN, Infinity and numbers that no machine type holds are floats."""
    try:
        return msgspec.json.decode(meta, type=dict[str, Any])
    except msgspec.MsgspecError:
        return json.loads(meta, parse_int=lambda digits: int(digits) if len(digits) < 1000 else float(digits))


def read_lines(path: Path) -> Iterator[bytes]:
    """The physical lines of a zstd file without their newline; a last line needs none.

    Only "\\n" ends a line: U+2028 and carriage returns are data of JSON's white space or of the text.
    """
    pending: list[bytes] = []
    for block in read_blocks(path):
        first, *rest = block.split(b"\n")
        pending.append(first)
        if rest:
            yield b"".join(pending)
            yield from rest[:-1]
            pending = [rest[-1]]
    if last := b"".join(pending):
        yield last


def read_blocks(path: Path) -> Iterator[bytes]:
    """The decompressed bytes of a zstd file, all its frames, block by block.

    Frames are walked one at a time: the library's stream reader ends silently inside a truncated one. A file cut off
    exactly between two frames cannot be told from a shorter file, one of no bytes can: it has not one frame.
    """
    context = zstandard.ZstdDecompressor(max_window_size=LONGEST_WINDOW_BYTES)
    frame, read_bytes, text_bytes, started = context.decompressobj(), 0, 0, False
    with path.open("rb") as file:
        while block := file.read(READ_BLOCK_BYTES):
            read_bytes += len(block)
            while block:
                try:
                    text = frame.decompress(block)
                except zstandard.ZstdError as error:
                    at = read_bytes - len(block)
                    raise CorruptData(
                        f"{path} is damaged at byte {at:,} or later ({text_bytes:,} bytes of text before): {error}",
                        hint="fetch or make the file again",
                    ) from error
                text_bytes += len(text)
                started, block = True, b""
                if frame.eof:
                    block = frame.unused_data
                    frame, started = context.decompressobj(), False
                if text:
                    yield text
    if read_bytes == 0:
        raise CorruptData(f"{path} ends at byte 0, before its first zstd frame", hint="fetch or make the file again")
    if started:
        raise CorruptData(
            f"{path} ends inside a zstd frame at byte {read_bytes:,} ({text_bytes:,} bytes of text read before)",
            hint="the file is truncated: fetch or make it again",
        )


class DocumentWriter:
    """Writes documents to one `.jsonl.zst` file that appears when the block ends without an error.

    One zstd frame with a checksum, written by one thread, so that the bytes depend on the documents only.
    """

    def __init__(self, path: Path, *, level: int = COMPRESSION_LEVEL) -> None:
        self.documents = 0
        self.text_bytes = 0
        self._stack = contextlib.ExitStack()
        temporary = self._stack.enter_context(atomic_path(path))
        # Entered by itself: on a full disk the compressor fails to close, and would leave the file open.
        file = self._stack.enter_context(temporary.open("wb"))
        compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
        stream = self._stack.enter_context(compressor.stream_writer(file))
        self._lines = self._stack.enter_context(jsonlines.Writer(stream, dumps=_ENCODER.encode))

    def __enter__(self) -> DocumentWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, text: str, meta: bytes | dict[str, Any]) -> None:
        """Adds one document; `meta` is a JSON object, as bytes (kept as they are) or as a dictionary."""
        # A newline in JSON is white space, and here it would end the line.
        data = meta.replace(b"\n", b" ") if isinstance(meta, bytes) else _ENCODER.encode(meta)
        self._lines.write(_Record(text, msgspec.Raw(data)))
        self.documents += 1
        self.text_bytes += len(text.encode())


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Replaces `path` by one JSON object a line, atomically: for rejects and other small tables of text."""
    with atomic_path(path) as temporary, jsonlines.open(temporary, mode="w", compact=True) as writer:
        writer.write_all(rows)
