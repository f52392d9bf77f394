"""The detector of the language filter, where there is one on this machine: text in, a language's code out."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MODULE = "pipelines.filters.language"
LIBRARY = "py3langid"
MISSING = f"languages are not told: {LIBRARY} is not installed (pip install 'pile-toolkit[language]')"
# As the filter does: the beginning of a text tells, and a book takes no longer than a page.
CHARACTERS = 4000
# Of a document with nothing to read.
NONE = "none"


def detector_name() -> str | None:
    """What detects languages here, by name and version; None where nothing does."""
    if _detect() is None:
        return None
    try:
        return f"{LIBRARY} {importlib.metadata.version(LIBRARY)}"
    except importlib.metadata.PackageNotFoundError:
        return LIBRARY


def load_detector() -> Callable[[str], str]:
    """`detect_language` of texts, for those whom `detector_name` gave a name."""
    detect = _detect()
    if detect is None:
        raise ImportError(MISSING)

    def detect_language(text: str) -> str:
        begins = text[:CHARACTERS]
        return detect(begins)[0] if begins.strip() else NONE

    return detect_language


def _detect() -> Callable[[str], tuple[str, Any]] | None:
    """The filter's `detect`, (code, score) of a text; None where it or its library is not installed."""
    try:
        detect = importlib.import_module(MODULE).detect
        # The library is loaded when the filter is first asked.
        detect("Is there a detector on this machine?")
    except (ImportError, AttributeError):
        return None
    return detect
