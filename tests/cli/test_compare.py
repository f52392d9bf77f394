"""`pile tokenizer compare` on splits and on files: what it prints, writes and refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(undisturbed) -> Path:
    return undisturbed / "root" / "tokenizer" / "tokenizer.json"


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    lines = [{"text": "def f():\n        return 1\n" * 3, "meta": {"pile_set_name": "Github"}}, {"question": "Why?"}]
    (tmp_path / "data" / "f.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "no json\n")
    (tmp_path / "data" / "a\x1b[31m.jsonl").write_text(json.dumps({"text": "\x1b]0;title\x07"}) + "\n")
    return tmp_path / "data"


def test_it_prints_both_tables_the_papers_figures_tokens_and_documents(pile, file, folder):
    done = pile("tokenizer", "compare", file, "--data", folder)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    for said in (
        f"(1) {file}",
        str(folder),
        "of documents without a `text` all strings count: 1",
        "lines passed over: 1, the first f.jsonl:3: Expecting value",
        "all tokens",
        "without white-space tokens",
        "in the paper (Black et al., 2022, GPT-NeoX-20B, arXiv 2204.06745, Tables 14-16)",
        "tokens never occurred",
        "longest tokens",
        "worst documents",
        "a\\x1b[31m.jsonl:1",
        "\\x1b]0;title\\x07",
    ):
        assert said in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["the", "Pile,", "validation", "383,111,734", "342,887,807", "0.895"] in rows
    assert ["C4,", "validation", "173,669,294", "173,768,876", "1.001"] in rows
    (all_tokens, solid) = [row for row in rows if row[:1] == ["Github"]][:2]
    assert all_tokens[:3] == solid[:3] == ["Github", "1", "78"]
    assert int(all_tokens[3]) > int(solid[3])


def test_json_has_the_same_and_limits_are_obeyed(pile, file, folder):
    limits = ("--longest", "2", "--unused", "1", "--worst", "0")
    done = pile("tokenizer", "compare", file, "--data", folder, "--json", *limits)
    table = json.loads(done.stdout)
    name = str(file)
    assert (table["data"], table["encoders"]) == (str(folder), [name])
    assert {row["component"] for row in table["rows"]} == {"a\\x1b[31m", "Github", "f"}
    assert table["total"]["documents"] == 3
    assert table["total"]["without_white_space"]["tokens"][name] < table["total"]["tokens"][name]
    assert [len(table["vocabularies"][name][key]) for key in ("longest", "examples")] == [2, 1]
    assert table["worst"] == {name: []}
    assert (table["without_text"], table["rejected"]) == (1, 1)
    paper = [(row["tokens"], row["white_space"]) for row in table["in_the_paper"]]
    assert paper[1] == ({"GPT-2": 337_787_550, "GPT-NeoX-20B": 322_074_249}, False)


def test_a_corpus_folder_and_a_split_have_the_same_documents(pile, file, undisturbed):
    root = undisturbed / "root"
    of_split = json.loads(pile("tokenizer", "compare", file, "--data", "test", "--root", root, "--json").stdout)
    corpus = root / "corpus" / "test.jsonl.zst"
    of_file = json.loads(pile("tokenizer", "compare", file, "--data", corpus, "--json").stdout)
    for key in ("documents", "bytes", "tokens", "without_white_space"):
        assert of_split["total"][key] == of_file["total"][key]
    assert of_split["vocabularies"] == of_file["vocabularies"]


def test_the_page_is_written_beside_what_is_printed(pile, file, folder, tmp_path):
    done = pile("tokenizer", "compare", file, "--data", folder, "--json", "--html", tmp_path / "page.html")
    assert json.loads(done.stdout)["total"]["documents"] == 3
    assert done.stderr.splitlines()[-1] == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("data", "code", "fact", "hint"),
    [
        ("nowhere", 2, "nowhere is no file, no folder and no split", "--data val, or --data FOLDER"),
        ("empty", 2, "there are no documents to compare on in empty", "--data FOLDER with *.jsonl.zst, *.jsonl"),
        ("page.csv", 2, "page.csv is no file of documents", "a file or folder of *.jsonl.zst"),
        ("cut.jsonl.zst", 4, "cut.jsonl.zst is damaged at byte 0", "fetch or make the file again"),
        ("latin.txt", 4, "latin.txt is not UTF-8 at byte 3", "iconv -t utf-8"),
        ("train", 2, "no plan", "pile build"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_and_what_to_type(pile, file, tmp_path, data, code, fact, hint):
    (tmp_path / "empty").mkdir()
    (tmp_path / "page.csv").write_text("a,b")
    (tmp_path / "cut.jsonl.zst").write_bytes(b"nothing of the kind")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    done = pile("tokenizer", "compare", file, "--data", data, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    said, tried = done.stderr.splitlines()
    assert fact in said
    assert hint in tried
    assert not done.stdout
