"""The library and the Unicode database in, Wikipedia (en) out: articles on modules and on the scripts of the world."""

from __future__ import annotations

import functools
import unicodedata
from typing import TYPE_CHECKING

from pipelines.sample.draw import Draw, words
from pipelines.sample.passages import examples, module_name
from pipelines.sample.writing import all_sentences, prose_portions, runs, sources, subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipelines.sample.passages import Passage

# First words of the characters' names.
SCRIPTS = words(
    "ARABIC ARMENIAN BALINESE BENGALI BOPOMOFO BRAILLE CHEROKEE COPTIC CYRILLIC DEVANAGARI ETHIOPIC GEORGIAN "
    "GLAGOLITIC GREEK GUJARATI GURMUKHI HEBREW HIRAGANA JAVANESE KANNADA KATAKANA KHMER LAO LATIN MALAYALAM "
    "MONGOLIAN MYANMAR OGHAM ORIYA RUNIC SINHALA SYRIAC TAMIL TELUGU THAANA THAI TIBETAN TIFINAGH"
)
_LISTED_CHARACTERS = 160
_LAST_CODE_POINT = 0xABFF  # what follows is syllables of Hangul, private use, compatibility and other planes
_KINDS = {"Lu": "capital letter", "Ll": "small letter", "Lo": "letter", "Lm": "modifier", "Mn": "mark", "Nd": "digit"}
_HEADINGS = ("Overview", "Interface", "Behaviour", "Implementation", "Compatibility", "History", "Notes")


def encyclopedia(slug: str) -> Iterator[tuple[str, str]]:
    """(text, source) of each article: those on modules, then one for each script."""
    texts = prose_portions(slug, Draw(slug, 0), low_chars=1_000, high_chars=3_200)
    for number, passages in enumerate(texts, start=1):
        yield _module_article(Draw(slug, number), passages), sources(passages)
    for script in SCRIPTS:
        yield _script_article(script), ""


@functools.lru_cache(maxsize=1)
def characters_by_script() -> Mapping[str, list[str]]:
    """The characters of each script, by code point, as this Python's Unicode database names them."""
    found: dict[str, list[str]] = {script: [] for script in SCRIPTS}
    for code_point in range(0x80, _LAST_CODE_POINT + 1):
        script = unicodedata.name(chr(code_point), "").split(" ")[0]
        if script in found:
            found[script].append(chr(code_point))
    return found


def _module_article(draw: Draw, passages: list[Passage]) -> str:
    spoken = all_sentences(passages)
    name = passages[0].owner
    lines = [subject(name), "", f"{name} is a part of the Python standard library. {spoken[0]}", ""]
    for heading, section in zip(_HEADINGS, runs(spoken[1:], draw, 5, 9), strict=False):
        lines += [f"== {heading} ==", ""]
        lines += [line for run in runs(section, draw, 3, 5) for line in (" ".join(run), "")]
    shown = [text for passage in passages for text in examples(passage.text)]
    if shown:
        lines += ["== Examples ==", "", *(line for text in shown for line in (text, ""))]
    related = dict.fromkeys(module_name(passage.source) for passage in passages)
    lines += ["== See also ==", "", *(f"* {module}" for module in related)]
    lines += ["", f"Category:{name.split('.')[0].capitalize()}", "Category:Python (programming language)"]
    return "\n".join(lines) + "\n"


def _script_article(script: str) -> str:
    characters = characters_by_script()[script]
    title, shown = script.capitalize(), characters[:_LISTED_CHARACTERS]
    lines = [
        f"{title} script",
        "",
        f"The {title} script has {len(characters)} characters up to U+{_LAST_CODE_POINT:04X} in version "
        f"{unicodedata.unidata_version} of Unicode, from {shown[0]} to {characters[-1]}.",
        "",
        "== Characters ==",
        "",
        *(_row(character) for character in shown),
        "",
        "== Running order ==",
        "",
        " ".join(character for character in characters if unicodedata.category(character).startswith("L")),
        "",
        "Category:Writing systems",
    ]
    return "\n".join(lines) + "\n"


def _row(character: str) -> str:
    kind = _KINDS.get(unicodedata.category(character), "sign")
    row = f"{character} || U+{ord(character):04X} || {unicodedata.name(character)} || {kind}"
    parts = unicodedata.normalize("NFD", character)
    if parts != character:
        row += " || " + " + ".join(unicodedata.name(part, "?").title() for part in parts)
    return row
