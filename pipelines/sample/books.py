"""The library in, long texts out: Books3 (modules as chapters), Gutenberg (the language reference), BookCorpus2."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipelines.sample.draw import Draw
from pipelines.sample.passages import module_name, paragraphs
from pipelines.sample.slices import code, portions
from pipelines.sample.standard_library import TOPICS_SOURCE, topics
from pipelines.sample.writing import all_sentences, headline, prose_portions, roman, runs, sources, subject, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.sample.passages import Listing

_LINE_WIDTH = 70
_TALE_WORDS = ("The Book of", "A Tale of", "Letters on", "The History of", "Conversations about", "Leaves from")


def manuals(slug: str) -> Iterator[tuple[str, str]]:
    """Books3: a volume of many modules, a chapter each, the code printed in full."""
    volumes = portions(code(slug), Draw(slug, 0), low_chars=22_000, high_chars=40_000, length=lambda one: len(one.code))
    for number, listings in enumerate(volumes, start=1):
        draw = Draw(slug, number)
        chapters: dict[str, list[Listing]] = {}
        for listing in listings:
            chapters.setdefault(listing.source, []).append(listing)
        names = [module_name(source) for source in chapters]
        parts = [
            f"FROM {names[0].upper()} TO {names[-1].upper()}",
            f"A Reader's Companion, Volume {roman(number)}\n\n{draw.person()}",
            "Contents\n\n" + "\n".join(f"{position}. {name}" for position, name in enumerate(names, start=1)),
        ]
        for position, (name, members) in enumerate(zip(names, chapters.values(), strict=True), start=1):
            parts.append(f"Chapter {position}\n\n{name}")
            for member in members:
                parts += [subject(member.owner), *paragraphs(member.docstring), member.code]
        yield "\n\n\n".join(parts) + "\n", sources(listings)


def classics(slug: str) -> Iterator[tuple[str, str]]:
    """Gutenberg (PG-19): the language reference in volumes, set to 70 columns, its examples kept as they are."""
    pieces = [piece for name, text in topics().items() for piece in _pieces(name, text)]
    volumes = portions(pieces, Draw(slug, 0), low_chars=11_000, high_chars=21_000, length=lambda piece: len(piece[1]))
    for number, volume in enumerate(volumes, start=1):
        draw = Draw(slug, number)
        titles = list(dict.fromkeys(name for name, _ in volume))
        lines = [f"THE LANGUAGE REFERENCE, BOOK THE {roman(number)}", ""]
        lines += [f"Set by {draw.person()}, {draw.between(1851, 1919)}", "", "", "CONTENTS", ""]
        lines += [f"  {roman(position)}. {title.upper()}" for position, title in enumerate(titles, start=1)]
        shown = ""
        for name, text in volume:
            if name != shown:
                lines += ["", "", f"CHAPTER {roman(titles.index(name) + 1)}.", "", name.upper(), ""]
                shown = name
            lines += ["", _set(text)]
        yield "\n".join(lines).rstrip() + "\n", TOPICS_SOURCE


def _pieces(name: str, text: str) -> list[tuple[str, str]]:
    """A chapter's paragraphs, code blocks and headings, apart, so that a volume can end after any of them."""
    return [(name, block) for block in re.split(r"\n[ ]*\n", text) if block.strip()]


def _set(block: str) -> str:
    lines = block.split("\n")
    if len(lines) == 2 and len(set(lines[1])) == 1:  # a heading and its rule
        return lines[0].strip().upper()
    if block.startswith(" ") or any(line.startswith(("+-", "| ", "==")) for line in lines):
        return block
    return wrapped(block, _LINE_WIDTH)


def novels(slug: str) -> Iterator[tuple[str, str]]:
    """BookCorpus2: long unwrapped paragraphs, with talk in quotation marks and chapters by number."""
    for number, passages in enumerate(prose_portions(slug, Draw(slug, 0), low_chars=6_000, high_chars=12_000), start=1):
        draw, spoken = Draw(slug, number), all_sentences(passages)
        lines = [f"{draw.choice(_TALE_WORDS)} {subject(passages[0].owner)}", "", f"by {draw.person()}", ""]
        for chapter, section in enumerate(runs(spoken, draw, 25, 45), start=1):
            lines += ["", f"Chapter {chapter}: {headline(section[0], 5)}", ""]
            for run in runs(section, draw, 2, 7):
                if len(run) > 2 and draw.chance(30):
                    speaker = draw.choice(("said", "asked", "answered", "whispered"))
                    spoken_word = run.pop(0).rstrip(".:;")
                    lines += [f"“{spoken_word},” {speaker} {draw.person().split()[0]}.", ""]
                lines += [" ".join(run), ""]
        yield "\n".join(lines).rstrip() + "\n", sources(passages)
