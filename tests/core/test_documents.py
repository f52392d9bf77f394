"""Every physical line is a document or a reject with its reason, and nothing in it changes on the way."""

from __future__ import annotations

import json
import math
import re

import pytest
import zstandard

from pile_toolkit.core.documents import (
    NESTING_LIMIT,
    Document,
    DocumentWriter,
    Reject,
    decode_meta,
    read_documents,
    read_records,
    write_json_lines,
)
from pile_toolkit.core.errors import CorruptData
from tests.core.document_making import GOOD, frame, records


@pytest.fixture
def path(tmp_path):
    return tmp_path / "00.jsonl.zst"


# Lines


@pytest.mark.parametrize(
    ("line", "document"),
    [
        (b'{"text":""}', ("", b"{}")),
        (b'{"meta":{},"text":"x"}', ("x", b"{}")),
        (b' \t{ "text" : "x" , "other" : [1] } ', ("x", b"{}")),
        (b'{"text":"x"}\r', ("x", b"{}")),
        (b'{"text":"a\\r\\nb\\n"}\r', ("a\r\nb\n", b"{}")),
        ('{"text":"a\u2028b\u2029c\u0085d"}'.encode(), ("a\u2028b\u2029c\u0085d", b"{}")),
        (b'{"text":"a\\u2028b\\u0000c"}', ("a\u2028b\x00c", b"{}")),
        (b'{"text":"\\ud83d\\ude00"}', ("\U0001f600", b"{}")),
        ('{"text":"\ufeffx"}'.encode(), ("\ufeffx", b"{}")),
        (b'{"text":"[[[[NaN\\"", "meta":{"NaN":"NaN, -Infinity"}}', ('[[[[NaN"', b'{"NaN":"NaN, -Infinity"}')),
        (b'{"text":"twice","text":"last"}', ("last", b"{}")),
    ],
)
@pytest.mark.parametrize("end", [b"", b"\n", b"\n" + GOOD])
def test_odd_but_whole_lines_are_documents(path, line, document, end):
    assert records(path, line + end)[0] == Document(1, *document)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [b"", b"\n"])
def test_a_byte_order_mark_windows_line_ends_and_no_last_newline_are_read(path, line_end, last):
    found = records(path, b"\xef\xbb\xbf" + GOOD + line_end + GOOD + last)
    assert found == [Document(1, "good", b'{"n":1}'), Document(2, "good", b'{"n":1}')]


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\x1e"])
def test_a_mark_before_any_line_is_passed_over(path, before):
    """`cat` puts byte order marks in the middle; RFC 7464 puts a separator before every line."""
    assert records(path, before + GOOD + b"\n" + before + GOOD + b"\n" + before) == [
        Document(1, "good", b'{"n":1}'),
        Document(2, "good", b'{"n":1}'),
        Reject(3, "the line is blank"),
    ]
    assert isinstance(records(path, before * 2 + GOOD)[0], Reject)


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"[]" + b"}" * (depth - 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "the line is blank"),
        (b" \t\r", "the line is blank"),
        (b"no JSON", "malformed"),
        (b'{"text":"x"', "truncated"),
        (b'{"text":"x"} {"text":"y"}', "trailing characters"),
        (b'{"text":"x",}', "malformed"),
        (b'{"text":"a\x00b"}', "malformed"),
        (b'{"text":"a\tb"}', "malformed"),
        (b"null", "Expected `object`, got `null`"),
        (b'["text"]', "Expected `object`, got `array`"),
        (b'{"meta":{}}', "missing required field `text`"),
        (b'{"text":null}', r"Expected `str`, got `null` - at `\$.text`"),
        (b'{"text":["x"]}', r"Expected `str`, got `array` - at `\$.text`"),
        (b'{"text":NaN}', "malformed"),
        (b'{"text":"\xff"}', "bad UTF-8: byte 0xff in position 9"),
        (b'{"text":"' + "\u20ac".encode() * 500_000 + b'\xff"}', "bad UTF-8: byte 0xff in position 1,500,009"),
        (b'{"text":"' + b"x" * (2**20 - 10) + b'\xe2\x82"}', "bad UTF-8: byte 0xe2 in position 1,048,575"),
        (b'{"text":"x"}\xe2\x82', "bad UTF-8: byte 0xe2 in position 12: unexpected end of data"),
        (b'{"text":"\xed\xa0\x80"}', "bad UTF-8"),
        (b'{"text":"x","meta":{"n":"\xff"}}', "bad UTF-8"),
        (b'{"text":"x","\xff":0}', "bad UTF-8"),
        (b'{"text":"\\ud800"}', "half a surrogate pair"),
        (b'{"text":"\\udc00\\ud800 and more"}', "half a surrogate pair"),
        (b'{"text":"x","meta":{"n":"\\udfff"}}', "half a surrogate pair"),
        (b'{"text":"x","meta":[]}', r"Expected `object` - at `\$.meta`"),
        (b'{"text":"x","meta":null}', r"Expected `object` - at `\$.meta`"),
        (b'{"text":"x","meta":"{}"}', r"Expected `object` - at `\$.meta`"),
        (b'{"text":"x","meta":{"n":1NaN}}', "malformed"),
        (b'{"text":"x","meta":{"n":-NaN}}', "malformed"),
        (b'{"text":"x","meta":{"n":NaNs}}', "malformed"),
        (b'{"text":"x","meta":{"n":+Infinity}}', "malformed"),
        (b'{"text":"x","meta":{"n":1Infinity}}', "malformed"),
        (b'{"text":"x","meta":{"n":1-Infinity}}', "malformed"),
        (b'{"text":"x","meta":{NaN:1}}', "malformed"),
        (b'{"text":"x","meta":' + nested(NESTING_LIMIT + 1) + b"}", "nested more than 256 deep"),
        (b'{"text":"x","meta":{"n":NaN,"m":' + nested(NESTING_LIMIT) + b"}}", "nested more than 256 deep"),
        (b"[" * 100_000, "Expected `object`"),
        (b'{"text":' + b"[" * 100_000, "Expected `str`"),
        (b'{"text":"x","meta":' + b"[" * 100_000, "nested more than 256 deep"),
        (b'{"text":"x","meta":' + nested(100_000) + b"}", "nested more than 256 deep"),
        (b'{"text":"x","meta":{"n":NaN,"m":' + nested(100_000) + b"}}", "nested more than 256 deep"),
        (b'{"text":"x","other":' + nested(100_000) + b"}", "nested more than 256 deep"),
        (b'{"text":"x","other":' + nested(NESTING_LIMIT + 1) + b"}", "nested more than 256 deep"),
        (b'{"text":"' + b"\\u005b" * 999 + b'","other":' + nested(NESTING_LIMIT + 1) + b"}", "more than 256 deep"),
        (b'{"text":"","n":NaN,"other":' + nested(NESTING_LIMIT + 1) + b"}", "nested more than 256 deep"),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else None,
)
def test_a_damaged_record_is_a_reject_with_its_line_and_reason(path, line, reason):
    first, reject, last = records(path, b"\n".join([GOOD, line, GOOD]))
    assert (first.line, last.line) == (1, 3)
    assert isinstance(reject, Reject)
    assert reject.line == 2
    assert re.search(reason, reject.reason)


