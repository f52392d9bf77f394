"""Sentences of the library and drawn polynomials in, arXiv papers in LaTeX out. Every identity holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipelines.sample.draw import Draw
from pipelines.sample.polynomials import Polynomial
from pipelines.sample.slices import code
from pipelines.sample.writing import all_sentences, headline, prose_portions, runs, sources, subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.sample.passages import Listing, Passage

_CLASSES = ("article", "amsart", "revtex4-1")
_LETTERS = "fghpquvw"
_SPECIAL = {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}"}
_STATEMENTS = (
    ("theorem", "Let ${f} = {factored}$. Then ${f} = {expanded}$, and ${f}$ vanishes exactly at ${name} = {roots}$."),
    ("lemma", "The polynomial ${f} = {expanded}$ has the derivative ${f}' = {derivative}$."),
    ("proposition", "If ${f}({name}) = {expanded}$, then ${f}({at}) = {value}$."),
)


def preprints(slug: str) -> Iterator[tuple[str, str]]:
    """(text, source) of each paper."""
    quoted = code(slug)
    texts = list(prose_portions(slug, Draw(slug, 0), low_chars=3_500, high_chars=7_500))
    share = len(quoted) / len(texts)
    for number, passages in enumerate(texts):
        listings = quoted[int(number * share) : int((number + 1) * share)]
        yield _paper(Draw(slug, number + 1), passages, listings), sources([*passages, *listings])


def escaped(text: str) -> str:
    """Plain text as LaTeX: special characters protected, names in quotes set as code."""
    text = re.sub(r"[\\^~]", lambda match: _SPECIAL[match[0]], text)
    text = re.sub(r"(?<!\\)([#$%&_])", r"\\\1", text)
    return re.sub(r"(?<!\w)[`']([\w.\\]+\w(?:\(\))?)['`]", r"\\texttt{\1}", text)


def _paper(draw: Draw, passages: list[Passage], listings: list[Listing]) -> str:
    spoken = all_sentences(passages)
    abstract = max(2, len(spoken) // 15)
    parts = [_preamble(draw, escaped(headline(spoken[0])), escaped(" ".join(spoken[:abstract])))]
    numbers = iter(range(1, 1_000))
    left = list(listings)
    for section in runs(spoken[abstract:], draw, 12, 20):
        parts.append(f"\\section{{{escaped(headline(section[0], 5))}}}\\label{{sec:{next(numbers)}}}")
        for run in runs(section, draw, 3, 5):
            parts.append(escaped(" ".join(run)))
            parts.append(_display(draw, next(numbers)) if draw.chance(60) else _statement(draw, next(numbers)))
        if left:
            listing = left.pop(0)
            caption = f"caption={{{escaped(subject(listing.owner))}}}"
            parts.append(f"\\begin{{lstlisting}}[language=Python,{caption}]\n{listing.code}\n\\end{{lstlisting}}")
    parts.append(_bibliography(draw, passages))
    return "\n\n".join([*parts, "\\end{document}"]) + "\n"


def _preamble(draw: Draw, title: str, abstract: str) -> str:
    authors = " \\and ".join(draw.person() for _ in range(draw.between(1, 4)))
    return (
        f"\\documentclass[{draw.choice(('10pt', '11pt', '12pt'))}]{{{draw.choice(_CLASSES)}}}\n"
        "\\usepackage{amsmath,amssymb,amsthm}\n\\usepackage{listings}\n"
        "\\newtheorem{theorem}{Theorem}[section]\n\\newtheorem{lemma}[theorem]{Lemma}\n"
        "\\newtheorem{proposition}[theorem]{Proposition}\n\n"
        f"\\title{{{title}}}\n\\author{{{authors}}}\n\\date{{{draw.moment().long}}}\n\n"
        f"\\begin{{document}}\n\\maketitle\n\n\\begin{{abstract}}\n{abstract}\n\\end{{abstract}}"
    )


def _display(draw: Draw, number: int) -> str:
    """A displayed equation: an expanded product, a derivative, or a definite integral."""
    name, letter = draw.choice("xyzt"), draw.choice(_LETTERS)
    left, right = (Polynomial.drawn(draw, degree=draw.between(1, 3), size=9) for _ in range(2))
    product = left * right
    kind = draw.below(3)
    if kind == 0:
        body = (
            f"  {letter}({name}) &= \\left({left.latex(name)}\\right)\\left({right.latex(name)}\\right) \\\\\n"
            f"       &= {product.latex(name)}"
        )
        return f"\\begin{{align}}\\label{{eq:{number}}}\n{body}.\n\\end{{align}}"
    if kind == 1:
        body = f"\\frac{{d}}{{d{name}}}\\left({product.latex(name)}\\right) = {product.derivative().latex(name)}"
    else:
        low, high = draw.between(-4, 0), draw.between(1, 6)
        value = left.at(high) - left.at(low)
        body = f"\\int_{{{low}}}^{{{high}}} \\left({left.derivative().latex(name)}\\right) \\, d{name} = {value}"
    return f"\\begin{{equation}}\\label{{eq:{number}}}\n  {body}.\n\\end{{equation}}"


def _statement(draw: Draw, number: int) -> str:
    """A theorem about one polynomial, with the proof that a computation gives."""
    name, letter = draw.choice("xyzt"), draw.choice(_LETTERS)
    roots = sorted({draw.between(-9, 9) for _ in range(draw.between(2, 3))})
    polynomial = Polynomial((1,))
    for root in roots:
        polynomial = polynomial * Polynomial((-root, 1))
    kind, form = draw.choice(_STATEMENTS)
    at = draw.between(-6, 6)
    statement = form
    for field, value in {
        "{f}": letter,
        "{name}": name,
        "{factored}": "".join(f"({Polynomial((-root, 1)).latex(name)})" for root in roots),
        "{expanded}": polynomial.latex(name),
        "{derivative}": polynomial.derivative().latex(name),
        "{roots}": ", ".join(map(str, roots)),
        "{at}": str(at),
        "{value}": str(polynomial.at(at)),
    }.items():
        statement = statement.replace(field, value)
    proof = f"Expand and compare the coefficients of ${name}^{{k}}$ for $k = 0, \\ldots, {polynomial.degree}$."
    return (
        f"\\begin{{{kind}}}\\label{{thm:{number}}}\n{statement}\n\\end{{{kind}}}\n"
        f"\\begin{{proof}}\n{proof}\n\\end{{proof}}"
    )


def _bibliography(draw: Draw, passages: list[Passage]) -> str:
    lines = ["\\begin{thebibliography}{99}"]
    for passage in passages[: draw.between(6, 18)]:
        key = re.sub(r"\W", "", passage.owner)[-12:]
        lines.append(
            f"\\bibitem{{{key}{len(lines)}}} {draw.choice('ABCDEFGHIJKLM')}.~{draw.family_name()}, "
            f"\\emph{{{escaped(subject(passage.owner))}}}, {escaped(passage.source)} ({draw.between(1991, 2018)})."
        )
    return "\n".join([*lines, "\\end{thebibliography}"])
