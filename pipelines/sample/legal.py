"""Sentences of the library in, legal and patent texts out: FreeLaw opinions and USPTO backgrounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.sample.draw import Draw
from pipelines.sample.writing import all_sentences, prose_portions, roman, runs, sources, subject, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.sample.draw import Moment
    from pipelines.sample.passages import Passage

_COURTS = (
    ("IN THE SUPREME COURT OF THE STANDARD LIBRARY", "SC"), ("COURT OF APPEALS, FIRST CIRCUIT OF MODULES", "CA"),
    ("DISTRICT COURT FOR THE DISTRICT OF IMPORTS", "CV"), ("COURT OF ERRORS AND EXCEPTIONS", "EX"),
)  # fmt: skip
_REPORTERS = ("F.2d", "F.3d", "U.S.", "S. Ct.", "A.2d", "P.2d")
_FIELDS = (
    "data processing", "text handling", "communication between processes", "program execution", "storage of records",
)  # fmt: skip
_LINE_WIDTH = 68


def opinions(slug: str) -> Iterator[tuple[str, str]]:
    """FreeLaw: slip opinions with caption, numbered parts, footnotes and a disposition, typed to a narrow width."""
    for number, passages in enumerate(prose_portions(slug, Draw(slug, 0), low_chars=5_500, high_chars=9_500), start=1):
        yield _opinion(Draw(slug, number), passages), sources(passages)


def _opinion(draw: Draw, passages: list[Passage]) -> str:
    court, letters = draw.choice(_COURTS)
    argued, judge = draw.moment(), draw.family_name()
    spoken = all_sentences(passages)
    parties = (subject(passages[0].owner).upper(), subject(passages[-1].owner).upper())
    lines = [_caption(draw, court, letters, parties, argued)]
    lines += [f"          {judge}, Judge, delivered the opinion of the court.", ""]
    footnotes: list[str] = []
    for part, section in enumerate(runs(spoken, draw, 16, 28), start=1):
        lines += [f"{roman(part)}.".center(_LINE_WIDTH).rstrip(), ""]
        for run in runs(section, draw, 3, 6):
            text = " ".join(run)
            if len(run) > 4 and draw.chance(40):
                footnotes.append(run.pop(2))
                text = f"{' '.join(run[:2])}[{len(footnotes)}] {' '.join(run[2:])}"
            if draw.chance(35):
                text += f" {_cited(draw, parties)}"
            lines += [wrapped(f"     {text}", _LINE_WIDTH), ""]
    outcome = draw.choice(("AFFIRMED", "REVERSED", "REVERSED AND REMANDED", "VACATED", "DISMISSED"))
    lines += [f"     The judgment of the court below is {outcome}.", "", "     It is so ordered.", ""]
    if footnotes:
        lines += ["_" * 20, ""]
        lines += [f"{wrapped(f'[{n}] {note}', _LINE_WIDTH)}\n" for n, note in enumerate(footnotes, start=1)]
    return "\n".join(lines).rstrip() + "\n"


def _caption(draw: Draw, court: str, letters: str, parties: tuple[str, str], argued: Moment) -> str:
    half = _LINE_WIDTH // 2
    rows = [f"{parties[0]},", "", "          Plaintiff-Appellant,", "", "     v.", ""]
    rows += [f"{parties[1]},", "", "          Defendant-Appellee."]
    docket = f"No. {argued.year % 100:02d}-{letters}-{draw.between(100, 9999)}"
    box = [f"{row[: half - 1]:<{half}})" for row in rows]
    box[4] += f"     {docket}"
    decided = f"Argued {argued.long}.  Decided {argued.year + 1}."
    return "\n".join([court.center(_LINE_WIDTH).rstrip(), "", *box, "", decided.center(_LINE_WIDTH).rstrip(), ""])


def _cited(draw: Draw, parties: tuple[str, str]) -> str:
    first = draw.between(2, 1400)
    return (
        f"See {draw.family_name()} v. {draw.choice(parties).title()}, "
        f"{draw.between(12, 980)} {draw.choice(_REPORTERS)} {first}, {first + draw.between(1, 25)} "
        f"({draw.between(1931, 2017)})."
    )


def backgrounds(slug: str) -> Iterator[tuple[str, str]]:
    """USPTO Backgrounds: numbered sections of unwrapped paragraphs with references to earlier patents."""
    for number, passages in enumerate(prose_portions(slug, Draw(slug, 0), low_chars=2_200, high_chars=4_200), start=1):
        draw, spoken = Draw(slug, number), all_sentences(passages)
        field = subject(passages[0].owner).lower()
        lines = [
            "1. Field of the Invention",
            f"The present invention relates to {draw.choice(_FIELDS)}, and more particularly to {field}.",
            "2. Description of the Related Art",
        ]
        for run in runs(spoken, draw, 3, 6):
            if draw.chance(30):
                patent = f"{draw.between(4, 9)},{draw.between(0, 999):03d},{draw.between(0, 999):03d}"
                run.insert(0, f"U.S. Pat. No. {patent} to {draw.family_name()} et al. discloses such a {field}.")
            lines.append(" ".join(run))
        lines.append(f"Accordingly, there is a need for an improved {field}.")
        yield "\n".join(lines) + "\n", sources(passages)
