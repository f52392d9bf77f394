"""Sentences of the library in, scholarly texts out: PubMed Central, PubMed Abstracts, PhilPapers, NIH ExPorter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.sample.draw import Draw
from pipelines.sample.passages import module_name
from pipelines.sample.slices import code
from pipelines.sample.writing import (
    all_sentences,
    headline,
    prose_portions,
    roman,
    runs,
    sources,
    subject,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.sample.passages import Listing, Passage

_JOURNALS = (
    "J. Softw. Maint.", "Ann. Interpr. Sci.", "Lett. Lang. Ref.", "Trans. Docstr.", "Proc. Stand. Libr.",
    "Rev. Mod. Program.",
)  # fmt: skip
_AIMS = ("Aim 1", "Aim 2", "Aim 3", "Aim 4")


def articles(slug: str) -> Iterator[tuple[str, str]]:
    """PubMed Central: articles in Markdown with numbered headings, code boxes, tables and references."""
    quoted = code(slug)
    texts = list(prose_portions(slug, Draw(slug, 0), low_chars=6_000, high_chars=13_000))
    share = len(quoted) / len(texts)
    for number, passages in enumerate(texts):
        listings = quoted[int(number * share) : int((number + 1) * share)]
        yield _article(Draw(slug, number + 1), passages, listings), sources([*passages, *listings])


def _article(draw: Draw, passages: list[Passage], listings: list[Listing]) -> str:
    spoken = all_sentences(passages)
    abstract = max(2, len(spoken) // 20)
    third = abstract + (len(spoken) - abstract) // 3
    parts = [
        f"# {headline(spoken[0])}\n\n{', '.join(draw.person() for _ in range(draw.between(2, 5)))}",
        f"## Abstract\n\n{' '.join(spoken[:abstract])}",
        _section(draw, "1. Introduction", spoken[abstract:third]),
        _methods(draw, spoken[third : 2 * third], listings),
        _section(draw, "3. Results and discussion", spoken[2 * third :]),
        _table(draw, passages),
        _references(draw, passages),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _section(draw: Draw, heading: str, spoken: list[str]) -> str:
    return "\n\n".join([f"## {heading}", *(" ".join(run) + _citation(draw) for run in runs(spoken, draw, 3, 7))])


def _citation(draw: Draw) -> str:
    return f" [@r{draw.between(1, 30)}]" if draw.chance(30) else ""


def _methods(draw: Draw, spoken: list[str], listings: list[Listing]) -> str:
    parts = [_section(draw, "2. Materials and methods", spoken)]
    for number, listing in enumerate(listings, start=1):
        caption = f"### 2.{number}. {subject(listing.owner)}\n\n**Box {number}.** `{listing.owner}`"
        parts.append(f"{caption}\n\n```\n{listing.code}\n```")
    return "\n\n".join(parts)


def _table(draw: Draw, passages: list[Passage]) -> str:
    """Counts of the very passages of the article: nothing in it is invented."""
    lines = ["**Table 1.** Passages, words and characters.", ""]
    lines += ["| Name | Kind | Words | Characters |", "|---|---|---:|---:|"]
    for passage in passages[: draw.between(4, 16)]:
        lines.append(f"| {passage.owner} | {passage.kind} | {len(passage.text.split())} | {len(passage.text)} |")
    return "\n".join(lines)


def _references(draw: Draw, passages: list[Passage]) -> str:
    lines = []
    for number, name in enumerate(dict.fromkeys(passage.owner for passage in passages[:30]), start=1):
        issue, first = f"{draw.between(1, 60)}({draw.between(1, 12)})", draw.between(1, 900)
        lines.append(
            f"{number}. {draw.family_name()} {draw.choice('ABCDEFGHIJKLM')}. {subject(name)} in {name}. "
            f"{draw.choice(_JOURNALS)} {draw.between(1991, 2018)};{issue}:{first}-{first + draw.between(3, 30)}."
        )
    return "\n".join(["## References", "", *lines])


def abstracts(slug: str) -> Iterator[tuple[str, str]]:
    """PubMed Abstracts: a title and one structured paragraph."""
    for number, passages in enumerate(prose_portions(slug, Draw(slug, 0), low_chars=700, high_chars=1_700), start=1):
        draw, spoken = Draw(slug, number), all_sentences(passages)
        text = " ".join(spoken[1:])
        if draw.chance(40) and len(spoken) > 5:
            cut = [len(spoken) * part // 4 for part in range(1, 4)]
            text = (
                f"BACKGROUND: {' '.join(spoken[1 : cut[0] + 1])} METHODS: {' '.join(spoken[cut[0] + 1 : cut[1] + 1])} "
                f"RESULTS: {' '.join(spoken[cut[1] + 1 : cut[2] + 1])} CONCLUSIONS: {' '.join(spoken[cut[2] + 1 :])}"
            )
        yield f"{headline(spoken[0], 20)}.\n{text or spoken[0]}".rstrip() + "\n", sources(passages)


def essays(slug: str) -> Iterator[tuple[str, str]]:
    """PhilPapers: essays in long paragraphs with footnotes and a bibliography."""
    for number, passages in enumerate(prose_portions(slug, Draw(slug, 0), low_chars=4_000, high_chars=6_500), start=1):
        draw, spoken, notes = Draw(slug, number), all_sentences(passages), list[str]()
        lines = [f"On {subject(passages[0].owner)} and {subject(passages[-1].owner)}", "", draw.person(), ""]
        for part, section in enumerate(runs(spoken, draw, 14, 22), start=1):
            lines += [f"{roman(part)}. {headline(section[0], 6)}", ""]
            for run in runs(section, draw, 5, 9):
                cited = f"{draw.family_name()} {draw.between(1950, 2018)}, pp. {draw.between(3, 400)} f."
                notes.append(f"{len(notes) + 1}. {cited}")
                lines += [f"{' '.join(run)}[{len(notes)}]", ""]
        names = dict.fromkeys(module_name(passage.source) for passage in passages)
        works = [f"{draw.person()} ({draw.between(1950, 2018)}). A Commentary on {name}." for name in names]
        yield "\n".join([*lines, "Notes", "", *notes, "", "Bibliography", "", *works]) + "\n", sources(passages)


def grants(slug: str) -> Iterator[tuple[str, str]]:
    """NIH ExPorter: project descriptions with their aims, in capitals where the register has them."""
    for number, passages in enumerate(prose_portions(slug, Draw(slug, 0), low_chars=900, high_chars=1_500), start=1):
        draw, spoken = Draw(slug, number), all_sentences(passages)
        text = f"DESCRIPTION (provided by applicant): {' '.join(spoken[: len(spoken) // 2 + 1])}"
        for aim, run in zip(_AIMS, runs(spoken[len(spoken) // 2 + 1 :], draw, 1, 3), strict=False):
            text += f" {aim}: {' '.join(run)}"
        award = f"{draw.choice('RPUK')}{draw.between(1, 44):02d}-{draw.between(1000, 99999):06d}"
        body = wrapped(text, 100) if draw.chance(50) else text
        yield f"{subject(passages[0].owner).upper()} [{award}]\n\n{body}\n", sources(passages)
