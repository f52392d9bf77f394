"""Package data in, the 22 components of the Pile out: published figures, original archives, what is left of each.

The order is that of the paper's Table 1. Nothing here is measured on this machine, and no address is opened.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pile_toolkit.core.config import nearest
from pile_toolkit.core.errors import SourceUnavailable, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA_FILE = "catalog.toml"


class HubSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Hugging Face dataset: it holds this very component, a similar collection, or nothing any more."""

    name: str
    holds: Literal["component", "similar", "nothing"]
    note: str | None = None


class Component(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One component as published.

    `name` is what `meta.pile_set_name` says, `aliases` are spellings read as the same. `epochs` is the number of
    copies in the Pile, `weight` its share in percent; `raw_gib`, `effective_gib` and `mean_document_kib` are rounded
    as in the paper. `status_date` is the day on which `availability` was last known. `filters` are those that its own
    builder applied, by name with their options.
    """

    slug: str
    name: str
    aliases: tuple[str, ...] = ()
    raw_bytes: int
    documents: int
    epochs: float
    weight: float
    raw_gib: float
    effective_gib: float
    mean_document_kib: float
    mean_document_bytes: int
    archive: str | None = None
    sha256: str | None = None
    urls: tuple[str, ...]
    hugging_face: tuple[HubSet, ...]
    rebuild_from: str | None = None
    builder: str
    licence: str | None = None
    availability: str
    evidence: str
    status_date: str
    filters: dict[str, dict[str, Any]] = {}

    def ways_left(self) -> str:
        """One sentence on where the component can still be had, for an error about a source that failed."""
        sets = [f"hf://{known.name}" for known in self.hugging_face if known.holds == "component"]
        similar = [f"hf://{known.name}" for known in self.hugging_face if known.holds == "similar"]
        ways = [
            f"the same documents: {', '.join(sets)}" if sets else None,
            f"similar: {', '.join(similar)}" if similar else None,
            f"rebuild from {self.rebuild_from}" if self.rebuild_from else None,
        ]
        found = "; ".join(filter(None, ways)) or "no way in is known"
        return f"{self.name}: {self.availability} (as of {self.status_date}); {found}"

    def not_in(self, fact: str) -> SourceUnavailable:
        """The error for a source that does not have it: the fact, and the ways that remain."""
        return SourceUnavailable(f"{fact}. {self.ways_left()}", hint="name another source with --from")


@functools.cache
def components() -> tuple[Component, ...]:
    """All 22, in the order of the paper's table."""
    text = resources.files("pipelines").joinpath(DATA_FILE).read_text(encoding="utf-8")
    tables: dict[str, Any] = msgspec.toml.decode(text)
    return tuple(_component(entry, status_date=str(tables["status_date"])) for entry in tables["component"])


def _component(entry: dict[str, Any], *, status_date: str) -> Component:
    mean_document_bytes = round(entry["raw_bytes"] / entry["documents"])
    return msgspec.convert({**entry, "mean_document_bytes": mean_document_bytes, "status_date": status_date}, Component)


def component(slug: str) -> Component:
    """The component of that slug. Raises UsageError with the nearest one where there is none."""
    try:
        return _by_slug()[slug]
    except KeyError:
        raise UsageError(f"component '{slug}' is not in the catalog", hint=_nearest_slug(slug)) from None


def _nearest_slug(slug: str) -> str:
    every = f"`pile components` lists all {len(components())}"
    # The published name is as good a guess as the slug: "Pile-CC", "NIH ExPORTER".
    if (known := named(slug)) is not None:
        return f"did you mean '{known.slug}'? {every}"
    guess = nearest(slug.lower(), _by_slug()) or ""
    return f"{guess} {every}" if guess.startswith("did you mean") else every


def select(names: Sequence[str] | Literal["all"]) -> tuple[Component, ...]:
    """The components of these slugs in the table's order, each once; "all" for every one.

    Raises UsageError for an unknown slug and for an empty selection.
    """
    if isinstance(names, str):
        return components() if names == "all" else (component(names),)
    if not names:
        raise UsageError("no component is named", hint='components = "all", or a list of slugs from `pile components`')
    chosen = {component(name).slug for name in names}
    return tuple(known for known in components() if known.slug in chosen)


def named(pile_set_name: str) -> Component | None:
    """The component that `meta.pile_set_name` means, other known spellings included; None for a foreign name."""
    return _by_name().get(pile_set_name)


@functools.cache
def _by_slug() -> dict[str, Component]:
    return {known.slug: known for known in components()}


@functools.cache
def _by_name() -> dict[str, Component]:
    return {name: known for known in components() for name in (known.name, *known.aliases)}
