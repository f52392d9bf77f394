"""A module's source in, the texts a reader would find in it out: docstrings, comments, error messages, code.

Prose keeps its line breaks in a Passage; `sentences` and `paragraphs` undo the wrapping and leave out what is not
prose (signatures, tables, doctests). All in the order of the source.
"""

from __future__ import annotations

import ast
import bisect
import functools
import re
from dataclasses import dataclass

from pipelines.sample.standard_library import TOPICS_SOURCE, held_back_sources, library_texts

_COMMENT_WORDS = 6
_MESSAGE_WORDS = 4
_LISTING_LIMIT_CHARS = 6000
_PROSE_WORDS = 4
_PROSE_LETTER_SHARE = 0.72

_COMMENT_LINE = re.compile(r"\s*#+[:!]?( ?)(.*)")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(`*]*[A-Z])")
# Characters that point to code, rulers and tables rather than to sentences.
_NOT_PROSE = re.compile(r"^(>>>|\.\.\. ?|[-=*#+|]{3,}|:\w+|\$|@)|={4,}|-{4,}|\|.*\||^\w+\(.*\)( ->.*)?$|:: *$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One docstring, block of comments or error message, with its line breaks."""

    source: str
    owner: str  # dotted: "email.parser.Parser.parse"
    section: str  # the top-level class or function it belongs to; "" for the module itself
    kind: str  # module, class, function, comment or message
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One class, function or method as code, indented as it stands in its module."""

    source: str
    owner: str
    kind: str  # class or function
    code: str
    docstring: str


def module_name(source: str) -> str:
    """ "email/parser.py" -> "email.parser", "json/__init__.py" -> "json"."""
    return source.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@functools.lru_cache(maxsize=1)
def library_passages() -> tuple[Passage, ...]:
    """Every passage of the library; tables of characters and the chapters of the language reference are not in it."""
    return tuple(
        passage
        for source, text in library_texts().items()
        if source != TOPICS_SOURCE and not source.startswith("encodings/")
        for passage in _passages(source, text)
    )


@functools.lru_cache(maxsize=1)
def held_back_listings() -> tuple[Listing, ...]:
    """The classes and functions of the modules that Github leaves to the others, large classes by method."""
    return tuple(listing for source in held_back_sources() for listing in _listings(source, library_texts()[source]))


def paragraphs(text: str) -> list[str]:
    """The prose of a passage, one line a paragraph."""
    found = []
    for block in re.split(r"\n[ \t]*\n", text):
        line = " ".join(block.split())
        if not block.startswith("    ") and _is_prose(line):
            found.append(line)
    return found


def sentences(text: str) -> list[str]:
    """The sentences of a passage's prose, unwrapped, each with its final full stop."""
    return [
        sentence if sentence[-1] in ".!?:;" else f"{sentence}."
        for paragraph in paragraphs(text)
        for sentence in _SENTENCE_END.split(paragraph)
        if _is_prose(sentence)
    ]


def examples(text: str) -> list[str]:
    """The doctests of a docstring: blocks of ">>> " lines and what they print."""
    found = []
    for block in re.split(r"\n[ \t]*\n", text):
        lines = block.split("\n")
        starts = [number for number, line in enumerate(lines) if line.lstrip().startswith(">>>")]
        if starts:
            indent = len(lines[starts[0]]) - len(lines[starts[0]].lstrip())
            found.append("\n".join(line[indent:].rstrip() for line in lines[starts[0] :]))
    return found


def _is_prose(line: str) -> bool:
    words = line.split()
    if len(words) < _PROSE_WORDS or _NOT_PROSE.search(line):
        return False
    return sum(map(str.isalpha, line)) >= _PROSE_LETTER_SHARE * len(line)


def _passages(source: str, text: str) -> list[Passage]:
    """Docstrings and messages where their definitions stand, comments between them, by line number."""
    tree = ast.parse(text)
    found = [(line, Passage(source=source, **fields)) for line, fields in _docstrings(tree, module_name(source))]
    tops = [(node.lineno, getattr(node, "name", "")) for node in tree.body]
    starts = [line for line, _ in tops]
    strings: set[int] = set()  # lines inside multi-line strings, where "#" starts no comment
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and (node.end_lineno or 0) > node.lineno:
            strings.update(range(node.lineno, (node.end_lineno or 0) + 1))
        elif isinstance(node, ast.Raise) and (message := _message(node)):
            found.append((node.lineno, _loose(source, "message", message, node.lineno, tops, starts)))
    for line, comment in _comment_blocks(text, strings):
        found.append((line, _loose(source, "comment", comment, line, tops, starts)))
    return [passage for _, passage in sorted(found, key=lambda pair: pair[0])]


def _loose(source: str, kind: str, text: str, line: int, tops: list[tuple[int, str]], starts: list[int]) -> Passage:
    position = bisect.bisect_right(starts, line) - 1
    section = tops[position][1] if position >= 0 else ""
    owner = ".".join(filter(None, (module_name(source), section)))
    return Passage(source=source, owner=owner, section=section, kind=kind, text=text)


def _docstrings(tree: ast.Module, module: str) -> list[tuple[int, dict[str, str]]]:
    """(line, fields of the passage) of each docstring: the module's, classes' and functions', methods included."""
    found = []
    pending: list[tuple[ast.AST, str, str]] = [(tree, module, "")]
    while pending:
        node, owner, section = pending.pop()
        kind = "module" if node is tree else "class" if isinstance(node, ast.ClassDef) else "function"
        text = ast.get_docstring(node)  # type: ignore[arg-type]
        if text:
            found.append((getattr(node, "lineno", 0), {"owner": owner, "section": section, "kind": kind, "text": text}))
        for child in getattr(node, "body", []):
            for definition in _definitions(child):
                pending.append((definition, f"{owner}.{definition.name}", section or definition.name))
    return found


def _definitions(node: ast.stmt) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The definition itself, or those directly inside an `if` or `try`."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node]
    inner = getattr(node, "body", []) + getattr(node, "orelse", []) if isinstance(node, ast.If | ast.Try) else []
    return [child for child in inner if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]


def _message(node: ast.Raise) -> str | None:
    """The words of `raise SomeError("...")`, where they are a plain string."""
    arguments = node.exc.args if isinstance(node.exc, ast.Call) else []
    first = arguments[0] if arguments else None
    if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return None
    text = " ".join(first.value.split())
    return text if len(text.split()) >= _MESSAGE_WORDS and not re.search(r"[%{}]", text) else None


def _comment_blocks(text: str, strings: set[int]) -> list[tuple[int, str]]:
    """(line, text) of runs of comment lines that are long enough to say something."""
    found: list[tuple[int, str]] = []
    block: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        comment = _COMMENT_LINE.fullmatch(line) if number not in strings else None
        if comment is not None:
            block.append(comment[2].rstrip())
            continue
        if block:
            joined = "\n".join(block).strip("\n")
            if len(joined.split()) >= _COMMENT_WORDS:
                found.append((number - len(block), joined))
            block = []
    return found


def _listings(source: str, text: str) -> list[Listing]:
    lines = text.split("\n")
    found: list[Listing] = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            whole = _listing(source, module_name(source), node, lines)
            inner = [definition for child in node.body for definition in _definitions(child)]
            if isinstance(node, ast.ClassDef) and inner and len(whole.code) > _LISTING_LIMIT_CHARS:
                found.extend(_listing(source, whole.owner, definition, lines) for definition in inner)
            else:
                found.append(whole)
    return found


def _listing(
    source: str, outer: str, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]
) -> Listing:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return Listing(
        source=source,
        owner=f"{outer}.{node.name}",
        kind="class" if isinstance(node, ast.ClassDef) else "function",
        code="\n".join(lines[first - 1 : node.end_lineno]),
        docstring=ast.get_docstring(node) or "",
    )
