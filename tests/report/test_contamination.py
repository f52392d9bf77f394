"""What the report says of contamination is what a plain search of the texts finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pile_toolkit.report.render import write_report
from pipelines.dedup import dedup
from pipelines.download import download
from tests.report.roots import SCRIPT, line_of, write_input
from tests.report.test_render import Page

QUESTION, OTHER = (" ".join(f"{kind}{number}" for number in range(13)) for kind in ("asked", "other"))
LONG = " ".join(f"text{number}" for number in range(300))
TEXTS = {
    "github": [f"first {QUESTION} end", f"{LONG} {OTHER} {LONG}", "plain", "plain"],
    "arxiv": [f"second {QUESTION} and {OTHER}", LONG.upper()],
    "enron-emails": ["nothing here"],
}
SETS = {"one<b>.jsonl": [QUESTION, "too short"], "two.jsonl": [OTHER, QUESTION], "three.jsonl": ["never seen " * 9]}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("contaminated")
    for slug, texts in TEXTS.items():
        write_input(folder / "source" / f"{slug}.jsonl.zst", [line_of(text) for text in texts])
    (folder / "sets").mkdir()
    for name, texts in SETS.items():
        (folder / "sets" / name).write_bytes(b"".join(line_of(text) + b"\n" for text in texts))
    download(folder / "root", components=list(TEXTS), source=str(folder / "source"))
    dedup(folder / "root", against=folder / "sets")
    return folder / "root"


def test_documents_per_component_and_per_evaluation_set_are_those_that_hold_them(root):
    page = Page(Path(write_report(root).path).read_text())
    found = json.loads((root / "reports" / "report.json").read_bytes())["dedup"]
    counted = found["contamination"]
    holding = {slug: sum(QUESTION in text or OTHER in text for text in texts) for slug, texts in TEXTS.items()}
    assert {row["slug"]: row["dropped"] + row["cut"] for row in counted["components"]} == holding
    assert (counted["documents"], counted["dropped"], counted["cut"]) == (3, 2, 1)
    assert {row["slug"]: row["contaminated"] for row in found["components"]} == {
        row["slug"]: row["dropped"] for row in counted["components"]
    }
    for row in counted["sets"]:
        wanted = [text for text in SETS[row["name"]] if len(text.split()) == 13]
        documents = [text for texts in TEXTS.values() for text in texts if any(one in text for one in wanted)]
        assert (row["documents"], row["found_ngrams"]) == (len(documents), len(wanted))
        shown = page.row("Contaminated documents per evaluation set", row["name"])
        assert [shown[name] for name in ("records", "too short", "found", "documents", "characters")] == [
            f"{row[name]:,}" for name in ("records", "too_short", "found_ngrams", "documents", "characters")
        ]
    assert [row["too_short"] for row in counted["sets"]] == [1, 0, 0]
    for row in counted["components"]:
        shown = page.row("Contaminated documents per component", row["slug"])
        names = ("searched", "dropped", "cut", "pieces", "characters")
        assert [shown[name] for name in ("searched", "removed", "cut", "pieces", "characters")] == [
            f"{row[name]:,}" for name in names
        ]
        assert page.row("Documents per component", row["slug"])["removed"] == removed_share(found, row["slug"])
    assert "github: 1 of 3 documents go (33.33%)" in page.texts
    assert "The other 1 share nothing." in "".join(page.texts)


def removed_share(found: dict, slug: str) -> str:
    row = next(row for row in found["components"] if row["slug"] == slug)
    return f"{100 * (row['exact'] + row['near'] + row['contaminated']) / row['documents']:.2f}%"


def test_duplicates_and_contaminated_documents_are_told_apart(root):
    html = Path(write_report(root).path).read_text()
    page = Page(html)
    assert page.row("Documents per component", "github")["exact duplicates"] == "1"
    assert page.row("Documents per component", "arxiv")["contaminated"] == "1"
    # Only github has duplicates.
    assert any(text.startswith("github: 1 of 4 documents are exact duplicates") for text in page.texts)
    assert not any(text.startswith("arxiv: 0 of 2 documents are exact duplicates") for text in page.texts)
    assert SCRIPT not in html
    assert "<b>" not in html


def test_a_report_without_evaluation_sets_says_nothing_of_them(root, tmp_path):
    write_input(tmp_path / "source" / "github.jsonl.zst", [line_of(text) for text in TEXTS["github"]])
    download(tmp_path / "root", components=["github"], source=str(tmp_path / "source"))
    dedup(tmp_path / "root")
    html = Path(write_report(tmp_path / "root").path).read_text()
    assert "ontaminat" not in html
    assert "contaminated" not in Page(html).tables["Documents per component"][0]
