"""A component's slug in, stand-in documents out: made offline from the standard library of this Python.

What `--from sample:` reads. The texts are real (code, docstrings, comments, error messages and the language reference
of the installed standard library, names of the Unicode database) or computed (DM Mathematics, the equations of the
papers), set in the format of each component. People, dates and numbers of patents or dockets are drawn from keys.
A passage stands in two components, and in a module of Github where that is whole there, as texts recur in the Pile;
modules that differ little (the character tables of `encodings/`) stay in as near-duplicates.

Same sample: the documents depend on `sample_fingerprint()` and on nothing else, byte for byte; not on the locale, the
working directory, hash randomisation, installed packages or the order in which a file system lists its files.
What that means for Python versions: the modules and so, roughly, the counts belong to the minor version (3.11), but
every patch release corrects some docstrings and code, and distributors patch too, so that the exact bytes belong to the
patch release and build. Two machines that must agree byte for byte need the same fingerprint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pile_toolkit.core.errors import UsageError
from pipelines.sample.books import classics, manuals, novels
from pipelines.sample.dialogue import channel_logs, films, messages, sittings, videos
from pipelines.sample.encyclopedia import encyclopedia
from pipelines.sample.latex import preprints
from pipelines.sample.legal import backgrounds, opinions
from pipelines.sample.mathematics import questions
from pipelines.sample.papers import abstracts, articles, essays, grants
from pipelines.sample.standard_library import github_sources, library_fingerprint, library_texts
from pipelines.sample.web import exchanges, pages, posts, threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SAMPLE_SLUGS", "sample_documents", "sample_fingerprint"]


def _modules(slug: str) -> Iterator[tuple[str, str]]:
    """Github: whole source files."""
    for source in github_sources():
        yield library_texts()[source], source


_PROSE = "docstrings and comments of Python's standard library"
_PROSE_AND_CODE = "docstrings, comments and code of Python's standard library"
_CODE = "code and docstrings of Python's standard library"

# Slug: (how its documents are made, what they are in fact). In the order of the Pile's sizes.
_COMPONENTS: dict[str, tuple[Callable[[str], Iterator[tuple[str, str]]], str]] = {
    "pile-cc": (pages, f"{_CODE}, set as web pages"),
    "pubmed-central": (articles, f"{_PROSE_AND_CODE}, set as articles with made-up authors and references"),
    "books3": (manuals, f"{_CODE}, set as books"),
    "openwebtext2": (posts, f"{_PROSE}, set as blog posts"),
    "arxiv": (preprints, f"{_PROSE_AND_CODE}, set as LaTeX with computed equations and made-up authors"),
    "github": (_modules, "a module of Python's standard library, whole"),
    "freelaw": (opinions, f"{_PROSE}, set as court opinions with made-up names and citations"),
    "stackexchange": (exchanges, f"{_CODE}, set as questions and answers"),
    "uspto-backgrounds": (backgrounds, f"{_PROSE}, set as patent backgrounds with made-up references"),
    "pubmed-abstracts": (abstracts, f"{_PROSE}, set as abstracts"),
    "gutenberg-pg-19": (classics, "the Python language reference, set as old books"),
    "opensubtitles": (films, f"{_PROSE}, set as lines of dialogue"),
    "wikipedia-en": (encyclopedia, f"{_PROSE} and Unicode character names, set as articles"),
    "dm-mathematics": (questions, "computed questions and answers in the manner of the original generator"),
    "ubuntu-irc": (channel_logs, f"{_PROSE}, set as channel logs with made-up names and times"),
    "bookcorpus2": (novels, f"{_PROSE}, set as novels"),
    "europarl": (sittings, f"{_PROSE} and Unicode character names, set as speeches of made-up members"),
    "hackernews": (threads, f"{_PROSE}, set as threads with made-up user names"),
    "youtubesubtitles": (videos, f"{_PROSE}, set as captions with made-up timings"),
    "philpapers": (essays, f"{_PROSE}, set as essays with made-up footnotes"),
    "nih-exporter": (grants, f"{_PROSE}, set as project descriptions"),
    "enron-emails": (messages, f"{_PROSE}, set as e-mails of made-up people"),
}

SAMPLE_SLUGS = tuple(_COMPONENTS)


def sample_documents(slug: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(text, meta) of each stand-in document of a component, in a fixed order.

    meta holds `stand_in`, a sentence that says what the text really is, and `source`, the modules it is taken from
    ("email/header.py", "ast.py, bdb.py, cmd.py and 4 more"; absent where the text is computed).
    Raises UsageError for an unknown slug, SourceUnavailable where this Python comes without its sources.
    """
    if slug not in _COMPONENTS:
        raise UsageError(
            f"component {slug!r} is not one of the {len(_COMPONENTS)} in the embedded sample",
            hint="`pile components` lists them",
        )
    return _documents(slug)


def sample_fingerprint() -> str:
    """The hash of what the sample is made from (32 hexadecimal digits): equal fingerprints, equal samples."""
    return library_fingerprint()


def _documents(slug: str) -> Iterator[tuple[str, dict[str, Any]]]:
    write, origin = _COMPONENTS[slug]
    for text, source in write(slug):
        meta = {"stand_in": f"Stand-in, not from the Pile: {origin}."}
        yield text, {**meta, "source": source} if source else meta
