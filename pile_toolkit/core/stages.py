"""What every stage's result says beside its own counts: where it is, and whether there was anything to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from pile_toolkit.core.manifest import Manifest

Result = TypeVar("Result", bound="StageResult")


class StageResult(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a result that all stages share; their own fields are the counts of the manifest."""

    folder: str
    up_to_date: bool


def stage_result(kind: type[Result], folder: Path, manifest: Manifest, *, up_to_date: bool) -> Result:
    """A manifest's counts as the stage's result object, the same whether it ran now or earlier."""
    return msgspec.convert({**manifest.counts, "folder": str(folder), "up_to_date": up_to_date}, kind)
