"""Evaluation sets of every kind are read by one rule, and what is hostile or broken is one sentence."""

from __future__ import annotations

import json
import shutil

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from pipelines.decontamination import Against, evaluation, read_evaluation_sets
from pipelines.decontamination.evaluation import Leaf
from pipelines.decontamination.ngrams import open_ngrams, write_ngrams
from pipelines.dedup import dedup
from tests.conftest import _shared_folder
from tests.pipelines.decontamination_twin import read_records, sought

LINE = {"question": {"stem": "Why?", "choices": [{"text": "so", "label": "A"}, {"text": "no", "label": "B"}]}, "n": 1}


def table_of(folder, tmp_path, **settings):
    """(header, all n-grams with set, line and field) of a folder of sets."""
    table = tmp_path / "table"
    table.mkdir()
    write_ngrams(table, str(folder), msgspec.to_builtins(Against(**settings)))
    header, ngrams = open_ngrams(table)
    rows = [
        (tuple(ngrams.ngram_text(ngram).split(" ")), header.sets[of_set].name, line, header.fields[field])
        for ngram, of_set, line, field in ngrams.places.tolist()
    ]
    return header, rows


def test_every_string_of_a_record_is_a_text_with_its_field(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(LINE) + "\n\n" + json.dumps("alone") + "\n")
    first, second = read_evaluation_sets(tmp_path).records("a.jsonl")
    assert first.line == 1
    assert first.leaves == [
        Leaf("question.stem", "Why?"),
        Leaf("question.choices[0].text", "so"),
        Leaf("question.choices[0].label", "A"),
        Leaf("question.choices[1].text", "no"),
        Leaf("question.choices[1].label", "B"),
    ]
    # The second choice follows the question too.
    assert first.options == [(0, 3)]
    assert (second.line, second.leaves) == (3, [Leaf("", "alone")])


def test_all_kinds_of_files_are_read_and_others_named(tmp_path):
    folder = tmp_path / "sets"
    (folder / "deep").mkdir(parents=True)
    line = json.dumps(LINE).encode()
    (folder / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + line + b"\n")
    (folder / "deep" / "b.jsonl.zst").write_bytes(zstandard.compress(line + b"\n" + line))
    (folder / "c.json").write_bytes(b"[" + line + b"," + line + b"]")
    (folder / "d.json").write_bytes(line)
    (folder / "e.txt").write_text("plain words\nof a text")
    (folder / "labels.lst").write_text("0\n1\n")
    sets = read_evaluation_sets(folder)
    counts = {name: [record.line for record in sets.records(name)] for name in sets.files}
    assert counts == {"a.jsonl": [1], "c.json": [1, 2], "d.json": [1], "deep/b.jsonl.zst": [1, 2], "e.txt": [1]}
    assert sets.ignored == ["labels.lst"]
    assert [leaf.text for record in sets.records("e.txt") for leaf in record.leaves] == ["plain words\nof a text"]


