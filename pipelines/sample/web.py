"""The library in, web texts out: Pile-CC pages, OpenWebText2 posts, StackExchange, Hacker News."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.sample.draw import Draw
from pipelines.sample.passages import examples, module_name, paragraphs, sentences
from pipelines.sample.slices import code, portions
from pipelines.sample.writing import all_sentences, headline, prose_portions, runs, sources, subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.sample.passages import Listing, Passage

_REPLY_DEPTHS = ("~~~", "------")
_QUESTIONS = (
    "How does {name} work?", "What is {name} for?", "How do I use {name}?", "Can somebody explain {name}?",
    "When should I use {name} in {module}?", "Understanding {name} in the {module} module",
)  # fmt: skip
_OPENINGS = (
    "I came across `{name}` while reading {module}, and I am not sure that I understand it.",
    "In a project of mine there is a call of `{name}`.",
    "What I have found out about `{name}` so far is this.",
)
_ANSWERS = (
    "The source of `{name}` says it best:", "`{name}` is all there is to it:", "Look at how `{name}` is written:",
    "It comes down to `{name}`, and here is the code:",
)  # fmt: skip


def pages(slug: str) -> Iterator[tuple[str, str]]:
    """Pile-CC: pages of a code browser, as a text extractor leaves them: navigation, text, code, footer."""
    shown = portions(code(slug), Draw(slug, 0), low_chars=1_800, high_chars=5_000, length=lambda one: len(one.code))
    for number, listings in enumerate(shown, start=1):
        draw, module = Draw(slug, number), module_name(listings[0].source)
        lines = [
            f"{module} | {draw.choice(('Source browser', 'Reading the library', 'Module notes'))}",
            " > ".join(["Home", "Library", *module.split(".")]),
            "",
        ]
        for listing in listings:
            lines += [subject(listing.owner), "", *_unwrapped(listing.docstring), listing.code, ""]
        others = dict.fromkeys(listing.owner.split(".")[-1] for listing in listings)
        lines.append(f"On this page: {', '.join(others)}")
        lines.append(f"Posted by {draw.nick()} on {draw.moment().long}. {draw.between(0, 40)} comments.")
        yield "\n".join(lines) + "\n", sources(listings)


def _unwrapped(docstring: str) -> list[str]:
    return [line for paragraph in paragraphs(docstring) for line in (paragraph, "")]


def posts(slug: str) -> Iterator[tuple[str, str]]:
    """OpenWebText2: blog posts in short paragraphs, some with a list, some with doctests."""
    for number, passages in enumerate(prose_portions(slug, Draw(slug, 0), low_chars=1_800, high_chars=4_200), start=1):
        draw, spoken = Draw(slug, number), all_sentences(passages)
        lines = [headline(spoken[0]), ""]
        if draw.chance(60):
            lines += [f"By {draw.person()}, {draw.moment().long}", ""]
        for run in runs(spoken, draw, 2, 5):
            bulleted = len(run) > 3 and draw.chance(12)
            lines += [*(f"* {sentence}" for sentence in run), ""] if bulleted else [" ".join(run), ""]
        for example in [text for passage in passages for text in examples(passage.text)]:
            lines += [example, ""]
        yield "\n".join(lines).rstrip() + "\n", sources(passages)


def exchanges(slug: str) -> Iterator[tuple[str, str]]:
    """StackExchange: a question that quotes a docstring, and answers that quote the code."""
    shown = portions(code(slug), Draw(slug, 0), low_chars=400, high_chars=1_900, length=lambda one: len(one.code))
    for number, listings in enumerate(shown, start=1):
        yield _exchange(Draw(slug, number), listings), sources(listings)


def _exchange(draw: Draw, listings: list[Listing]) -> str:
    first = next((listing for listing in listings if listing.docstring), listings[0])
    names = {"name": first.owner.split(".")[-1], "module": module_name(first.source)}
    quoted = "\n".join(f"> {line}".rstrip() for line in first.docstring.split("\n"))
    lines = ["Q:", "", draw.choice(_QUESTIONS).format(**names), "", draw.choice(_OPENINGS).format(**names), ""]
    if first.docstring:
        lines += ["The documentation says this, and I wonder what happens behind it:", "", quoted, ""]
    for listing in listings:
        answer = draw.choice(_ANSWERS).format(name=listing.owner)
        lines += ["A:", "", *_explained(listing), answer, "", _indented(listing.code), ""]
    return "\n".join(lines).rstrip() + "\n"


def _explained(listing: Listing) -> list[str]:
    spoken = sentences(listing.docstring)
    shown = [part for example in examples(listing.docstring) for part in (_indented(example), "")]
    return [*([" ".join(spoken), ""] if spoken else []), *shown]


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.split("\n"))


def threads(slug: str) -> Iterator[tuple[str, str]]:
    """HackerNews: a story and the tree of its comments, in the layout of the Pile."""
    for number, passages in enumerate(prose_portions(slug, Draw(slug, 0), low_chars=1_500, high_chars=3_000), start=1):
        draw, spoken = Draw(slug, number), all_sentences(passages)
        lines = [f"\n{headline(spoken[0])} - {draw.nick()}", _address(passages[0]), "======"]
        for position, run in enumerate(runs(spoken[1:] or spoken, draw, 1, 4)):
            if position:
                lines += ["", draw.choice(_REPLY_DEPTHS)]
            quoted = draw.chance(15) and position > 0
            lines += [draw.nick(), *([f"> {draw.choice(spoken)}", ""] if quoted else []), " ".join(run)]
        yield "\n".join(lines) + "\n", sources(passages)


def _address(passage: Passage) -> str:
    return f"http://library.example/{module_name(passage.source).replace('.', '/')}#{passage.owner.split('.')[-1]}"
