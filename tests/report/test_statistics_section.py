"""The report has the key figures of `pile stats`, those of what is there now and no others, and links its page."""

from __future__ import annotations

import json
import shutil

import msgspec
import pytest

from pile_toolkit.chain.statistics import report, stats
from pile_toolkit.core.manifest import read_manifest
from pile_toolkit.report.current import current_statistics
from pile_toolkit.report.finished import finished_stages
from pile_toolkit.report.render import write_report
from pile_toolkit.report.statistics import key_figures, statistics_page
from pipelines.build import build
from pipelines.dedup import dedup
from tests.report.test_render import Page

CAPTION = "Components as they are"


def index_of(root):
    return (root / "reports" / "index.html").read_text()


def shown(root):
    write_report(root)
    return Page(index_of(root))


def test_the_section_says_what_pile_stats_says(copy):
    assert "Statistics" not in index_of(copy)
    told = stats(copy)
    page = shown(copy)
    whole = [row for row in told.groups if row.of == "components"]
    for row in whole:
        cells = page.row(CAPTION, row.component or "total")
        quantiles = row.lengths["bytes"].quantiles
        assert cells == {
            "component": row.component or "total",
            "documents": f"{row.documents:,}",
            "text, bytes": f"{row.bytes:,}",
            "tokens": f"{row.tokens:,}",
            "bytes a token": f"{row.bytes_per_token:.3f}",
            "mean, bytes": f"{row.mean_bytes:,.0f}",
            "median, bytes": f"{quantiles['p50']:,}",
            "99% up to": f"{quantiles['p99']:,}",
            "compression": f"{row.compression.ratio:.2f}",
            "at zstd 3": f"{row.compression.zstd3_ratio:.2f}",
        }
    found = json.loads((copy / "reports" / "report.json").read_bytes())["statistics"]
    assert found["groups"] == msgspec.to_builtins(told.groups)
    assert found["own"]
    assert [chart.title for chart in key_figures(told.groups).lengths] == [row.component for row in whole[:-1]]


def test_the_whole_page_lies_beside_the_report_and_is_one_of_its_files(copy):
    told = stats(copy)
    links = [attributes.get("href") for tag, attributes in shown(copy).elements if tag == "a"]
    assert "statistics.html" in links
    page = copy / "reports" / "statistics.html"
    assert page.read_text() == statistics_page(msgspec.structs.replace(told, up_to_date=True, notes=[]))
    assert "statistics.html" in [output.path for output in read_manifest(copy / "reports").outputs]
    page.unlink()
    assert not write_report(copy).up_to_date
    assert page.exists()


def test_without_statistics_of_this_root_one_line_says_what_to_type(copy):
    def hinted():
        page = shown(copy)
        sections = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
        assert ("statistics" in sections) == (copy / "reports" / "statistics.html").exists()
        return "statistics" not in sections and "pile stats" in page.texts

    assert hinted()
    stats(copy)
    assert not hinted()
    # Of another plan.
    build(copy, seed=5, val_share=0.1, test_share=0.1, train_shards=3)
    assert hinted()
    stats(copy)
    assert not hinted()
    # Tables that are no longer those of the manifest.
    (copy / "stats" / "statistics.json").write_text("[]")
    assert hinted()


@pytest.mark.parametrize("of", ["components", "plan", "all"])
@pytest.mark.parametrize("kept", ["shards", "tokenizer", "neither"])
def test_statistics_are_current_until_the_same_command_would_count_something_else(copy, of, kept):
    def current():
        return current_statistics(copy, finished_stages(copy)) is not None

    if kept != "shards":
        shutil.rmtree(copy / "shards")
    if kept == "neither":
        shutil.rmtree(copy / "tokenizer")
    told = stats(copy, of=of)
    assert current()
    found = current_statistics(copy, finished_stages(copy))
    assert (found.groups, found.tokenizer) == (told.groups, told.tokenizer)
    # They know of the keep-list, or would count copies of the plan that it belongs to.
    dedup(copy, method="none")
    assert not current()
    if of != "plan":
        stats(copy, of=of)
        assert current()
    build(copy, val_share=0.1, test_share=0.1, train_shards=3)
    assert current() == (of == "components" and stats(copy, of=of) is not None)


def test_another_tokenizer_is_named_and_an_estimate_is_called_one(copy, tmp_path):
    own = json.loads((copy / "tokenizer" / "tokenizer.json").read_text())
    own["model"]["merges"] = own["model"]["merges"][:50]
    (tmp_path / "other.json").write_text(json.dumps(own))
    told = stats(copy, tokenizer=tmp_path / "other.json")
    assert told.tokenizer in shown(copy).texts
    shutil.rmtree(copy / "shards")
    stats(copy, estimate_tokens=True)
    page = shown(copy)
    assert page.row(CAPTION, "total")["tokens"].startswith("~")
    assert any("estimate" in text for text in page.texts)


def test_a_run_counts_what_is_not_counted_yet_and_nothing_else(copy):
    first = report(copy)
    assert (first.up_to_date, (copy / "reports" / "statistics.html").exists()) == (False, True)
    assert report(copy).up_to_date
    shutil.rmtree(copy / "shards")
    told = stats(copy, of="components", estimate_tokens=True)
    report(copy)
    # What was asked for by other options stays.
    assert {row.tokens_from for row in told.groups} == {"estimate"}
    again = json.loads((copy / "reports" / "report.json").read_bytes())["statistics"]
    assert {row["tokens_from"] for row in again["groups"]} == {"estimate"}
    (copy / "stats" / "manifest.json").unlink()
    assert not report(copy).up_to_date
