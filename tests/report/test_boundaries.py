"""The page of token boundaries: all of the text is there, shown and never obeyed, and nothing is asked for."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from pile_toolkit.core.errors import UsageError
from pile_toolkit.report import boundaries
from pile_toolkit.report.boundaries import boundaries_page, write_boundaries
from tests.report.roots import IMAGE, MARK, SCRIPT, SVG
from tests.report.test_render import CSP, dom_of
from tokenizer.show import parts, show_tokens
from tokenizer.train import train_tokenizer

if TYPE_CHECKING:
    from tokenizer.show import SideBySide

TEXT = f"def f(x):\n\treturn  x\n\n中文 é {SCRIPT}{IMAGE}{SVG} \"quoted\" 'x' &amp; \x1b[31m \u202e evil\r\x00"
NAMES = ("first.json", f"{IMAGE}.json")


@pytest.fixture(scope="module")
def shown() -> SideBySide:
    encoders = [train_tokenizer([text * 9], vocab_size=330, allow_smaller=True) for text in ("def f(x)", "中文 return")]
    return show_tokens(list(zip(NAMES, encoders, strict=True)), TEXT)


class Reader(HTMLParser):
    """The elements with a title in each `pre`, and the names of all elements and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.boxes: list[list[tuple[str, str]]] = []
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag == "pre":
            self.boxes.append([])
        self._inside = self._inside or tag == "pre"
        if tag == "span":
            self.boxes[-1].append((dict(attrs)["title"], ""))

    def handle_endtag(self, tag):
        self._inside = self._inside and tag != "pre"

    def handle_data(self, data):
        if self._inside:
            title, text = self.boxes[-1][-1]
            self.boxes[-1][-1] = (title, text + data)


def test_every_token_is_an_element_with_its_text_and_in_its_title_id_and_bytes(shown):
    html = boundaries_page(shown, title="a text")
    boxes = Reader(html).boxes
    assert len(boxes) == 2
    for one, box in zip((shown, *shown.others), boxes, strict=True):
        assert len(box) == one.count
        for (title, text), token_id, encoded in zip(box, one.ids, one.bytes, strict=True):
            assert title.startswith(f"id {token_id}\nbytes {bytes.fromhex(encoded).hex(' ')}\ntext ")
            written = "".join("↵\n" if part.kind == "newline" else part.text for part in parts(bytes.fromhex(encoded)))
            assert text == written
        assert f"<dd>{one.count}</dd>" in html
        assert f"<dd>{one.ratio:.3f}</dd>" in html


def test_the_page_obeys_nothing_of_the_text_and_asks_for_nothing(shown, tmp_path):
    html = boundaries_page(shown, title=SCRIPT)
    reader = Reader(html)
    assert not reader.names & {"script", "img", "svg", "iframe", "object", "form", "video"}
    assert not any(name.startswith("on") or name == "src" for name in reader.attributes)
    assert re.findall(r'(?:href|url)[=(]["\']?([^"\')>]*)', html) == ["data:,"]
    assert CSP.search(html)
    assert not set(html) & {"\x1b", "\u202e", "\x00", "\r"}
    # Without its policy: escaping alone must hold.
    dom = dom_of(CSP.sub("", html), tmp_path / "page")
    assert f"{MARK}=" not in dom.split(">", 2)[1]
    assert "first.json" in dom


def test_an_empty_text_is_a_page_and_one_beyond_all_measure_is_refused(shown, tmp_path, monkeypatch):
    encoder = train_tokenizer(["ab"], vocab_size=300, allow_smaller=True)
    write_boundaries(tmp_path / "empty.html", show_tokens([("x", encoder)], ""), title="empty")
    assert "<dd>0</dd>" in (tmp_path / "empty.html").read_text()
    monkeypatch.setattr(boundaries, "MOST_TOKENS", shown.count)
    with pytest.raises(UsageError, match="is too large for a browser"):
        write_boundaries(tmp_path / "large.html", shown, title="large")
    assert not (tmp_path / "large.html").exists()
