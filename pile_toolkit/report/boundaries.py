"""A text under several tokenizers in, one page out that shows where their tokens end: it needs nothing else, ever.

Whatever came from outside is escaped, and the page forbids itself scripts and requests besides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pile_toolkit import __version__
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import write_bytes
from pile_toolkit.report.page import render_page
from tokenizer.show import parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tokenizer.show import Part, ShownTokens, SideBySide

TEMPLATE = "boundaries.html.j2"
# Every token is an element with its title, some 150 bytes: beyond that browsers grow slow.
MOST_TOKENS = 200_000
COLOURS = 4


def write_boundaries(path: Path, text: SideBySide, *, title: str) -> None:
    """Writes the page; raises UsageError where it would have more tokens than a browser shows with ease."""
    tokens = sum(one.count for one in (text, *text.others))
    if tokens > MOST_TOKENS:
        raise UsageError(
            f"a page of {tokens:,} tokens is too large for a browser, at most {MOST_TOKENS:,} fit",
            hint="head -n 1000 FILE | pile tokenizer show --html PAGE, or without --html",
        )
    write_bytes(path, boundaries_page(text, title=title).encode())


def boundaries_page(text: SideBySide, *, title: str) -> str:
    """The whole HTML page."""
    shown = [text, *text.others]
    text_bytes = [sum(len(token) // 2 for token in one.bytes) for one in shown]
    return render_page(
        TEMPLATE,
        filters={"ratio": lambda value: f"{value:.3f}"},
        title=title,
        version=__version__,
        shown=zip(shown, text_bytes, strict=True),
        elements=elements,
        colours=COLOURS,
    )


def elements(one: ShownTokens) -> Iterator[tuple[list[Part], str]]:
    """(parts, title) of every token: the title is its id, its bytes and its text, on lines of their own."""
    for token_id, encoded in zip(one.ids, one.bytes, strict=True):
        found = parts(bytes.fromhex(encoded))
        spaced = " ".join(encoded[place : place + 2] for place in range(0, len(encoded), 2))
        yield found, f"id {token_id}\nbytes {spaced}\ntext {''.join(map(_in_title, found))}"


def _in_title(part: Part) -> str:
    if part.kind in ("newline", "tab"):
        return "\\n" if part.kind == "newline" else "\\t"
    if part.kind == "space":
        return "·" * len(part.text)
    return {"byte": f"\\x{part.text}", "code": f"<{part.text}>"}.get(part.kind, part.text)
