"""`.jsonl.zst` files in, documents out, and back: every physical line becomes a document or a reject, none is lost.

A document is one JSON line `{"text": str, "meta": object}` in zstd frames, the Pile's own format. Its `meta` is carried
as the bytes that came, so that nothing in it changes on the way through.

In memory at once: a megabyte or two, the frame's window, and LINE_MEMORY_FACTOR times the longest line. Measured: 2.1
times for ASCII, 2.7 with many escapes, 3.6 with emoji all over; 9 where the only wide characters are the last, since
Python then keeps the text at one, two and four bytes a character in turn.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonlines
import msgspec
import zstandard

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import atomic_path
from pile_toolkit.core.frames import LONGEST_WINDOW_BYTES as LONGEST_WINDOW_BYTES
from pile_toolkit.core.frames import TextBlocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# The level of the original Pile.
COMPRESSION_LEVEL = 3
# A longer line is a reject, and never held; the longest document of the Pile has some 100 MB.
LONGEST_LINE_BYTES = 1 << 30
LINE_MEMORY_FACTOR = 10
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


class TooLong(NamedTuple):
    """In place of a line of more than LONGEST_LINE_BYTES, which nobody holds in memory."""

    line_bytes: int


class _Record(msgspec.Struct):
    text: str
    meta: msgspec.Raw = msgspec.Raw(EMPTY_META)


class _PlainRecord(_Record, forbid_unknown_fields=True):
    """A record that is nothing else, as nearly all are: no field is left whose nesting nobody looks at."""


class _Meta(msgspec.Struct):
    meta: msgspec.Raw = msgspec.Raw(EMPTY_META)


_DECODER = msgspec.json.Decoder(_Record)
_PLAIN_DECODER = msgspec.json.Decoder(_PlainRecord)
_META_DECODER = msgspec.json.Decoder(_Meta)
_ENCODER = msgspec.json.Encoder()
# What others put before a line: a byte order mark, or the record separator of RFC 7464; jsonlines passes over both.
_BEFORE_LINES = (b"\xef\xbb\xbf", b"\x1e")
# To the end of the line where no quote closes it: else each quote inside would be tried, and the time be quadratic.
_STRING = rb'"(?:[^"\\]++|\\.?)*+"?'
_BRACKETS = re.compile(_STRING + rb"|(?P<open>[\[{])|(?P<close>[\]}])")
# What other JSON libraries write for numbers that JSON has no name for, and numbers of the same length.
_NO_NUMBER = re.compile(_STRING + rb"|(?P<name>(?<![-\w.+])NaN\b|(?<![\w.+])Infinity\b)")
_STAND_IN = re.compile(rb"1e0|1.000000")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_VALIDATED_BYTES = 1 << 20


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a file in order. Rejected lines are passed over: the stage that took the file in counted them.

    Raises CorruptData where the container is damaged.
    """
    return (record for record in read_records(path) if isinstance(record, Document))


def read_records(path: Path) -> Iterator[Document | Reject]:
    """Every physical line of a file, as a document or as a reject with its reason.

    Raises CorruptData with file and byte offset where the zstd container is truncated or damaged.
    """
    number = 0
    for line in read_lines(path):
        number += 1  # noqa: SIM113 - enumerate keeps what it gave out last
        try:
            record: Document | Reject = Document(number, *decode_line(line))
        except ValueError as error:
            record = Reject(number, str(error))
        # A caller may take its time over a long document, and needs no second copy of it meanwhile.
        del line
        yield record


def read_lines(path: Path) -> Iterator[bytes | bytearray | TooLong]:
    """The physical lines of a zstd file without their newline; a last line needs none.

    Only "\\n" ends a line: U+2028 and carriage returns are data of JSON's white space or of the text. A line of more
    than LONGEST_LINE_BYTES is only measured.
    """
    blocks = TextBlocks(path)
    blocks.lines = 0
    pending, line_bytes = [bytearray()], 0
    for block in blocks:
        first, *rest = block.split(b"\n")
        line_bytes += len(first)
        if line_bytes <= LONGEST_LINE_BYTES:
            pending[0] += first
        else:
            pending[0] = bytearray()
        if not rest:
            continue
        blocks.lines += len(rest)
        # Popped, so that this frame does not hold the line while it is decoded.
        yield pending.pop() if line_bytes <= LONGEST_LINE_BYTES else TooLong(line_bytes)
        last = rest.pop()
        yield from rest
        pending, line_bytes = [bytearray(last)], len(last)
    if line_bytes:
        yield pending.pop() if line_bytes <= LONGEST_LINE_BYTES else TooLong(line_bytes)


def decode_line(line: bytes | bytearray | TooLong) -> tuple[str, bytes]:
    """Text and meta of a line as `read_lines` gives it. Raises ValueError with the reason where it is no document."""
    line_bytes = line.line_bytes if isinstance(line, TooLong) else len(line)
    if isinstance(line, TooLong) or line_bytes > LONGEST_LINE_BYTES:
        raise ValueError(f"the line has {line_bytes:,} bytes, the limit is {LONGEST_LINE_BYTES:,}")
    try:
        record = _PLAIN_DECODER.decode(line)
        text, meta = record.text, bytes(record.meta)
    except (RecursionError, UnicodeDecodeError, msgspec.DecodeError):
        text, meta = _decode_unusual(line)
    else:
        # The decoder has looked at the bytes of the text, not at these.
        if not meta.isascii():
            _check_utf8(line)
    if not meta.startswith(b"{"):
        raise ValueError("Expected `object` - at `$.meta`")
    if _brackets(meta) > NESTING_LIMIT and _is_deep(meta, NESTING_LIMIT):
        raise ValueError(_TOO_DEEP)
    return text, meta


