"""The manifests of a root in, whether a stage was made of what stands there now out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pile_toolkit.core.files import hash_file
from pile_toolkit.core.manifest import MANIFEST, read_timings
from pipelines.filters.stage import SOURCE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from pile_toolkit.core.manifest import Manifest


def staleness(root: Path, name: str, known: Mapping[str, Manifest], lost: Collection[str]) -> str | None:
    """What the stage in the folder `name` was made of and is there no longer, None where all still is.

    `known` are the readable manifests by folder, `lost` the folders whose manifest cannot be read: those say nothing.
    """
    manifest = known[name]
    before = manifest.key.inputs
    match manifest.key.stage:
        case "dedup" | "corpus":
            now = _components(known)
            now |= {"plan": known["plan"].digest()} if "plan" in known and manifest.key.stage == "corpus" else {}
        case "build":
            now = {"dedup": known["dedup"].digest()} if "dedup" in known else {}
        case "tokenizer":
            now = {"plan": known["plan"].digest()} if "plan" in known else {}
        case "shards":
            now = {"plan": known["plan"].digest()} if "plan" in known else {}
            now["tokenizer"] = _tokenizer(root, name, known)
        case "mix":
            now = {"shards": known["shards"].digest()} if "shards" in known else {}
        case "train":
            # Of a run in several phases, the shards of each.
            phases = [phase[2] for phase in manifest.key.parameters.get("phases", ())]
            facts = (_without_shards(data, known, lost) for data in phases or [before["shards"]])
            return next(filter(None, facts), None)
        case "stats":
            now = {other: item.digest() for other, item in known.items() if other in before or "components/" in other}
            # Any tokenizer may count.
            now |= {"tokenizer": before["tokenizer"]} if "tokenizer" in before else {}
        case "report":
            now = {other: hash_file(root / other / MANIFEST) for other in known if _reported(other)}
        case _:
            return None
    return _difference(before, now, lost)


def other_source(manifest: Manifest, source: Manifest | None) -> str | None:
    """Whether a component was filtered of another source than the one beside it; None for one without either."""
    before = manifest.key.inputs.get(SOURCE)
    if manifest.key.stage != "download" or source is None or before in (None, source.digest()):
        return None
    return f"was made of another '{SOURCE}' than the one there"


def _components(known: Mapping[str, Manifest]) -> dict[str, str]:
    return {name.split("/")[1]: item.digest() for name, item in known.items() if name.startswith("components/")}


def _reported(name: str) -> bool:
    return name not in ("reports", "stats") and not name.startswith("mixes/")


def _tokenizer(root: Path, name: str, known: Mapping[str, Manifest]) -> str:
    """The hash that the shards should name: the root's own tokenizer's where that was trained after they were written.

    Shards that were written with another one although the root's was there were meant so.
    """
    wanted = known[name].key.inputs["tokenizer"]
    if "tokenizer" not in known:
        return wanted
    trained, written = read_timings_or_none(root / "tokenizer"), read_timings_or_none(root / name)
    later = trained is not None and written is not None and trained > written
    return known["tokenizer"].counts["tokenizer"] if later else wanted


def read_timings_or_none(folder: Path) -> float | None:
    """When a stage finished, None where its timings do not say."""
    from pile_toolkit.core.errors import CorruptData

    try:
        timings = read_timings(folder)
    except CorruptData:
        return None
    return timings.finished_at if timings else None


def _without_shards(data: str, known: Mapping[str, Manifest], lost: Collection[str]) -> str | None:
    holders = [name for name in (*known, *lost) if name.split("/")[0] in ("shards", "mixes")]
    if any(name in lost or known[name].digest() == data for name in holders):
        return None
    return "was trained on shards that are no longer there"


def _difference(before: Mapping[str, str], now: Mapping[str, str], lost: Collection[str]) -> str | None:
    silent = {*lost, *(name.partition("/")[2] for name in lost)}
    for name in [*before, *now]:
        if name in silent or before.get(name) == now.get(name):
            continue
        if name not in now:
            return f"was made of '{name}', which is no longer there"
        return (
            f"was made without '{name}'" if name not in before else f"was made of another '{name}' than the one there"
        )
    return None
