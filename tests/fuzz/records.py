"""Fuzzes the reader of `.jsonl.zst`: the fuzzer chooses lines, frames and damage, a plain twin says what is right.

    python -m tests.fuzz.records --seconds 60 [--seed N] [--corpus FOLDER] [--crashes FOLDER] [--input FILE]

The twin decompresses each frame in one call, splits at newlines and decodes with `json`. Whole or damaged: the reader
must raise CorruptData exactly where the twin finds damage, and else give every physical line, as the twin's text or as
a reject. What comes out before a truncation must be how the whole file begins.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import zstandard

from pile_toolkit.core.errors import CorruptData
from tests.fuzz.harness import Choices, instrumented, run_target

with instrumented("pile_toolkit.core.documents", "pile_toolkit.core.frames", active=__name__ == "__main__"):
    from pile_toolkit.core import documents, frames

if TYPE_CHECKING:
    from pathlib import Path

# So small that inputs of some kilobytes reach them.
LINE_LIMIT_BYTES = 5_000
BOMB_SLACK_BYTES = 1 << 16

FRAGMENTS = [
    *(b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b" ", b"\t", b"\r", b"\x00", b"\xff", b"\xe2\x80", b"\x1e"),
    *(
        b'"text"',
        b'"meta"',
        b'"other"',
        b'"te\\u0078t"',
        b'{"text":"',
        b'","meta":{',
        b"}}",
        b'"text":"x"',
        b'"meta":{}',
    ),
    *(b"NaN", b"Infinity", b"-", b"1e0", b"2e0", b"1.000000", b"0", b"1", b".", b"e", b"null", b"true", b"9" * 30),
    *(b"\\ud83d", b"\\ude00", b"\\u005b", b"\\n", b"\\u0000", b"\xef\xbb\xbf", "é\u2028€\U0001f600".encode()),
]
METAS = [b"{}", b'{"n":NaN}', b'{"n":[1e0,-Infinity,NaN,2e0]}', b'{"n":1,"n":' + b"9" * 40 + b"}", b'{"\\ud83d":0}']
TEMPLATES = [b'{"text":%s,"meta":%s}', b'{"meta":%s,"text":%s}', b'{"id":[7],"text":%s,"meta":%s}', b' {"text" : %s}\r']
SEEDS = [b"", bytes(range(256)), *(bytes([count, kind, 7, 1, 9]) * 40 for count in (3, 8) for kind in range(6))]


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"[]" + b"}" * (depth - 1)


def choose_line(choices: Choices) -> bytes:
    kind = choices.number(6)
    if kind == 0:
        return b"".join(choices.one_of(FRAGMENTS) for _ in range(choices.number(40)))
    if kind == 1:
        return choices.take(choices.number(80)).replace(b"\n", b"")
    if kind == 2:
        depth = documents.NESTING_LIMIT + choices.number(5) - 2 if choices.number(8) else 5000
        return b'{"text":"x","%s":%s}' % (choices.one_of([b"meta", b"other"]), nested(depth))
    if kind == 3:
        return b'{"text":"%s"}' % (b"x" * (LINE_LIMIT_BYTES - 14 + choices.number(6) + 991 * choices.number(40)))
    text = json.dumps(choices.take(choices.number(40)).decode("utf-8", "replace"), ensure_ascii=choices.number(2) > 0)
    template, values = choices.one_of(TEMPLATES), (text.encode(), choices.one_of(METAS))
    line = template % (values[::-1] if template.startswith(b'{"meta"') else values[: template.count(b"%s")])
    if kind == 4:
        at = choices.number(len(line))
        line = line[:at] + choices.one_of(FRAGMENTS) + line[at + choices.number(3) :]
    return line


def choose_text(choices: Choices) -> bytes:
    end = choices.one_of([b"\n", b"\r\n"])
    text = end.join(choose_line(choices) for _ in range(choices.number(12)))
    return choices.one_of([b"", b"\xef\xbb\xbf"]) + text + choices.one_of([b"", end])


def choose_frame(choices: Choices, text: bytes) -> bytes:
    flags = choices.number(16)
    compressor = zstandard.ZstdCompressor(
        level=choices.one_of([3, 1, -5, 7]), write_checksum=bool(flags & 1), write_content_size=bool(flags & 2)
    )
    if flags & 4:
        return compressor.compress(text)
    # Blocks of their own, as writers make them that flush after every line.
    stream = compressor.compressobj(size=len(text) if flags & 2 else -1)
    at = choices.number(len(text) + 1)
    parts = [stream.compress(text[:at]), stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), stream.compress(text[at:])]
    return b"".join(parts) + stream.flush()


def choose_container(choices: Choices, text: bytes) -> bytes:
    parts, at = [], 0
    for last in [False] * choices.number(4) + [True]:
        end = len(text) if last else at + choices.number(len(text) - at + 1)
        parts.append(choose_frame(choices, text[at:end]))
        at = end
        if choices.number(3) == 1:
            content = choices.take(choices.number(9))
            magic = (0x184D2A50 + choices.number(16)).to_bytes(4, "little")
            parts.append(magic + len(content).to_bytes(4, "little") + content)
    return b"".join(parts)


def damage(choices: Choices, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(choices.number(3) + 1):
        kind, at = choices.number(5), choices.number(len(data) + 1)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << choices.number(8)
        elif kind == 1:
            data[at:at] = choices.take(choices.number(9))
        elif kind == 2:
            del data[at : at + choices.number(9)]
        elif kind == 3:
            data += data[at:]
        else:
            data += choices.take(4)
    return bytes(data)


def plain_text(data: bytes) -> bytes | None:
    """What a whole file holds, None where it is damaged or a bomb."""
    decompressor, text, left = zstandard.ZstdDecompressor(max_window_size=frames.LONGEST_WINDOW_BYTES), b"", data
    while left or not data:
        frame = decompressor.decompressobj()
        try:
            text += frame.decompress(left)
        except zstandard.ZstdError:
            return None
        if not frame.eof:
            return None
        left = frame.unused_data
    return None if len(text) > BOMB_SLACK_BYTES + frames.BOMB_RATIO * len(data) else text


def plain_lines(text: bytes) -> list[bytes]:
    *lines, last = text.split(b"\n")
    return [*lines, last] if last else lines


def plain_depth(line: str) -> int:
    depth = deepest = 0
    inside = escaped = False
    for character in line:
        if inside:
            inside = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            inside = True
        else:
            depth += (character in "[{") - (character in "]}")
            deepest = max(deepest, depth)
    return deepest


class Pairs(list):
    """A JSON object with all its pairs, also those that a dictionary would forget."""


def plain_loads(text: str | bytes) -> Any:
    return json.loads(text, object_pairs_hook=Pairs, parse_int=str, parse_float=str, parse_constant=str)


def plain_record(line: bytes) -> tuple[str, Any] | None:
    """What `json` makes of a line: text and meta; None where it is no document."""
    if len(line) > LINE_LIMIT_BYTES:
        return None
    try:
        decoded = line.decode()
        decoded = decoded[1:] if decoded.startswith(("\ufeff", "\x1e")) else decoded
        # The record's own brackets are one level around those of its meta.
        if (line.count(b"[") + line.count(b"{")) > documents.NESTING_LIMIT and (
            plain_depth(decoded) > documents.NESTING_LIMIT + 1
        ):
            return None
        record = plain_loads(decoded)
        json.dumps(record, ensure_ascii=False).encode()
    except ValueError:
        return None
    if not isinstance(record, Pairs):
        return None
    texts = [value for name, value in record if name == "text"]
    metas = [value for name, value in record if name == "meta"] or [Pairs()]
    # A number given as a string by `parse_int` is told from a string of the text by how the line is written.
    if not texts or not all(isinstance(value, str) for value in texts) or not isinstance(metas[-1], Pairs):
        return None
    typed = json.loads(decoded, object_pairs_hook=Pairs, parse_int=float, parse_constant=float)
    if not all(isinstance(value, str) for name, value in typed if name == "text"):
        return None
    return texts[-1], metas[-1]


def compare(lines: list[bytes], found: list[Any], *, whole: bool) -> None:
    """Raises where records are not those of the lines, in order; of a file cut short, they are those of the first."""
    assert len(found) == len(lines) if whole else len(found) <= len(lines), (len(found), len(lines))
    for number, (line, record) in enumerate(zip(lines, found, strict=False), start=1):
        expected = plain_record(line)
        assert record.line == number, (record, number)
        if isinstance(record, documents.Reject):
            assert expected is None, (record, line)
            assert record.reason
            continue
        assert expected is not None, (record, line)
        assert record.text == expected[0], (record, line)
        assert plain_loads(record.meta.decode()) == expected[1], (record, line)
        assert record.meta in line or record.meta == documents.EMPTY_META, (record, line)


def check(data: bytes, folder: Path) -> None:
    """One input. Raises AssertionError where reader and twin disagree; everything else that is raised is a crash."""
    documents.LONGEST_LINE_BYTES, frames.BOMB_SLACK_BYTES = LINE_LIMIT_BYTES, BOMB_SLACK_BYTES
    choices, path = Choices(data), folder / "00.jsonl.zst"
    kind = choices.number(4)
    text = choose_text(choices)
    content = whole = choose_container(choices, text)
    if kind == 2:
        content = whole[: choices.number(len(whole) + 1)]
    elif kind == 3:
        content = damage(choices, whole)
    path.write_bytes(content)
    expected = plain_text(content)
    assert kind > 1 or expected in (text, None)
    found, damaged = read(path)
    if damaged is None:
        assert expected is not None, "a damaged file was read as if it were whole"
        compare(plain_lines(expected), found, whole=True)
        return
    assert str(path) in damaged.message
    assert expected is None, damaged
    if kind <= 2:
        compare(plain_lines(text), found, whole=False)


def read(path: Path) -> tuple[list[Any], CorruptData | None]:
    """The records up to the end or the damage, and the error that tells of it."""
    found: list[Any] = []
    try:
        found.extend(documents.read_records(path))
    except CorruptData as error:
        return found, error
    return found, None


if __name__ == "__main__":
    run_target(check, seeds=SEEDS)
