"""The page of a comparison: every figure there, every text shown rather than obeyed, nothing asked for from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pile_toolkit.report.comparison import CHARTED_COMPONENTS, charts, page, short_names, write_comparison
from tests.report.roots import IMAGE, MARK, SCRIPT, SVG
from tests.report.test_render import CSP, Page, dom_of, tags
from tokenizer.compare import compare
from tokenizer.train import train_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizer.comparing.results import Comparison

HOSTILE = f"{SCRIPT}{SVG}"
NAMES = ("here/tokenizer.json", f"there/{IMAGE}/tokenizer.json", "small.json")


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    encoders = [
        train_tokenizer([text * 9 + HOSTILE], vocab_size=400, allow_smaller=True) for text in ("ab  c", "c d", "")
    ]
    texts = [("plain", "ab  c d  " * 20), (HOSTILE, f"{HOSTILE} c\x1b[31m\u202e"), ("plain", " "), ("empty", "")]
    return compare(dict(zip(NAMES, encoders, strict=True)), texts)


@pytest.fixture(scope="module")
def html(comparison) -> str:
    return page(comparison)


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def test_the_tables_have_the_figures_of_the_comparison(comparison, html):
    shown = Page(html)
    for caption, without in (("All tokens", False), ("Without white-space tokens", True)):
        for row in (*comparison.rows, comparison.total):
            cells = shown.row(caption, row.component)
            counts = row.without_white_space if without else row
            assert cells["documents"] == f"{row.documents:,}"
            for place, name in enumerate(NAMES, start=1):
                assert cells[f"tokens ({place})"] == f"{counts.tokens[name]:,}"
                assert cells[f"bytes a token ({place})"] == number(counts.bytes_per_token[name])
            for place, name in list(enumerate(NAMES, start=1))[1:]:
                assert cells[f"ratio ({place}) to (1)"] == number(counts.ratio[name])
    assert shown.row("The paper's totals", "C4, validation")["GPT-2"] == "173,669,294"
    for place, name in enumerate(NAMES, start=1):
        longest = [cells[0] for cells in shown.tables[f"Longest tokens ({place})"][1:]]
        assert longest == [str(token.id) for token in comparison.vocabularies[name].longest]
    for rows in shown.tables.values():
        assert len({len(row) for row in rows}) == 1


def test_there_is_a_chart_for_every_tokenizer_after_the_first_that_says_its_numbers(comparison, html):
    shown = Page(html)
    assert shown.count("svg") == len(NAMES) - 1
    for row in (*comparison.rows, comparison.total):
        for name in NAMES[1:]:
            assert f"{row.component}: {number(row.ratio[name])}, all tokens" in shown.texts
            solid = row.without_white_space.ratio[name]
            assert f"{row.component}: {number(solid)}, without white-space tokens" in shown.texts


def test_one_tokenizer_alone_is_charted_by_its_bytes_per_token():
    encoder = train_tokenizer(["abc"], vocab_size=283)
    (chart,) = charts(compare({"a.json": encoder}, [("one", "abc"), ("two", "abcabc")]))
    assert chart.title == "Bytes per token of a.json"
    assert "one: 3.000, all tokens" in Page(str(chart.svg)).texts


def test_of_many_components_the_largest_are_charted():
    encoder = train_tokenizer(["abc"], vocab_size=283)
    sizes = [(7 * number) % 101 + 1 for number in range(CHARTED_COMPONENTS + 5)]
    texts = [(f"component-{number:02}-of-a-long-name", "abc" * size) for number, size in enumerate(sizes)]
    (chart,) = charts(compare({"a.json": encoder}, texts))
    assert chart.note == f"The largest {CHARTED_COMPONENTS} of {CHARTED_COMPONENTS + 5} components."
    smallest = sorted(range(len(sizes)), key=lambda number: sizes[number])[:5]
    charted = {text for text in Page(str(chart.svg)).texts if text.startswith("component-") and "tokens" in text}
    assert len(charted) == 2 * CHARTED_COMPONENTS
    assert not any(text.startswith(f"component-{number:02}") for number in smallest for text in charted)


def test_names_and_documents_are_shown_and_not_obeyed(html):
    shown = Page(html)
    text = "\n".join(shown.texts)
    assert HOSTILE in text
    assert NAMES[1] in text
    assert shown.count("script") == shown.count("img") == 0
    assert "\x1b" not in html
    assert "\u202e" not in html
    (policy,) = CSP.findall(html)
    assert "default-src 'none'" in policy
    for element, attributes in shown.elements:
        for name in ("src", "href"):
            assert attributes.get(name, "data:,") in ("data:,", None), element


def test_a_browser_runs_nothing_of_it(html, tmp_path: Path):
    dom = dom_of(CSP.sub("", html), tmp_path / "page")
    assert f"{MARK}=" not in dom.split(">", 2)[1]
    assert tags(dom) == tags(html)


def test_names_are_as_short_as_tells_them_apart():
    assert short_names(["a/x/t.json", "b/x/t.json"]) == {"a/x/t.json": "a/x/t.json", "b/x/t.json": "b/x/t.json"}
    assert short_names(["/r/a/t.json", "/r/b/u.json"]) == {"/r/a/t.json": "t.json", "/r/b/u.json": "u.json"}
    assert short_names(["/r/a/t.json", "/r/b/t.json"]) == {"/r/a/t.json": "a/t.json", "/r/b/t.json": "b/t.json"}
    assert short_names(["t.json", "./t.json"]) == {"t.json": "t.json", "./t.json": "./t.json"}


def test_the_page_appears_whole(comparison, html, tmp_path: Path):
    write_comparison(tmp_path / "page.html", comparison)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == html
