"""Tokens in, lines for a terminal out: each in its own colour or behind a separator, several tokenizers side by side.

Widths are those of a terminal's cells: Chinese takes two, a combining mark none. Nothing of the text is sent as it is
where a terminal would obey it.
"""

from __future__ import annotations

from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, NamedTuple

import click

from tokenizer.show import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tokenizer.show import Part, ShownTokens

# Of the 256 colours, pale ones under black: legible on dark and on light terminals.
BACKGROUNDS = (153, 157, 223, 182)
INK, FAINT_INK = 16, 240
# The first that the text does not contain, so that no other can be meant.
SEPARATORS = "|¦‖│"
NEWLINE, TAB = "↵", "→   "
GAP = 3
NARROWEST_COLUMN = 36


class Cell(NamedTuple):
    """What stands in some cells of the terminal, and of which token it is."""

    token: int
    text: str
    width: int
    is_code: bool = False


def side_by_side(shown: Sequence[ShownTokens], *, width: int | None, colours: bool) -> Iterator[str]:
    """The lines that show all of these: in columns where a terminal of `width` cells is wide enough, else in turn.

    Without a width, which is in a file or a pipe, lines end where those of the text do.
    """
    separator = None if colours else separator_for(shown)
    column = (width - GAP * (len(shown) - 1)) // len(shown) if width is not None else 0
    if len(shown) > 1 and column >= NARROWEST_COLUMN:
        yield from _columns(shown, column, separator)
        return
    for number, one in enumerate(shown):
        if len(shown) > 1:
            yield from ([""] if number else [])
            yield from map(_heading_style(colours), heading(one))
        for line in text_lines(one, separator):
            for row in wrapped(line, width):
                yield painted(row, colours=colours)
    if len(shown) == 1:
        yield f"{shown[0].count:,} tokens"


def separator_for(shown: Sequence[ShownTokens]) -> str:
    """A character that is in none of the texts, where there is one."""
    # Whole, and not token by token: one may cut a character in two.
    text = "".join(bytes.fromhex("".join(one.bytes)).decode() for one in shown)
    return next((mark for mark in SEPARATORS if mark not in text), SEPARATORS[0])


def heading(one: ShownTokens) -> list[str]:
    """The name, as harmless as the text, and below it the count and the ratio."""
    ratio = "" if one.ratio is None else f", ratio {one.ratio:.3f}"
    return [painted(_plain(one.tokenizer), colours=False), f"{one.count:,} tokens{ratio}"]


def text_lines(one: ShownTokens, separator: str | None) -> list[list[Cell]]:
    """The tokens as cells, a list for every line of the text."""
    lines: list[list[Cell]] = [[]]
    for number, data in enumerate(one.bytes):
        if separator is not None and number:
            lines[-1].append(Cell(number, separator, 1))
        for part in parts(bytes.fromhex(data)):
            lines[-1] += _cells(number, part)
            if part.kind == "newline":
                lines.append([])
    # The line after the last line break has nothing in it.
    return lines if lines[-1] or len(lines) == 1 else lines[:-1]


def _cells(number: int, part: Part) -> Iterator[Cell]:
    if part.kind == "newline":
        yield Cell(number, NEWLINE, 1, True)
    elif part.kind == "tab":
        yield Cell(number, TAB, len(TAB), True)
    elif part.kind in ("byte", "code"):
        text = f"\\x{part.text}" if part.kind == "byte" else f"<{part.text}>"
        yield Cell(number, text, len(text), True)
    else:
        from rich.cells import get_character_cell_size

        for char in part.text:
            yield Cell(number, char, get_character_cell_size(char))


def wrapped(line: Sequence[Cell], width: int | None) -> Iterator[list[Cell]]:
    """The cells of one line of the text in rows of at most `width`, at least one row."""
    row: list[Cell] = []
    used = 0
    for cell in line:
        if width is not None and row and used + cell.width > width:
            yield row
            row, used = [], 0
        row.append(cell)
        used += cell.width
    yield row


def painted(row: Sequence[Cell], *, colours: bool) -> str:
    """A row of cells as text, every token on its background."""
    if not colours:
        return "".join(cell.text for cell in row)
    return "".join(
        click.style("".join(cell.text for cell in cells), fg=FAINT_INK if is_code else INK, bg=_background(token))
        for (token, is_code), cells in groupby(row, key=lambda cell: (cell.token, cell.is_code))
    )


def _background(token: int) -> int:
    return BACKGROUNDS[token % len(BACKGROUNDS)]


def _heading_style(colours: bool):
    return (lambda text: click.style(text, bold=True)) if colours else str


def _columns(shown: Sequence[ShownTokens], column: int, separator: str | None) -> Iterator[str]:
    colours = separator is None
    headings = [[list(wrapped(_plain(text), column)) for text in heading(one)] for one in shown]
    for rows in (list(zip_longest(*(blocks[place] for blocks in headings), fillvalue=[])) for place in range(2)):
        for row in rows:
            yield _joined(row, column, style=_heading_style(colours))
    yield ""
    texts = [text_lines(one, separator) for one in shown]
    # Lines of the text stay beside each other, however many rows each needs.
    for lines in zip_longest(*texts, fillvalue=[]):
        for row in zip_longest(*(wrapped(line, column) for line in lines), fillvalue=[]):
            yield _joined(row, column, style=None, colours=colours)


def _plain(text: str) -> list[Cell]:
    return [cell for part in parts(text.encode()) for cell in _cells(0, part)]


def _joined(row: Sequence[Sequence[Cell]], column: int, *, style, colours: bool = False) -> str:
    joined = ""
    for place, cells in enumerate(row):
        text = painted(cells, colours=colours)
        joined += style(text) if style is not None and text else text
        if place < len(row) - 1:
            missing = column + GAP - sum(cell.width for cell in cells)
            start = (column + GAP) * (place + 1) + 1
            # Terminals do not agree on the width of flags and of emoji with a skin colour: the column is named.
            joined += " " * missing + (f"\x1b[{start}G" if colours else "")
    return joined.rstrip(" ")
