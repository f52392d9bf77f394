"""A component on the disk: its files in sorted name order, wherever they lie, with what they hold."""

import pytest

from pile_toolkit.core.components import component_folder, downloaded_slugs, read_component
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import StageKey, describe, publish, withdraw
from tests.making import write_component


def test_files_stand_in_sorted_name_order_with_their_counts(tmp_path):
    write_component(tmp_path, "arxiv", {"b.jsonl.zst": ["zwei", "drei"], "a.jsonl.zst": ["ein"], "B.jsonl.zst": []})
    component = read_component(tmp_path, "arxiv")
    assert [file.counts.name for file in component.files] == ["B.jsonl.zst", "a.jsonl.zst", "b.jsonl.zst"]
    assert [file.counts.documents for file in component.files] == [0, 1, 2]
    assert all(file.path.is_file() for file in component.files)
    assert (component.documents, component.text_bytes, component.rejects) == (3, 11, 0)


def test_rejected_lines_are_counted_apart(tmp_path):
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": b'{"text":"x"}\nno\n{"text":"\xc3\xa9"}\n'})
    component = read_component(tmp_path, "arxiv")
    assert (component.documents, component.text_bytes, component.rejects) == (2, 3, 1)


def test_files_that_are_no_documents_are_left_out_and_outside_files_are_found(tmp_path):
    write_component(tmp_path / "source", "arxiv", {"a.jsonl.zst": ["text"]})
    original = read_component(tmp_path / "source", "arxiv")
    folder = component_folder(tmp_path / "root", "arxiv")
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("note")
    publish(
        folder,
        StageKey(stage="download", format=1),
        outputs=[describe(folder, path) for path in (folder / "notes.txt", original.files[0].path)],
        counts={"files": [{"name": "a.jsonl.zst", "documents": 1, "text_bytes": 4, "rejects": 0}]},
        started_at=0.0,
    )
    pointed = read_component(tmp_path / "root", "arxiv")
    assert [(file.path, file.hash) for file in pointed.files] == [(original.files[0].path, original.files[0].hash)]


def test_the_digest_changes_with_a_text_and_not_with_the_place(tmp_path):
    for root, text in (("one", "text"), ("two", "text"), ("three", "Text")):
        write_component(tmp_path / root, "arxiv", {"a.jsonl.zst": [text]})
    one, two, three = (read_component(tmp_path / root, "arxiv").digest for root in ("one", "two", "three"))
    assert one == two != three


def test_only_finished_components_are_there(tmp_path):
    assert downloaded_slugs(tmp_path) == []
    for slug in ("github", "arxiv", "books3"):
        write_component(tmp_path, slug, {"a.jsonl.zst": ["text"]})
    withdraw(component_folder(tmp_path, "books3"))
    assert downloaded_slugs(tmp_path) == ["arxiv", "github"]
    with pytest.raises(UsageError, match="component 'books3' is not in") as error:
        read_component(tmp_path, "books3")
    assert error.value.hint == f"pile download books3 --root {tmp_path}"
