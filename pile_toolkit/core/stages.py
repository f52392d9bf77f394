"""What every stage does alike: see whether it is finished already, and say its result, now or later, the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from pile_toolkit.core.manifest import current_manifest
from pile_toolkit.core.tasks import remove_work

if TYPE_CHECKING:
    from pathlib import Path

    from pile_toolkit.core.manifest import Manifest, StageKey

Result = TypeVar("Result", bound="StageResult")


class StageResult(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a result that all stages share; their own fields are the counts of the manifest."""

    folder: str
    up_to_date: bool


def finished(folder: Path, key: StageKey) -> Manifest | None:
    """The manifest of a stage that needs not run again, else None.

    A run that was killed between its last two steps, the manifest and tidying up, is tidied up after here.
    """
    manifest = current_manifest(folder, key)
    if manifest is not None:
        remove_work(folder)
    return manifest


def stage_result(kind: type[Result], folder: Path, manifest: Manifest, *, up_to_date: bool) -> Result:
    """A manifest's counts as the stage's result object, the same whether it ran now or earlier."""
    return msgspec.convert({**manifest.counts, "folder": str(folder), "up_to_date": up_to_date}, kind)
