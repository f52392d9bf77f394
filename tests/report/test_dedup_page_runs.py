"""When the page about duplicates is written, of which run it is, and when it goes."""

from __future__ import annotations

import json
from pathlib import Path

from pile_toolkit.core.manifest import MANIFEST
from pile_toolkit.report.dedup import write_dedup_page
from pile_toolkit.report.render import write_report
from pipelines.dedup import dedup
from pipelines.download import download
from tests.report.roots import line_of, write_input
from tests.report.test_dedup_page import corpus, make


def test_the_page_alone_is_of_what_was_decided_and_other_settings_decide_anew(tmp_path, pile):
    root = make(tmp_path / "root", {"github": [*corpus(3)["github"][:20], "one", "one"]})
    page, manifest = root / "reports" / "dedup.html", root / "dedup" / MANIFEST
    dedup(root, method="minhash", threshold=0.55)
    decided = manifest.read_bytes()
    for more in ((), ("--memory", "2GiB")):
        done = pile("dedup", "--root", root, "--report", "--jobs", "1", *more)
        assert done.returncode == 0, done.stderr
        assert "threshold 0.55" in page.read_text()
        assert manifest.read_bytes() == decided
    told = pile("dedup", "--root", root, "--report", "--dry-run", "--json")
    assert json.loads(told.stdout)["folder"] == str(root / "reports")
    done = pile("dedup", "--root", root, "--report", "--jobs", "1", "--method", "exact")
    assert done.returncode == 0, done.stderr
    assert "<dd>exact</dd>" in page.read_text()
    assert json.loads(manifest.read_bytes())["key"]["parameters"]["method"] == "exact"


def test_settings_of_a_file_are_settings(tmp_path, pile):
    root = make(tmp_path / "root", {"github": ["one", "one"]})
    dedup(root, method="none")
    (tmp_path / "pile.toml").write_text(f'root = "{root}"\n[dedup]\nmethod = "minhash"\n')
    done = pile("dedup", "--config", tmp_path / "pile.toml", "--report", "--jobs", "1", "--json")
    assert (done.returncode, json.loads(done.stdout)["method"]) == (0, "minhash"), done.stderr


def test_the_page_of_an_earlier_run_is_removed_and_the_report_links_the_present_one(tmp_path):
    root = make(tmp_path / "root", {"github": ["one", "one", "two"]})
    page = root / "reports" / "dedup.html"
    dedup(root)
    report = Path(write_report(root).path)
    assert 'href="dedup.html"' not in report.read_text()
    write_dedup_page(page, root)
    assert not write_report(root).up_to_date
    assert 'href="dedup.html"' in report.read_text()
    assert json.loads((root / "reports" / "report.json").read_bytes())["dedup"]["page"] == page.name
    assert dedup(root).up_to_date
    assert page.exists()
    dedup(root, method="minhash")
    assert not page.exists()
    write_report(root)
    assert 'href="dedup.html"' not in report.read_text()


def test_the_page_says_that_components_changed_since(tmp_path):
    root = make(tmp_path / "root", {"github": ["one", "one", "two"]})
    dedup(root)
    write_dedup_page(tmp_path / "before.html", root)
    assert "Changed since" not in (tmp_path / "before.html").read_text()
    write_input(tmp_path / "more" / "arxiv.jsonl.zst", [line_of("one")])
    download(root, components=["arxiv"], source=str(tmp_path / "more"))
    write_dedup_page(tmp_path / "after.html", root)
    assert "Changed since these duplicates were decided: arxiv." in (tmp_path / "after.html").read_text()
