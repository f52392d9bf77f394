"""Documents come out of every kind of file as plain Python reads them, and what is none is said."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.plan import iter_documents
from tokenizer.compare import compare
from tokenizer.comparing.texts import FileTexts, open_texts

if TYPE_CHECKING:
    from pathlib import Path


def lines_of(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def read(path: Path) -> list[tuple[str, str, str]]:
    return [tuple(item) for item in FileTexts(path)]


def test_a_folder_gives_the_documents_of_all_its_files_in_order(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "books").mkdir()
    named = {"text": "one", "meta": {"pile_set_name": "ArXiv"}}
    frames = zstandard.compress(lines_of(named)) + zstandard.compress(lines_of({"text": "two"}))
    (tmp_path / "train" / "00.jsonl.zst").write_bytes(frames)
    (tmp_path / "a.jsonl").write_bytes(lines_of({"text": "three"}) + b'{"text": "four\\r\\n", "meta": {}}')
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines_of({"text": "five"})))
    (tmp_path / "c4.00000-of-00008.json.gz").write_bytes(gzip.compress(lines_of({"text": "six", "url": "u"})))
    (tmp_path / "books" / "emma.txt").write_bytes("seven\r\n\u00e9\n".encode())
    (tmp_path / "note.txt").write_text("")
    for other in ("rejects.jsonl", "manifest.json", "labels.lst", "a.jsonl.zst.part"):
        (tmp_path / other).write_text("no document")
    assert read(tmp_path) == [
        ("a", "three", "a.jsonl:1"),
        ("a", "four\r\n", "a.jsonl:2"),
        ("b", "five", "b.jsonl.gz:1"),
        ("books", "seven\r\n\u00e9\n", "books/emma.txt"),
        ("c4.00000-of-00008", "six", "c4.00000-of-00008.json.gz:1"),
        (tmp_path.name, "", "note.txt"),
        ("ArXiv", "one", "train/00.jsonl.zst:1"),
        ("train/00", "two", "train/00.jsonl.zst:2"),
    ]
    assert read(tmp_path / "a.jsonl")[1] == ("a", "four\r\n", "a.jsonl:2")


@pytest.mark.parametrize(
    ("line", "component", "text", "named"),
    [
        ({"text": "t", "meta": {"pile_set_name": "X", "more": [1]}, "other": {}}, "X", "t", True),
        ({"text": "t", "meta": {"pile_set_name": 3}}, "f", "t", True),
        ({"text": "t", "meta": "not an object"}, "f", "t", True),
        ({"text": "t", "meta": None}, "f", "t", True),
        ({"text": "", "id": "i"}, "f", "", True),
        ({"text": "t", "score": float("nan")}, "f", "t", True),
        ({"question": "q", "choices": ["a", "b"], "answer": 1, "more": {"x": "c"}}, "f", "q\na\nb\nc", False),
        ({"text": ["a", "b"]}, "f", "a\nb", False),
        (["a", ["b"]], "f", "a\nb", False),
        ("a", "f", "a", False),
    ],
)
def test_lines_of_every_shape_have_a_text(tmp_path, line, component, text, named):
    (tmp_path / "f.jsonl").write_bytes(lines_of(line))
    texts = FileTexts(tmp_path / "f.jsonl")
    assert [tuple(item) for item in texts] == [(component, text, "f.jsonl:1")]
    assert (texts.without_text, texts.rejected) == (0 if named else 1, 0)


@given(
    st.recursive(
        st.text("ab") | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_strings_are_joined_in_the_order_in_which_they_stand(tmp_path_factory, value):
    def strings(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        return [string for item in inner for string in strings(item)]

    path = tmp_path_factory.getbasetemp() / "strings.jsonl"
    path.write_bytes(lines_of({"item": value, "last": "z"}))
    assert [item.text for item in FileTexts(path)] == ["\n".join([*strings(value), "z"])]


def test_lines_that_are_no_documents_are_counted_and_the_first_is_named(tmp_path):
    bad = [b"not json", b'{"text": "\\ud800"}', b"[1, 2]", b'{"text": ' + b"[" * 100_000, b'{"text": "\xff"}']
    good = [b"", b'\xef\xbb\xbf{"text": "a"}', b"  ", b'\x1e{"text": "b"}\r']
    (tmp_path / "f.jsonl").write_bytes(b"\n".join([good[0], *bad, *good[1:]]))
    texts = FileTexts(tmp_path / "f.jsonl")
    assert [(item.text, item.place) for item in texts] == [("a", "f.jsonl:7"), ("b", "f.jsonl:9")]
    assert texts.rejected == len(bad)
    assert texts.first_rejected.startswith("f.jsonl:2: Expecting value")


@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_lines_longer_than_a_block_come_whole(tmp_path, size, ending):
    texts = ["x" * size, "y", "z" * size]
    data = b"\n".join(json.dumps({"text": text}).encode() for text in texts) + ending
    (tmp_path / "f.jsonl").write_bytes(data)
    (tmp_path / "g.jsonl.gz").write_bytes(gzip.compress(data, 1))
    assert [text for _, text, _ in read(tmp_path)] == texts * 2


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_has_the_documents_of_the_plan_with_their_ids(undisturbed, split):
    root = undisturbed / "root"
    texts = open_texts(split, root)
    found = [(item.place, item.text) for item in texts]
    assert found == [(document.id, document.text) for document in iter_documents(root, split)]
    assert found
    assert texts.name == f"the {split} split of {root}"
    assert {item.component for item in open_texts(split, root)} == {place.partition("/")[0] for place, _ in found}


def test_data_that_is_not_there_or_no_documents_is_refused(tmp_path):
    for data, fact in (
        (tmp_path / "nowhere", "is no file, no folder and no split"),
        (tmp_path, "there are no documents to compare on in"),
        (tmp_path / "data.csv", "is no file of documents"),
        ("val", "no plan"),
    ):
        (tmp_path / "data.csv").write_text("a,b")
        with pytest.raises(UsageError, match=fact) as error:
            open_texts(data, tmp_path / "root")
        assert error.value.hint
    for folder in ("plan", "components"):
        (tmp_path / folder).mkdir()
    with pytest.raises(UsageError, match="is a root folder") as error:
        open_texts(tmp_path, tmp_path / "root")
    assert error.value.hint == f"--data val --root {tmp_path}"


def test_files_without_one_document_say_why(small, tmp_path):
    (tmp_path / "f.jsonl").write_text("a\nb\n")
    with pytest.raises(UsageError, match=r"no documents to compare on in .*: f\.jsonl:1: Expecting value"):
        compare({"small": small}, FileTexts(tmp_path))


@pytest.mark.parametrize(
    ("name", "data", "fact"),
    [
        ("f.jsonl.zst", zstandard.compress(b'{"text": "a"}\n' * 99)[:-3], "inside the zstd frame"),
        ("f.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-9], "cut short"),
        ("f.jsonl.gz", b"no gzip", "damaged at byte 0"),
        ("f.txt", b"abc\xff", "not UTF-8 at byte 3"),
    ],
)
def test_damaged_files_are_corrupt_data(tmp_path, name, data, fact):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CorruptData, match=fact):
        read(tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "f.jsonl").write_text("")
    texts = FileTexts(tmp_path)
    (tmp_path / "f.jsonl").unlink()
    with pytest.raises(UsageError, match=r"f\.jsonl cannot be read: No such file"):
        list(texts)


def test_the_evaluation_sets_and_the_minipile_are_read_whole(minipile):
    evaluation = FileTexts(minipile.parent / "eval")
    found = [item.component for item in evaluation]
    lines = {
        path.name.removesuffix(".jsonl"): path.read_bytes().count(b"\n")
        for path in (minipile.parent / "eval").glob("*.jsonl")
    }
    assert {name: found.count(name) for name in lines} == lines
    assert evaluation.rejected == 0
    assert evaluation.without_text == len(found) - lines["lambada_openai_test"]
    assert {item.component for item in FileTexts(minipile / "nih-exporter.jsonl.zst")} == {"NIH ExPorter"}
