"""Which language a document is in, by py3langid: a naive Bayes model over byte n-grams that comes with the library."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from pile_toolkit.core.errors import UsageError
from pipelines.filters.registry import Dropped, Share, document_filter

if TYPE_CHECKING:
    from pipelines.filters.document import Text

_DIGITS = 4


class Language(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`languages` are ISO 639-1 codes; a document of another one, or less certain than `min_score`, goes.

    Looked at is the beginning of a text, `characters` of it; null (false): all.
    """

    languages: tuple[str, ...] = ("en",)
    min_score: Share | None = 0.65
    characters: Annotated[int, msgspec.Meta(ge=1)] | None = 4000

    def __post_init__(self) -> None:
        if not self.languages:
            raise ValueError("no language is named: languages = ['en']")


def _check_languages(options: Language, where: str) -> None:
    for name in options.languages:
        if name not in (known := known_languages()):
            fact = f"{where}: '{name}' is no language that py3langid knows"
            raise UsageError(fact, hint=f"one of {', '.join(known)}")


@document_filter(
    Language,
    version=1,
    source="FineWeb (arXiv:2406.17557) 3.2: 0.65 of fastText; here py3langid",
    library=("py3langid", "language"),
    check=_check_languages,
)
def language(document: Text, options: Language) -> Dropped | None:
    """Documents in another language than those named, or in none for certain."""
    name, score = detect(document.text if options.characters is None else document.text[: options.characters])
    if name not in options.languages:
        return Dropped(f"is_{name}", score)
    if options.min_score is not None and score < options.min_score:
        return Dropped(f"hardly_{name}", score, options.min_score)
    return None


def detect(text: str) -> tuple[str, float]:
    """(code, score from 0 to 1) of a text; rounded, because the last digits are those of the processor."""
    name, score = _identifier().classify(text)
    return name, round(score, _DIGITS)


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def known_languages() -> list[str]:
    """The codes that the model tells apart."""
    return sorted(_identifier().labels)
