"""One page, complete, well-formed, asking for nothing from outside, and with every text shown rather than obeyed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pile_toolkit.core.errors import UsageError
from pile_toolkit.report.numbers import compact, duration
from pile_toolkit.report.render import excerpt, token, write_report
from pipelines.dedup import dedup
from pipelines.download import download
from tests.report.roots import IMAGE, MARK, RUN, SCRIPT, SVG, line_of, write_input

if TYPE_CHECKING:
    from tests.report.roots import Made

VOID = {"meta", "link", "br", "hr", "img", "input", "source", "area", "base", "col", "embed", "track", "wbr"}
CSP = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


class Page(HTMLParser):
    """Elements with their attributes, the texts, and the tables by caption; refuses what is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.texts: list[str] = []
        self.styles: list[str] = []
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "style" in self._open:
            self.styles.append(data)
        if "caption" in self._open:
            self._caption += data
        elif "tr" in self._open and self._open[-1] in ("td", "th", "code"):
            self._rows[-1][-1] += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    def row(self, caption: str, name: str) -> dict[str, str]:
        head, *rows = self.tables[caption]
        return next(dict(zip(head, row, strict=True)) for row in rows if row[0] == name)


@pytest.fixture
def page(made: Made) -> Page:
    return Page(made.html)


def test_nothing_is_asked_for_from_outside(page: Page):
    for tag, attributes in page.elements:
        assert tag not in (
            "script",
            "iframe",
            "object",
            "embed",
            "img",
            "base",
            "form",
            "use",
            "image",
            "foreignobject",
        )
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "srcset", "xlink:href", "action", "data", "poster"):
                assert value is not None
                assert value.startswith("#") or value in ("report.json", "statistics.html", "data:,"), (
                    tag,
                    name,
                    value,
                )
    css = "".join(page.styles)
    assert len(css) > 1000
    assert "url(" not in css
    assert "@import" not in css


def test_every_link_within_the_page_leads_somewhere(page: Page):
    names = {attributes.get("id") for _, attributes in page.elements}
    targets = [str(attributes["href"])[1:] for tag, attributes in page.elements if tag == "a"]
    assert (
        {"download", "dedup", "build", "tokenizer", "shards"} <= {*targets} <= {*names, "eport.json", "tatistics.html"}
    )


def test_tables_and_figures_can_be_read_without_eyes(page: Page):
    assert page.count("table") > 10
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.elements if tag == "th")
    assert page.count("figure") == page.count("figcaption") > 5
    charts = [attributes for tag, attributes in page.elements if tag == "svg" and "class" in attributes]
    assert len(charts) == page.count("figure")
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in charts)


def test_the_tables_say_what_the_json_says(made: Made, page: Page):
    mixture = made.report["build"]
    for row in mixture["components"]:
        shown = page.row("Mixture", row["slug"])
        assert shown["documents"] == f"{row['documents']:,}"
        assert shown["copies"] == f"{row['copies']:,}"
        assert shown["bytes, copies counted"] == f"{row['bytes']:,}"
        assert shown["share"] == f"{100 * row['bytes'] / mixture['bytes']:.2f}%"
        assert shown["epochs, realised"] == f"{row['train_copies'] / row['train_documents']:.4f}"
    for row in made.report["download"]["components"]:
        shown = page.row("Components on this disk", row["slug"])
        assert (shown["documents"], shown["text, bytes"]) == (f"{row['documents']:,}", f"{row['text_bytes']:,}")
        assert shown["rejected lines"] == f"{row['rejects']:,}"
    for row in made.report["dedup"]["components"]:
        shown = page.row("Documents per component", row["slug"])
        assert [shown[name] for name in ("kept", "exact duplicates", "near duplicates")] == [
            f"{row[name]:,}" for name in ("kept", "exact", "near")
        ]
    for split in made.report["shards"]["splits"]:
        assert page.row("Splits", split["split"])["tokens, copies counted"] == f"{split['stats']['tokens']:,}"
        for row in split["stats"]["components"]:
            shown = page.row(f"Components of the {split['split']} split", row["slug"])
            assert shown["tokens, copies counted"] == f"{row['tokens']:,}"


def test_every_row_of_a_table_is_as_long_as_its_head(page: Page):
    for caption, rows in page.tables.items():
        assert len({len(row) for row in rows}) == 1, caption


def test_every_mark_of_the_mixture_chart_says_its_number(made: Made, page: Page):
    for row in made.report["build"]["components"]:
        ours = 100 * row["bytes"] / made.report["build"]["bytes"]
        assert f"{row['slug']}: {ours:.2f}% here, {row['bytes']:,} bytes in {row['copies']:,} copies" in page.texts
        assert f"{row['slug']}: {row['published_percent']:.2f}% of the Pile" in page.texts


def test_documents_and_names_are_shown_and_not_obeyed(hostile: Made):
    page = Page(hostile.html)
    text = "\n".join(page.texts)
    for planted in (SCRIPT + SVG, f"{IMAGE}.jsonl.zst", RUN, f"{SCRIPT}.toml", f"# {SCRIPT}", str(hostile.root)):
        assert planted in text
    assert page.count("script") == page.count("img") == 0


