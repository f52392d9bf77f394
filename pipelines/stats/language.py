"""The detector of the language filter, where there is one on this machine: text in, a language's code out."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from pile_toolkit.core.errors import UsageError

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
    """What detects languages here, by name and version; None where nothing does. Loads no model."""
    version = _version()
    return f"{LIBRARY} {version}" if version is not None and _filter() is not None else None


def load_detector() -> Callable[[str], str]:
    """`detect_language` of texts. Raises UsageError where `detector_name` has no name."""
    found = _filter()
    if found is None:
        raise UsageError(MISSING, hint="--no-languages")

    def detect_language(text: str) -> str:
        begins = text[:CHARACTERS]
        return found.detect(begins)[0] if begins.strip() else NONE

    return detect_language


def _version() -> str | None:
    try:
        return importlib.metadata.version(LIBRARY)
    except importlib.metadata.PackageNotFoundError:
        return None


def _filter() -> Any:
    """The module of the language filter, whose `detect` gives (code, score) of a text; None where there is none."""
    try:
        module = importlib.import_module(MODULE)
    except ImportError:
        return None
    return module if hasattr(module, "detect") else None
