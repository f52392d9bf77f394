"""Good shards have no problems; each kind of damage is found and named with its file and place."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import StageKey, describe, publish
from shards.format import data_path, index_path, read_index, write_index
from shards.provenance import provenance_path, write_provenance
from shards.verify import verify_shards

END = 99
DOCUMENTS = [[5, 6, END], [END], [1, 2, 3, END], [9, END]]
ENTRIES = [2, 0, 3, 2, 1, 0]


@pytest.fixture
def written(write_documents):
    return write_documents(DOCUMENTS, ENTRIES)


def change_ids(prefix, place, value):
    ids = np.fromfile(data_path(prefix), "<u2")
    ids[place] = value
    ids.tofile(data_path(prefix))


def change_index(prefix, **changes):
    index = read_index(index_path(prefix))
    fields = {name: getattr(index, name).tolist() for name in ("sizes", "pointers", "doc_idx")}
    for name, (place, value) in changes.items():
        fields[name][place] = value
    write_index(index_path(prefix), dtype=index.dtype, **fields)


def change_rows(written, place, **changes):
    rows = [dict(row) for row in written.rows]
    rows[place] |= changes
    columns = {name: [row[name] for row in rows] for name in ("component", "file", "line", "copy", "bytes")}
    files = {"arxiv": ["a", "b"], "github": ["c"], "ubuntu-irc": ["d"]}
    write_provenance(provenance_path(written.prefix), **columns, components=list(files), files=files)


def only_problem(prefix, suffix, **options):
    (problem,) = verify_shards(prefix, **options).problems
    assert problem.file == f"{prefix}{suffix}"
    return problem.what


@pytest.mark.parametrize("options", [{}, {"vocab_size": 100}, {"vocab_size": 100, "end_of_text": END}])
def test_good_shards_with_shared_pointers_have_no_problems(written, options):
    assert verify_shards(written.prefix, **options).problems == []


@pytest.mark.parametrize("row", range(len(ENTRIES)))
def test_ends_are_looked_at_in_parts_that_leave_none_out(write_documents, monkeypatch, row):
    monkeypatch.setattr("shards.verify.sequences._ROWS_IN_MEMORY", 2)
    monkeypatch.setattr("shards.verify.sequences._ROWS", 5)
    documents = [[5, 6, END], [END], [1, 2, END], [9, END], [8, END], [END]]
    assert not verify_shards(write_documents(documents).prefix, end_of_text=END).problems
    documents[row][-1] = 7
    assert f"sequence {row} ends with id 7" in only_problem(write_documents(documents).prefix, ".bin", end_of_text=END)


def test_empty_shards_and_foreign_ones_without_an_end_are_fine(write_documents):
    assert verify_shards(write_documents([]).prefix).problems == []
    assert verify_shards(write_documents([[1, 2], [], [3]], provenance=False).prefix).problems == []


def test_an_id_past_the_vocabulary_is_found_with_its_byte(written):
    change_ids(written.prefix, 5, 98)
    assert verify_shards(written.prefix, vocab_size=100).problems == []
    change_ids(written.prefix, 5, 100)
    assert "id 100 at byte 10 is outside a vocabulary of 100" in only_problem(written.prefix, ".bin", vocab_size=100)


def test_a_negative_id_is_outside_any_vocabulary(write_documents):
    written = write_documents([[1, -5, END]], dtype="i4")
    assert "id -5 at byte 4 is outside any vocabulary" in only_problem(written.prefix, ".bin")


def test_a_document_without_its_end_is_found(written):
    change_ids(written.prefix, 2, 7)
    what = only_problem(written.prefix, ".bin")
    assert "sequence 1 ends with id 7, not with the end-of-text 99; 2 of 6" in what


def test_the_wrong_end_of_text_is_found(written):
    assert "sequence 0 ends with id 99, not with the end-of-text 0; 6 of 6" in only_problem(
        written.prefix, ".bin", end_of_text=0
    )


def test_an_empty_sequence_has_no_end_of_text(write_documents):
    what = only_problem(write_documents([[END], []]).prefix, ".bin")
    assert "sequence 1 is empty, not with the end-of-text 99" in what


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"doc_idx": (6, 5)}, "run from 0 to 5, they must rise from 0 to 6"),
        ({"doc_idx": (0, 1)}, "run from 1 to 6"),
        ({"doc_idx": (3, 1)}, "must rise"),
    ],
)
def test_an_index_that_does_not_match_its_bin_is_found(written, changes, says):
    change_index(written.prefix, **changes)
    problems = [problem.what for problem in verify_shards(written.prefix).problems if problem.file.endswith(".idx")]
    assert len(problems) == 1
    assert says in problems[0]


def test_a_truncated_bin_is_a_problem_and_no_crash(written):
    with data_path(written.prefix).open("r+b") as file:
        file.truncate(18)
    assert "not inside its 18" in only_problem(written.prefix, ".idx")


def test_rows_of_other_shards_are_found(written, write_documents):
    provenance_path(write_documents(DOCUMENTS).prefix).replace(provenance_path(written.prefix))
    assert "describes 4 sequences" in only_problem(written.prefix, ".docs.arrow")


@pytest.mark.parametrize("changes", [{"line": 77}, {"bytes": 77}, {"component": 2, "file": 0}])
def test_copies_that_claim_different_documents_are_found(written, changes):
    change_rows(written, 5, **changes)
    problems = verify_shards(written.prefix).problems
    assert {problem.file for problem in problems} == {f"{written.prefix}.docs.arrow"}
    assert "rows 1 and 5 are copies of one stored document" in problems[0].what


@pytest.mark.parametrize("changes", [{"component": 3}, {"file": 2}])
def test_a_row_without_a_name_is_found(written, changes):
    change_rows(written, 2, **changes)
    assert "row 2 has no name for file" in only_problem(written.prefix, ".docs.arrow")


def test_absent_shards_are_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        verify_shards(tmp_path / "train")


@pytest.mark.parametrize(
    ("changes", "notes"),
    [
        ({}, []),
        ({"sizes": (0, 3)}, ["sequences 0 and 3 start at the same byte 8 and have 3 and 4 ids"]),
        ({"sizes": (4, 3)}, ["sequence 0 starts at byte 8, inside another sequence"]),
        ({"pointers": (4, 4)}, ["sequence 4 starts at byte 4, inside", "the index reads 18 of the 20 bytes"]),
    ],
)
def test_ranges_that_overlap_are_noted_and_no_damage(write_documents, changes, notes):
    written = write_documents(DOCUMENTS, ENTRIES, provenance=False)
    change_index(written.prefix, **changes)
    result = verify_shards(written.prefix)
    assert result.problems == []
    assert len(result.notes) == len(notes)
    for note, says in zip(result.notes, notes, strict=True):
        assert says in note


def test_bytes_behind_the_last_sequence_are_damage(written):
    with data_path(written.prefix).open("ab") as file:
        file.write(b"1234")
    assert "4 of its 24 bytes stand behind the last sequence" in only_problem(written.prefix, ".bin")


@pytest.fixture
def recorded(written):
    """The same shards as a stage leaves them, with a manifest."""
    folder = written.prefix.parent
    paths = [path(written.prefix) for path in (data_path, index_path, provenance_path)]
    tokens = {"sequences": 6, "tokens": sum(map(len, written.sequences)), "stored": 4, "stored_tokens": 10}
    publish(
        folder,
        StageKey(stage="shards", format=1),
        outputs=[describe(folder, path) for path in paths],
        counts={"vocab_size": 100, "splits": {"train": tokens}},
        started_at=time.time(),
    )
    return written


@pytest.mark.parametrize("jobs", [1, 3])
def test_files_that_are_as_their_manifest_says_are_listed(recorded, jobs):
    result = verify_shards(recorded.prefix, jobs=jobs)
    assert result.problems == []
    assert result.vocab_size == 100
    assert result.hashed == [f"{recorded.prefix}{ending}" for ending in (".bin", ".idx", ".docs.arrow")]


@pytest.mark.parametrize("ending", [".bin", ".idx", ".docs.arrow"])
def test_any_flipped_bit_is_found_by_the_manifest(recorded, ending):
    path = recorded.prefix.with_name(f"train{ending}")
    whole = path.read_bytes()
    for place in range(0, len(whole), max(len(whole) // 40, 1)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        problems = verify_shards(recorded.prefix).problems
        assert any(problem.file == str(path) and "has the hash" in problem.what for problem in problems), place


def test_what_the_manifest_counts_must_be_there(recorded):
    change_index(recorded.prefix, sizes=(4, 3))
    whats = [problem.what for problem in verify_shards(recorded.prefix).problems]
    assert any("has the hash" in what for what in whats)
    assert any("tokens, its manifest counts" in what for what in whats)


def test_a_recorded_bin_may_hold_documents_that_no_sequence_reads(write_documents):
    written = write_documents(DOCUMENTS, [0, 1])
    assert "stand behind the last sequence" in only_problem(written.prefix, ".bin")
    folder = written.prefix.parent
    outputs = [describe(folder, data_path(written.prefix))]
    publish(folder, StageKey(stage="mix", format=1), outputs=outputs, counts={}, started_at=time.time())
    result = verify_shards(written.prefix)
    assert result.problems == []
    assert result.notes == ["the index reads 8 of the 20 bytes in the .bin"]


@pytest.mark.parametrize(
    ("ending", "content", "says"),
    [
        (".idx", b"PK\x03\x04 nothing of the kind", "does not start with"),
        (".idx", b"", "does not start with"),
        (".idx", b"MMIDIDX\0\0" + (1).to_bytes(8, "little") + b"\x06" + bytes(24), "dtype code 6"),
        (".bin", b"123", "no multiple of the 2 an id takes"),
        (".docs.arrow", b"ARROW1 nothing of the kind", "is no provenance file"),
    ],
)
def test_files_of_another_kind_are_one_sentence_each(written, ending, content, says):
    written.prefix.with_name(f"train{ending}").write_bytes(content)
    problems = verify_shards(written.prefix).problems
    assert any(says in problem.what for problem in problems)


def test_ids_are_found_whatever_block_and_thread_has_them(write_documents, monkeypatch):
    monkeypatch.setattr("shards.verify.bytes.BLOCK_BYTES", 6)
    written = write_documents([[1, 2, 3, 4, 5, 6, 7, 8, 9, END]] * 3)
    change_ids(written.prefix, 17, 200)
    change_ids(written.prefix, 25, 300)
    for jobs in (1, 4):
        what = only_problem(written.prefix, ".bin", vocab_size=100, jobs=jobs)
        assert "id 200 at byte 34 is outside a vocabulary of 100" in what
