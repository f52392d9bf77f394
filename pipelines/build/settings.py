"""What a build depends on, checked, and what it says of a component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from pile_toolkit.core.components import read_component
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import current_manifest, read_manifest
from pipelines.download import present_slugs
from pipelines.mixture import Mode, Reached

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pile_toolkit.core.manifest import Manifest

Duplicates = Literal["drop", "keep"]


class BuildConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`weights`: "pile", a file, or epochs per slug; `val_share` and `test_share` are of documents.

    `total`, such as "100GB", `share` per slug, `temperature` and `max_epochs` are of the train split's bytes over all
    copies; what they mean together stands in pipelines/mixture/epochs.py. `mode`: whether copies are exact, or drawn as
    the original builder draws them.
    With `duplicates` "keep" what deduplication marked as duplicates is in the corpus all the same, as in the Pile's own
    multiset: on the side of the split of what it is a duplicate of. `memory`, such as "4GiB", is for all processes that
    write the corpus together; None: half of what the machine has.
    """

    weights: str | dict[str, float] = "pile"
    mode: Mode = "exact"
    total: str | int | None = None
    share: dict[str, float] = {}
    temperature: float | None = None
    max_epochs: float | None = None
    train_shards: int = 30
    val_share: float = 0.001
    test_share: float = 0.001
    write_corpus: bool = True
    duplicates: Duplicates = "drop"
    memory: str | None = None


class ComponentBuild(Reached, frozen=True, kw_only=True):
    """One component in the plan: `documents` with copies, their `copies` over all splits and the `bytes` of these.

    Each piece of a document that was cut has copies of its own. `epochs` are those wished of the documents in train,
    `target_bytes` what these would be in bytes.
    """

    documents: int
    copies: int
    bytes: int
    epochs: float
    train_documents: int
    val_documents: int
    test_documents: int
    target_bytes: int


def check_options(*, val_share: float, test_share: float, train_shards: int, duplicates: str) -> None:
    """Raises UsageError for what no corpus could be built with."""
    if not (0.0 <= val_share < 1.0 and 0.0 <= test_share < 1.0 and val_share + test_share < 1.0):
        raise UsageError(
            f"val_share is {val_share} and test_share {test_share}, both must be 0 or more and below 1 together",
            hint="--val-share 0.001 --test-share 0.001",
        )
    if not 1 <= train_shards <= 10_000:
        raise UsageError(f"train_shards is {train_shards}, it must lie between 1 and 10,000", hint="--train-shards 30")
    if duplicates not in ("drop", "keep"):
        raise UsageError(f"duplicates are {duplicates!r}, expected drop or keep", hint="--duplicates keep")


def current_dedup(root: Path, *, duplicates: str) -> Manifest:
    """The manifest of the keep-list.

    Raises UsageError where there is none, where it was made of other files than the components hold now, or duplicates
    shall be kept that were not searched for evaluation sets; CorruptData where its tables are not those it names.
    """
    folder = root / "dedup"
    manifest = read_manifest(folder)
    if manifest is None:
        raise UsageError(f"{root} has no keep-list yet", hint=f"pile dedup --root {root}")
    present = {slug: read_component(root, slug).digest for slug in present_slugs(root)}
    known, method = manifest.key.inputs, manifest.key.parameters["method"]
    command = f"pile dedup --method {method} --root {root}"
    if changed := sorted(slug for slug in {*present, *known} if present.get(slug) != known.get(slug)):
        raise UsageError(
            f"{len(changed)} components changed after deduplication, '{changed[0]}' first",
            hint=command,
        )
    if current_manifest(folder, manifest.key) is None:
        raise CorruptData(f"the tables in {folder} are not those that its manifest describes", hint=command)
    refuse_unsearched(duplicates, method=method, searched="against" in manifest.key.parameters)
    return manifest


def refuse_unsearched(duplicates: str, *, method: str, searched: bool) -> None:
    """Raises UsageError where duplicates shall be kept of which it is not known whether they are contaminated."""
    if duplicates == "keep" and method != "none" and searched:
        raise UsageError(
            f"duplicates shall be kept, but {method} deduplication searches only what it keeps for evaluation sets",
            hint="pile dedup --method none --against FOLDER",
        )


def refuse_empty_components(root: Path, epochs: Mapping[str, float]) -> None:
    """Raises UsageError for a component that shall be in the corpus and has no document."""
    for slug, weight in epochs.items():
        if weight > 0 and not read_component(root, slug).documents:
            raise UsageError(
                f"component '{slug}' has no documents, and {weight:g} epochs of it are wanted",
                hint=f"`{slug} = 0` among the weights, or pile download {slug} --from a source that has some",
            )
