"""The page of statistics: every figure there, every text shown rather than obeyed, nothing asked for from outside."""

from __future__ import annotations

import msgspec
import pytest

from pile_toolkit.chain.statistics import stats
from pile_toolkit.report.statistics import charts, small_histograms, statistics_page, write_statistics_page
from pipelines.stats.results import LanguageShare
from pipelines.stats.tables import QUANTILES
from tests.report.roots import SCRIPT, SVG
from tests.report.test_render import CSP, Page


@pytest.fixture
def result(copy):
    """Statistics of a copy of the hostile root, with languages that would take over the page."""
    found = stats(copy)
    languages = [LanguageShare(language=name, documents=1, bytes=1, share=0.5) for name in (SVG, "en")]
    groups = [msgspec.structs.replace(row, languages=languages) for row in found.groups]
    return msgspec.structs.replace(found, groups=groups, detector=SCRIPT, root=f"a {SCRIPT}")


def test_the_tables_have_the_figures_of_the_statistics(result):
    shown = Page(statistics_page(result))
    for row in result.groups:
        if row.of != "components":
            continue
        name = row.component or "total"
        cells = shown.row("Components as they are", name)
        assert (cells["documents"], cells["text, bytes"]) == (f"{row.copies:,}", f"{row.bytes:,}")
        assert cells["tokens"] == f"{row.tokens:,}"
        assert cells["ratio"] == f"{row.compression.ratio:.2f}"
        for unit, lengths in row.lengths.items():
            quantiles = shown.row(f"Quantiles of lengths in {unit}", name)
            assert [quantiles[name] for name in QUANTILES] == [f"{lengths.quantiles[name]:,}" for name in QUANTILES]
    planned = [row for row in result.groups if row.of == "plan"]
    assert [cells[:4] for cells in shown.tables["The plan, copies counted"][1:]] == [
        [row.component or "total", row.split, f"{row.documents:,}", f"{row.copies:,}"] for row in planned
    ]
    for rows in shown.tables.values():
        assert len({len(row) for row in rows}) == 1


def test_every_component_has_a_small_chart_and_what_is_known_is_drawn(result):
    whole = [row for row in result.groups if row.of == "components"]
    planned = [row for row in result.groups if row.of == "plan"]
    found = charts(whole, planned)
    assert [figure.title for figure in found["shares"]] == ["Shares of text", "Bytes per token"]
    assert len(found["lengths"]) == 3
    assert [figure.title for figure in small_histograms(whole)] == [row.component for row in whole[:-1]]
    drawn = sum(map(len, found.values())) + len(whole) - 1
    assert Page(statistics_page(result)).count("svg") == drawn


def test_names_are_shown_and_not_obeyed(result):
    html = statistics_page(result)
    shown = Page(html)
    assert CSP.search(html)
    assert shown.count("script") == 0
    assert SCRIPT not in html
    assert any(SCRIPT in text for text in shown.texts)
    assert "http" not in html.replace("http-equiv", "")


def test_what_is_not_known_is_left_out(result, tmp_path):
    bare = [
        msgspec.structs.replace(
            row,
            languages=None,
            duplicates=None,
            compression=None,
            tokens_from="estimate",
            lengths={unit: lengths for unit, lengths in row.lengths.items() if unit != "tokens"},
        )
        for row in result.groups
        if row.of == "components"
    ]
    shown = Page(statistics_page(msgspec.structs.replace(result, groups=bare)))
    assert set(shown.tables) == {
        "Components as they are",
        "Quantiles of lengths in bytes",
        "Quantiles of lengths in characters",
    }
    assert shown.row("Components as they are", "total")["tokens"].startswith("~")
    planned = [row for row in result.groups if row.of == "plan"]
    only = Page(statistics_page(msgspec.structs.replace(result, groups=planned)))
    assert "Components as they are" not in only.tables
    write_statistics_page(tmp_path / "page.html", result)
    assert (tmp_path / "page.html").read_text() == statistics_page(result)