def _decode_unusual(line: bytes | bytearray) -> tuple[str, bytes]:
    """Decodes a line that is no plain record, or is one only without what others put before it."""
    if not line.isascii():
        _check_utf8(line)
    if line.startswith(_BEFORE_LINES):
        line = bytearray(line) if isinstance(line, bytes) else line
        del line[: 1 if line.startswith(b"\x1e") else 3]
    if not line or line.isspace():
        raise ValueError("the line is blank")
    try:
        record = _PLAIN_DECODER.decode(line)
        return record.text, bytes(record.meta)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except msgspec.DecodeError:
        return _decode_others(line)


def _decode_others(line: bytes | bytearray) -> tuple[str, bytes]:
    """Decodes a line that has further fields, or names in place of numbers, or is no document."""
    try:
        record = _DECODER.decode(line)
        text, meta = record.text, bytes(record.meta)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    except msgspec.DecodeError as error:
        text, meta = _decode_no_numbers(line, error)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    # Escaped brackets count in the text and not in the line.
    in_text = 0 if b"\\u00" in line else text.count("[") + text.count("{")
    if _brackets(line) - in_text > NESTING_LIMIT and _is_deep(line, NESTING_LIMIT + 1):
        raise ValueError(_TOO_DEEP)
    return text, meta


def _check_utf8(line: bytes | bytearray) -> None:
    # In pieces: decoded at once, one emoji would make four bytes of each.
    at, view = 0, memoryview(line)
    while at < len(line):
        end = at + _VALIDATED_BYTES
        try:
            at += codecs.utf_8_decode(view[at:end], "strict", end >= len(line))[1]
        except UnicodeDecodeError as error:
            place = at + error.start
            reason = f"bad UTF-8: byte 0x{line[place]:02x} in position {place:,}: {error.reason}"
            raise ValueError(reason) from error


def _decode_no_numbers(line: bytes | bytearray, error: msgspec.DecodeError) -> tuple[str, bytes]:
    """Decodes a line with NaN or Infinity in it.

    Twice, with two different numbers in their places: where the two metas differ, a name stood.
    """
    numbers = bytearray(line)
    places = 0
    for token in _NO_NUMBER.finditer(line):
        if token["name"] is not None:
            numbers[token.start() : token.end()] = b"1e0" if token["name"] == b"NaN" else b"1.000000"
            places += 1
    if not places:
        raise ValueError(_explained(str(error), line)) from error
    try:
        record = _DECODER.decode(numbers)
        text, meta = record.text, bytearray(record.meta)
        del record
        for token in _NO_NUMBER.finditer(line):
            if token["name"] is not None:
                numbers[token.start()] = ord("2")
        other = memoryview(_META_DECODER.decode(numbers).meta)
    except msgspec.DecodeError:
        raise ValueError(_explained(str(error), line)) from error
    except RecursionError:
        raise ValueError(_TOO_DEEP) from error
    for token in _STAND_IN.finditer(bytes(meta)):
        if other[token.start()] == ord("2"):
            meta[token.start() : token.end()] = b"NaN" if token[0] == b"1e0" else b"Infinity"
    return text, bytes(meta)


def _explained(reason: str, line: bytes | bytearray) -> str:
    if _SURROGATE.search(line) and ("truncated" in reason or "surrogate" in reason):
        return f"half a surrogate pair, or the line ends too early: {reason}"
    return reason


def _brackets(data: bytes | bytearray) -> int:
    return data.count(b"[") + data.count(b"{")


def _is_deep(data: bytes | bytearray, limit: int) -> bool:
    depth = 0
    for token in _BRACKETS.finditer(data):
        depth += (token["open"] is not None) - (token["close"] is not None)
        if depth > limit:
            return True
    return False


def decode_meta(meta: bytes) -> dict[str, Any]:
    """A meta as Python values; NaN, Infinity and numbers that no machine type holds are floats."""
    try:
        return msgspec.json.decode(meta, type=dict[str, Any])
    except msgspec.MsgspecError:
        return json.loads(meta, parse_int=lambda digits: int(digits) if len(digits) < 1000 else float(digits))


class DocumentWriter:
    """Writes documents to one `.jsonl.zst` file that appears when the block ends without an error.

    One zstd frame with a checksum, written by one thread, so that the bytes depend on the documents only.
    """

    def __init__(self, path: Path, *, level: int = COMPRESSION_LEVEL) -> None:
        self.documents = 0
        self.text_bytes = 0
        self._path = path
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
        """Adds one document; `meta` is a JSON object, as bytes (kept as they are) or as a dictionary.

        Raises CorruptData, and adds nothing, where the text or a string of the meta holds half a surrogate pair.
        """
        try:
            # A newline in JSON is white space, and here it would end the line.
            data = meta.replace(b"\n", b" ") if isinstance(meta, bytes) else _ENCODER.encode(meta)
            # Encoded as a whole before its first byte is written.
            self._lines.write(_Record(text, msgspec.Raw(data)))
        except UnicodeEncodeError as error:
            raise CorruptData(
                f"document {self.documents + 1:,} of {self._path} holds half a surrogate pair, "
                f"{error.object[error.start]!r} at character {error.start:,}, which UTF-8 cannot hold",
                hint="replace it before: text.encode('utf-8', 'replace').decode()",
            ) from error
        self.documents += 1
        self.text_bytes += len(text.encode())


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Replaces `path` by one JSON object a line, atomically: for rejects and other small tables of text."""
    with atomic_path(path) as temporary, jsonlines.open(temporary, mode="w", compact=True) as writer:
        writer.write_all(rows)
