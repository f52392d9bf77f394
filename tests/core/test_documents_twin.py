"""Lines made at random are documents exactly when the standard library says so, and come back as they were."""

from __future__ import annotations

import io
import json

import jsonlines
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pile_toolkit.core.documents import (
    Document,
    DocumentWriter,
    decode_meta,
    read_documents,
    read_records,
)
from tests.core.document_making import GOOD, records


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("documents") / "00.jsonl.zst"


def plain_record(line: bytes) -> tuple[str, bool] | None:
    """What the standard library makes of a line: its text and whether it has a meta, None where it is no document."""
    try:
        value = json.loads(line.decode().removeprefix("\ufeff"))
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        return None
    return (value["text"], "meta" in value) if isinstance(value.get("meta", {}), dict) else None


FRAGMENTS = ['"', "\\", "\\ud83d", "\\ude00", "NaN", "-", "Infinity", "{", "}", "[", "]", ":", ",", "1", "0", ".", "e"]
FRAGMENTS += [" ", "\t", "\u00e9", "null", "true", '"text"', '"meta"', ":{}", "\ufeff", "1e-01", "\\n"]
pieces = st.sampled_from([fragment.encode() for fragment in FRAGMENTS] + [b"\xff", b"\x00", b"\xe2\x80"])
LINES = (
    GOOD,
    b'{"text":"a\\n","meta":{"n":[NaN,-Infinity,1]}}',
    b'{"meta":{"m":"\\ud83d\\ude00"},"text":"","x":1.5e-3}',
)


@settings(max_examples=300)
@given(line=st.sampled_from(LINES), cuts=st.tuples(st.integers(0, 60), st.integers(0, 4)), fill=st.lists(pieces))
@example(line=b'{"text":"x","meta":{"n":--Infinity}}', cuts=(0, 0), fill=[])
@example(line=b'{"text":"x","meta":{"n":1e-Infinity,"m":NaN}}', cuts=(0, 0), fill=[])
def test_a_line_is_a_document_exactly_when_the_standard_library_says_so(scratch, line, cuts, fill):
    start, length = cuts
    line = line[:start] + b"".join(fill) + line[start + length :]
    (record,) = records(scratch, line + b"\n")
    expected = plain_record(line)
    assert isinstance(record, Document) == (expected is not None), record
    if expected is not None:
        assert record.text == expected[0]
        meta = json.loads(line.decode().removeprefix("\ufeff")).get("meta", {})
        assert json.dumps(json.loads(record.meta)) == json.dumps(meta)
        assert record.meta in line or not expected[1]


numbers = st.integers() | st.floats()
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
metas = st.dictionaries(st.text(max_size=5), values, max_size=3)
spacing = st.sampled_from([(", ", ": "), (",", ":"), (" ,\t", "\r: ")])


@given(documents=st.lists(st.tuples(st.text(), metas, spacing, st.booleans()), max_size=5))
def test_what_is_written_is_read_by_this_and_by_the_standard_library(scratch, documents):
    written = [
        (text, json.dumps(meta, separators=separators, ensure_ascii=ascii_only).encode())
        for text, meta, separators, ascii_only in documents
    ]
    with DocumentWriter(scratch) as writer:
        for text, meta in written:
            writer.write(text, meta)
    assert writer.documents == len(written)
    assert writer.text_bytes == sum(len(text.encode()) for text, _ in written)
    assert list(read_records(scratch)) == [Document(line, *item) for line, item in enumerate(written, start=1)]
    lines = zstandard.ZstdDecompressor().decompressobj().decompress(scratch.read_bytes()).decode().split("\n")
    assert lines.pop() == ""
    plain = [json.loads(line) for line in lines]
    assert [value["text"] for value in plain] == [text for text, _ in written]
    assert [repr(value["meta"]) for value in plain] == [repr(json.loads(meta)) for _, meta in written]


@given(st.text(), st.dictionaries(st.text(max_size=5), st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5)))
def test_a_meta_given_as_a_dictionary_comes_back(scratch, text, meta):
    with DocumentWriter(scratch) as writer:
        writer.write(text, meta)
    (document,) = read_documents(scratch)
    assert (document.text, decode_meta(document.meta)) == (text, meta)


def test_jsonlines_reads_the_same_documents(tmp_path):
    """The library that writes the lines and the reader here agree on them."""
    texts = ["plain", "", "two\nlines\r\n", "\u2028\u0085\x00", "\U0001f600 é", '"quoted" \\ {"text": 1}']
    with DocumentWriter(tmp_path / "a.jsonl.zst") as writer:
        for number, text in enumerate(texts):
            writer.write(text, {"pile_set_name": "x", "number": number})
    data = zstandard.ZstdDecompressor().decompressobj().decompress((tmp_path / "a.jsonl.zst").read_bytes())
    with jsonlines.Reader(io.BytesIO(data)) as reader:
        theirs = [(row["text"], row["meta"]) for row in reader]
    ours = [(document.text, decode_meta(document.meta)) for document in read_documents(tmp_path / "a.jsonl.zst")]
    assert ours == theirs
    assert [text for text, _ in ours] == texts
