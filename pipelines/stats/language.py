"""The detector of the language filter, where there is one on this machine: text in, a language's code out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MODULE = "pipelines.filters.language"
MISSING = "languages are not told: no detector is installed (pip install 'pile-toolkit[language]')"


def detector_name() -> str | None:
    """What detects languages here, by name and version; None where nothing does."""
    detect = load_detector()
    if detect is None:
        return None
    return str(getattr(importlib.import_module(MODULE), "DETECTOR", "unnamed"))


def load_detector() -> Callable[[str], str] | None:
    """`detect_language` of the language filter, None where the filter or its detector is not installed."""
    try:
        module = importlib.import_module(MODULE)
    except ImportError:
        return None
    detect = getattr(module, "detect_language", None)
    if detect is None:
        return None
    try:
        # The filter may be there without its library, which it loads when it is first asked.
        detect("Is there a detector on this machine?")
    except Exception:
        return None
    return detect