def test_the_digest_is_that_of_names_and_content(tmp_path):
    for name in ("one", "same", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jsonl").write_text('"x"' if name != "other" else '"y"')
    digests = [read_evaluation_sets(tmp_path / name).digest for name in ("one", "same", "other")]
    assert digests[0] == digests[1] != digests[2]
    (tmp_path / "same" / "labels.lst").write_text("0")
    assert read_evaluation_sets(tmp_path / "same").digest == digests[0]
    (tmp_path / "same" / "a.jsonl").rename(tmp_path / "same" / "b.jsonl")
    assert read_evaluation_sets(tmp_path / "same").digest != digests[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": "x"}\n{"a": \n', "line 2 of "),
        (b'{"a": NaN}', "line 1 of "),
        (b'{"a": "\\ud800"}', "line 1 of "),
        (b'{"a": "\xff"}', "line 1 of "),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested more than 256 deep"),
        (b"[" * 200_000, "line 1 of "),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.zst"])
def test_broken_records_are_one_sentence(tmp_path, content, message, name):
    (tmp_path / name).write_bytes(zstandard.compress(content) if name.endswith(".zst") else content)
    sets = read_evaluation_sets(tmp_path)
    with pytest.raises(CorruptData) as error:
        list(sets.records(name))
    expected = message if name != "a.json" or "line" not in message else str(tmp_path)
    assert expected in error.value.message


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst"])
def test_a_line_that_is_too_long_is_not_read(tmp_path, monkeypatch, name):
    monkeypatch.setattr(evaluation, "LONGEST_LINE_BYTES", 1000)
    content = b'"' + b"x" * 998 + b'"\n'
    for extra, fails in ((b"", False), (b" ", True)):
        data = b'"y"\n' + extra + content
        (tmp_path / name).write_bytes(zstandard.compress(data) if name.endswith(".zst") else data)
        read = read_evaluation_sets(tmp_path)
        if not fails:
            assert len(list(read.records(name))) == 2
            continue
        with pytest.raises(CorruptData, match=r"line 2 of .* has more than 1,000 bytes"):
            list(read.records(name))


def test_a_text_that_is_no_utf8_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(CorruptData, match="no UTF-8"):
        list(read_evaluation_sets(tmp_path).records("a.txt"))


def test_a_folder_without_sets_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        read_evaluation_sets(tmp_path / "nowhere")
    (tmp_path / "labels.lst").write_text("0")
    with pytest.raises(UsageError, match="no evaluation set"):
        read_evaluation_sets(tmp_path)
    (tmp_path / "a.jsonl").write_text('"a few words only"')
    (tmp_path / "table").mkdir()
    with pytest.raises(UsageError, match=r"no text in .* has 8 words"):
        write_ngrams(tmp_path / "table", str(tmp_path), msgspec.to_builtins(Against()))


def test_settings_that_cannot_be_are_refused():
    for wrong in ({"ngram": 1}, {"ngram": 300}, {"common": 0}, {"action": "burn"}, {"window": -1}, {"ngram": True}):
        with pytest.raises(UsageError):
            Against(**wrong)


def test_short_texts_are_looked_for_as_a_whole_and_too_short_ones_counted(tmp_path):
    folder = tmp_path / "sets"
    folder.mkdir()
    nine = "one two three four five six seven eight nine"
    rows = [{"q": nine, "a": "ten"}, {"q": "Q: What is 98 plus 45?\n\nA:", "a": " 143"}, {"q": "too short"}]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    header, found = table_of(folder, tmp_path)
    assert [(" ".join(words), line, field) for words, _, line, field in found] == [
        (nine, 1, "q"),
        (f"{nine} ten", 1, "record"),
        ("q what is 98 plus 45 a 143", 2, "record"),
    ]
    assert (header.sets[0].records, header.sets[0].too_short, header.sets[0].ngrams) == (3, 1, 3)


def test_options_follow_their_question_and_fill_its_blank(tmp_path):
    folder = tmp_path / "sets"
    folder.mkdir()
    record = {"text": "Sarah was a better surgeon than Maria so _ got the easy cases", "options": ["Sarah", "Maria"]}
    (folder / "a.jsonl").write_text(json.dumps(record))
    _, found = table_of(folder, tmp_path, ngram=5)
    fields = {" ".join(words): field for words, _, _, field in found}
    assert fields["maria so sarah got the"] == "text + options[0]"
    assert fields["maria so maria got the"] == "text + options[1]"
    assert fields["got the easy cases sarah"] == "text + options[0]"
    assert fields["got the easy cases maria"] == "text + options[1]"


words = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "_", "é"]), max_size=9).map(" ".join)
values = st.recursive(
    words,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)),
    max_leaves=7,
)


@settings(max_examples=40)
@given(st.lists(values, min_size=1, max_size=3))
def test_ngrams_are_those_of_the_rule_in_plain_python(tmp_path_factory, records):
    tmp_path = tmp_path_factory.mktemp("sets")
    folder = tmp_path / "sets"
    folder.mkdir()
    lines = [*records, "the one that is there always"]
    (folder / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in lines))
    header, found = table_of(folder, tmp_path, ngram=4, shortest=2)
    expected = [sought(record, 4, 2) for record in lines]
    first = {words: line for line, some in reversed(list(enumerate(expected, start=1))) for words in some}
    assert {words: line for words, _, line, _ in found} == first
    assert header.sets[0].too_short == expected.count(set())


def test_the_ngrams_of_real_sets_are_those_of_the_rule(tmp_path):
    names = ("nutcracker_winogrande_test.jsonl", "arc_challenge_dev.jsonl", "gpt3_single_digit_three_ops.jsonl")
    (tmp_path / "sets").mkdir()
    for name in (*names, "piqa_valid-labels.lst"):
        shutil.copy(_shared_folder("data/eval") / name, tmp_path / "sets" / name)
    header, found = table_of(tmp_path / "sets", tmp_path)
    by_set: dict[str, set] = {}
    for words, name, _, _ in found:
        by_set.setdefault(name, set()).add(words)
    for name in names:
        records = read_records(tmp_path / "sets" / name)
        assert by_set[name] == set().union(*map(sought, records)), name
    assert header.ignored == ["piqa_valid-labels.lst"]
    assert {one.name: one.records for one in header.sets} == dict(zip(sorted(names), (294, 2000, 1267), strict=True))


@pytest.mark.parametrize("dry", [True, False])
def test_an_empty_folder_name_and_a_folder_without_sets_are_refused_before_anything_is_done(
    make_root, tmp_path, pile, dry
):
    root = make_root({"arxiv": ["one"]})
    (tmp_path / "nothing").mkdir()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "labels.lst").write_text("0")
    for folder, fact, hint in (
        ("", "--against is empty, and would be the working folder", "--against FOLDER, or --against ."),
        (tmp_path / "nothing", "holds no evaluation set", "--against FOLDER with *.jsonl, *.jsonl.zst"),
        (tmp_path / "others", "holds no evaluation set", "--against FOLDER with *.jsonl"),
        (tmp_path / "nowhere", "there is no folder", "--against FOLDER with *.jsonl"),
    ):
        done = pile("dedup", "--root", root, "--against", folder, *(["--dry-run"] if dry else []))
        assert (done.returncode, done.stdout) == (2, "")
        assert fact in done.stderr
        assert hint in " ".join(done.stderr.split())
        with pytest.raises(UsageError, match=fact):
            dedup(root, against=folder)
    assert not (root / "dedup").exists()
