"""JSON from outside is bounded before anything is built from it."""

from __future__ import annotations

import json
import os
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.jsonfile import NESTING_LIMIT, decode_json, read_bounded, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class Record(msgspec.Struct):
    name: str
    more: dict[str, Any] = {}


@settings(max_examples=50)
@given(VALUES)
def test_values_are_those_of_the_standard_library(value):
    assert decode_json(json.dumps(value).encode(), Any, name="x") == value


def test_a_file_becomes_its_struct(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"name": "x", "more": {"a": [1]}, "unknown": {}}')
    assert read_json(path, Record, limit_bytes=1000) == Record("x", {"a": [1]})


@pytest.mark.parametrize("content", [b"", b"{", b'{"name": 1}', b"[]", b'{"name": "\xff"}', b'{"name": "a"} 2', b"NaN"])
def test_what_is_not_of_its_kind_names_the_file_and_what_it_should_be(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(CorruptData, match=r"a\.json is not a record of mine: ") as error:
        read_json(path, Record, limit_bytes=1000, what="a record of mine", hint="rm it")
    assert error.value.hint == "rm it"


def test_the_largest_file_is_read_and_one_byte_more_is_refused_with_size_and_limit(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'"' + b"x" * 998 + b'"')
    assert read_json(path, str, limit_bytes=1000) == "x" * 998
    path.write_bytes(b'"' + b"x" * 999 + b'"')
    with pytest.raises(CorruptData, match=r"a\.json has 1,001 bytes, such a file has at most 1,000"):
        read_json(path, str, limit_bytes=1000)


def test_a_file_that_claims_a_terabyte_is_not_read(tmp_path):
    path = tmp_path / "a.json"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(CorruptData, match="has 1,099,511,627,776 bytes"):
        read_bounded(path, limit_bytes=1000)


def test_what_is_no_file_neither_hangs_nor_fills_the_memory(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(CorruptData, match=f"{name} is not a regular file"):
            read_json(tmp_path / name, dict, limit_bytes=1000)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "absent", dict, limit_bytes=1000)
    with pytest.raises(IsADirectoryError):
        read_json(tmp_path, dict, limit_bytes=1000)


@pytest.mark.parametrize("depth", [NESTING_LIMIT + 1, 900, 2_000, 1_000_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
@pytest.mark.parametrize("complete", [True, False])
def test_a_nesting_bomb_is_corrupt_data_wherever_it_lies(opening, closing, depth, complete):
    bomb = opening * depth + b"1" + closing * depth * complete
    for kind, content in ((Any, bomb), (Record, b'{"name": "x", "more": {"a": ' + bomb + b"}}")):
        with pytest.raises(CorruptData, match="x is not valid JSON"):
            decode_json(content, kind, name="x")


def test_a_nesting_bomb_in_a_field_that_nobody_reads_is_no_recursion_error():
    bomb = b"[" * 1_000_000 + b"]" * 1_000_000
    with pytest.raises(CorruptData, match="nested"):
        decode_json(b'{"name": "x", "unknown": ' + bomb + b"}", Record, name="x")


def test_deep_but_lawful_values_are_read():
    depth = NESTING_LIMIT
    assert decode_json(b"[" * depth + b"]" * depth, Any, name="x") is not None
    with pytest.raises(CorruptData, match="nested more than 256 deep"):
        decode_json(b"[" * (depth + 1) + b"]" * (depth + 1), Any, name="x")