def test_the_page_forbids_itself_scripts_and_requests(hostile: Made):
    (policy,) = CSP.findall(hostile.html)
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_the_headline_figures_are_there(hostile: Made):
    texts = Page(hostile.html).texts
    assert {"1234", f"{hostile.report['download']['documents']:,}", "700", "12.3 M", "2.250"} <= set(texts)


def test_a_page_is_made_anew_when_a_stage_changed_and_only_then(tmp_path: Path):
    write_input(tmp_path / "source" / "github.jsonl.zst", [line_of("one"), line_of("two"), line_of("one")])
    root = tmp_path / "root"
    download(root, components=["github"], source=str(tmp_path / "source"))
    first = write_report(root)
    assert (first.stages, first.up_to_date, first.path) == (["download"], False, str(root / "reports" / "index.html"))
    before = Path(first.path).read_bytes()
    assert write_report(root).up_to_date
    assert Path(first.path).read_bytes() == before
    dedup(root)
    second = write_report(root)
    assert (second.stages, second.up_to_date) == (["download", "dedup"], False)
    Path(second.path).write_bytes(before)
    assert not write_report(root).up_to_date
    moved = root.rename(tmp_path / "moved")
    assert write_report(moved).path == str(moved / "reports" / "index.html")
    assert write_report(moved).up_to_date


def test_stages_that_have_not_run_are_left_out(tmp_path: Path):
    write_input(tmp_path / "source" / "github.jsonl.zst", [line_of("one")])
    download(tmp_path, components=["github"], source=str(tmp_path / "source"))
    html = Path(write_report(tmp_path).path).read_text()
    sections = [attributes["id"] for tag, attributes in Page(html).elements if tag == "section"]
    assert sections == ["download"]
    report = json.loads((tmp_path / "reports" / "report.json").read_bytes())
    assert [report[name] for name in ("dedup", "build", "tokenizer", "shards", "seed")] == [None] * 5
    assert report["runs"] == []


def test_an_empty_root_says_what_to_type(tmp_path: Path):
    with pytest.raises(UsageError, match="no finished stage") as error:
        write_report(tmp_path / "nothing")
    assert error.value.hint == f"pile download --all --from sample: --root {tmp_path / 'nothing'}"
    assert not (tmp_path / "nothing").exists()


def test_a_page_is_made_without_torch():
    code = "import sys, pile_toolkit.report.render; print(sorted({'torch', 'dask', 'datasets'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (200.4, "3 min 20 s"), (7_500, "2 h 05 min")],
)
def test_times_are_written_for_people(seconds, expected):
    assert duration(seconds) == expected


def test_large_counts_are_shortened_in_the_headline():
    assert [compact(n) for n in (0, 9_999_999, 38_849_979, 999_000_000, 337_000_000_000)] == [
        "0", "9,999,999", "38.8 M", "999.0 M", "337.0 G",
    ]  # fmt: skip


def test_control_characters_are_written_out():
    assert excerpt("a\r\nb\tc\x00\x1b[31m\x85 é 🙂\u00a0") == "a\nb\tc\\x00\\x1b[31m\\x85 é 🙂\u00a0"
    assert token(" a\n\u202eb\u2028") == "·a\\n\\u202eb\\u2028"


def chromium() -> str:
    path = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    return path or pytest.skip("no Chromium to look at the page with")


def dom_of(html: str, folder: Path) -> str:
    """What a browser makes of a page, opened from the disk."""
    folder.mkdir()
    (folder / "page.html").write_text(html, encoding="utf-8")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", *quiet, f"--user-data-dir={folder}/profile"]
    return subprocess.run(
        [*command, "--dump-dom", f"file://{folder}/page.html"], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def tags(html: str) -> Counter[str]:
    return Counter(re.findall(r"<(svg|rect|polyline|circle|table|tr|th|td|figure|section)\b", html))


def test_a_browser_shows_the_charts_and_runs_nothing(hostile: Made, tmp_path: Path):
    # Without its policy: escaping alone must hold.
    unprotected = CSP.sub("", hostile.html)
    dom = dom_of(unprotected, tmp_path / "page")
    assert f"{MARK}=" not in dom.split(">", 2)[1]
    assert tags(dom) == tags(hostile.html)
    # Lines of losses 3, bits 2, utilisation 2, components 2, and 5 charts of one.
    assert tags(dom)["polyline"] == 14
    assert "this corpus" in dom


def test_the_browser_would_have_run_what_was_planted(hostile: Made, tmp_path: Path):
    unprotected = CSP.sub("", hostile.html)
    planted = dom_of(unprotected.replace("</main>", f"{SCRIPT}{IMAGE}</main>"), tmp_path / "planted")
    assert f'<html lang="en" {MARK}="1">' in planted
    protected = dom_of(hostile.html.replace("</main>", f"{SCRIPT}{IMAGE}</main>"), tmp_path / "protected")
    assert '<html lang="en">' in protected