def test_rejects_are_passed_over_and_keep_their_place_in_the_count(path):
    path.write_bytes(frame(b"\n\n" + GOOD + b"\nno\n" + GOOD + b"\n\n"))
    assert [document.line for document in read_documents(path)] == [3, 5]
    assert [record.line for record in read_records(path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("depth", [NESTING_LIMIT - 1, NESTING_LIMIT])
@pytest.mark.parametrize("number", [b"1", b"NaN"])
def test_what_is_nested_less_is_a_document_however_deep_the_caller_is(path, depth, number):
    meta = nested(depth).replace(b"[]", b"[" + number + b"]")
    path.write_bytes(frame(b'{"text":"x","meta":' + meta + b"}"))

    def called_from(calls: int) -> list:
        return called_from(calls - 1) if calls else list(read_records(path))

    assert called_from(0) == called_from(300) == [Document(1, "x", meta)]


def test_brackets_in_texts_and_names_are_not_nested(path):
    meta = json.dumps({"[" * 1000: "{" * 1000, "list": [[]] * 1000}).encode()
    line = json.dumps({"text": "[" * 1000}).encode()[:-1] + b',"meta":' + meta + b"}"
    assert records(path, line) == [Document(1, "[" * 1000, meta)]


def test_a_line_longer_than_many_blocks_is_one_document(path):
    text = "0123456789abcde\u20ac" * 500_000
    with DocumentWriter(path) as writer:
        writer.write(text, {})
        writer.write("next", {})
    assert [(document.line, document.text) for document in read_documents(path)] == [(1, text), (2, "next")]


# Meta


def test_numbers_that_stand_in_for_names_are_told_from_those_that_were_there(path):
    meta = b'{"n":[NaN,1e0,2e0,Infinity,1.000000,2.000000,-Infinity,-1.000000,11e0,1.0000001,NaN],"1e0":"1.000000"}'
    for before in (meta, meta.replace(b"NaN", b"1e0"), meta.replace(b"NaN", b"2e0")):
        assert records(path, b'{"before":' + before + b',"text":"NaN","meta":' + meta + b"}")[0].meta == meta


def test_names_for_numbers_make_a_line_no_longer(path):
    """A stand-in that must be absent from the line would be as long as this one's zeros, for each NaN again."""
    meta = b'{"n":1e-' + b"0" * 500_000 + b',"m":[' + b",".join([b"NaN"] * 100_000) + b"]}"
    assert records(path, b'{"text":"x","meta":' + meta + b"}") == [Document(1, "x", meta)]


@pytest.mark.parametrize(
    "meta",
    [
        b"{}",
        b"{ }",
        b'{"n":123456789012345678901234567890}',
        b'{"n":1,"n":2,"m":{"n":1,"n":1}}',
        b'{"n":NaN}',
        b'{"n":[NaN,Infinity,-Infinity, NaN ],"NaN":"NaN"}',
        b'{"n":NaN,"m":[1e-0,1e-01,1e-002,1e-0001]}',
        b'{"n":1E400,"m":-0.0,"k":0.1000000000000000055511151231257827}',
        b'{"n": "\\u00e9\\/\\ud83d\\ude00" ,\t"m":[ ]\r}',
        '{"ключ":"\u2028\U0001f600"}'.encode(),
        b'{"n":' + b"9" * 10_000 + b"}",
    ],
)
def test_meta_survives_to_the_byte(path, meta):
    line = b'{"before":NaN,"text":"x 1e-01 NaN", "meta":  ' + meta + b' ,"after":[1e-01]}'
    assert records(path, line) == [Document(1, "x 1e-01 NaN", meta)]
    with DocumentWriter(path) as writer:
        writer.write("x", meta)
    assert list(read_records(path)) == [Document(1, "x", meta)]


def test_meta_on_several_lines_is_written_on_one(path):
    meta = json.dumps({"a": [1, 2], "b": "x\ny"}, indent=1).encode()
    with DocumentWriter(path) as writer:
        writer.write("x", meta)
    (document,) = read_records(path)
    assert document.meta == meta.replace(b"\n", b" ")
    assert json.loads(document.meta) == json.loads(meta)


@pytest.mark.parametrize(
    "meta", ["{}", '{"n": 123456789012345678901234567890, "m": [1, "x", null]}', '{"n": 1, "n": 2}', '{"n": 1e400}']
)
def test_a_decoded_meta_is_what_json_says(meta):
    assert decode_meta(meta.encode()) == json.loads(meta)


def test_a_decoded_meta_may_hold_what_is_no_number():
    decoded = decode_meta(b'{"n":NaN,"m":-Infinity,"k":12345678901234567890123,"long":' + b"9" * 5000 + b"}")
    assert math.isnan(decoded.pop("n"))
    assert decoded == {"m": -math.inf, "k": 12345678901234567890123, "long": math.inf}


# Writing


def test_the_bytes_depend_on_the_documents_only(tmp_path):
    for name in ("a", "b"):
        with DocumentWriter(tmp_path / name) as writer:
            for number in range(3000):
                writer.write(f"document {number} " * 50, {"n": number})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_of_no_documents_is_whole(path):
    with DocumentWriter(path):
        pass
    assert path.stat().st_size > 0
    assert list(read_records(path)) == []


def test_an_error_while_writing_leaves_no_file(path):
    with pytest.raises(AttributeError, match="encode"), DocumentWriter(path) as writer:
        writer.write(None, {})
    assert list(path.parent.iterdir()) == []


@pytest.mark.real_data
@pytest.mark.parametrize("slug", ["hackernews", "nih-exporter", "dm-mathematics"])
def test_real_files_are_read_as_the_standard_library_reads_them(minipile, slug):
    path = minipile / f"{slug}.jsonl.zst"
    lines = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True).read().split(b"\n")
    assert lines.pop() == b""
    plain = [json.loads(line) for line in lines]
    found = list(read_records(path))
    assert [(document.line, document.text) for document in found] == [
        (line, value["text"]) for line, value in enumerate(plain, start=1)
    ]
    assert [json.loads(document.meta) for document in found] == [value["meta"] for value in plain]
    assert all(document.meta in line for document, line in zip(found, lines, strict=True))


@pytest.mark.parametrize(
    ("text", "meta"), [("ab\ud800c", {}), ("ab\udfff", b"{}"), ("x", {"n": ["\ud83d"]}), ("x", {"\udc00": 1})]
)
def test_half_a_surrogate_pair_is_refused_and_nothing_of_it_written(path, text, meta):
    with DocumentWriter(path) as writer:
        writer.write("before", {})
        with pytest.raises(CorruptData, match=r"document 2 of .*00.jsonl.zst holds half a surrogate pair, '.ud"):
            writer.write(text, meta)
        writer.write("after", {})
    assert writer.documents == 2
    assert writer.text_bytes == len("beforeafter")
    assert [document.text for document in read_documents(path)] == ["before", "after"]


def test_a_refused_document_that_nobody_catches_leaves_no_file(path):
    with pytest.raises(CorruptData), DocumentWriter(path) as writer:  # noqa: PT012 - the whole block is what fails
        writer.write("before", {})
        writer.write("\ud800", {})
    assert list(path.parent.iterdir()) == []


def test_small_tables_are_one_object_a_line(tmp_path):
    rows = [{"file": "00.jsonl.zst", "line": 1, "reason": "bad\nUTF-8 \u2028"}, {"n": None}]
    write_json_lines(tmp_path / "deep" / "rejects.jsonl", rows)
    lines = (tmp_path / "deep" / "rejects.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == rows
