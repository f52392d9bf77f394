"""A root and its finished stages in, the statistics of `stats/` out where they are of what stands there now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pile_toolkit.core.jsonfile import MANIFEST_LIMIT_BYTES, read_json
from pile_toolkit.core.manifest import current_manifest, read_manifest
from pipelines.stats.results import GroupStatistics, StatisticsResult
from pipelines.stats.stage import FOLDER, STATISTICS_JSON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pile_toolkit.core.manifest import Manifest
    from pile_toolkit.report.finished import Finished


def current_statistics(root: Path, found: Sequence[Finished]) -> StatisticsResult | None:
    """What `pile stats` counted, with whatever options and tokenizer; None where it was of something else.

    Raises CorruptData where the files cannot be read.
    """
    folder = root / FOLDER
    manifest = read_manifest(folder)
    if manifest is None or not _is_current(manifest, {stage.name: stage.manifest for stage in found}):
        return None
    if current_manifest(folder, manifest.key) is None:
        return None
    counts = manifest.counts
    return StatisticsResult(
        folder=str(folder),
        root=str(root),
        up_to_date=True,
        text_bytes=counts["text_bytes"],
        tokenizer=counts["tokenizer"],
        detector=counts["detector"],
        groups=read_json(folder / STATISTICS_JSON, list[GroupStatistics], limit_bytes=MANIFEST_LIMIT_BYTES),
        notes=[],
    )


def _is_current(manifest: Manifest, known: Mapping[str, Manifest]) -> bool:
    """Whether the same command would count the same things now, by whatever tokenizer."""
    before = {name: digest for name, digest in manifest.key.inputs.items() if name != "tokenizer"}
    components = {name: item.digest() for name, item in known.items() if name.startswith("components/")}
    return before == {**components, **{name: known[name].digest() for name in _used(manifest, known, components)}}


def _used(manifest: Manifest, known: Mapping[str, Manifest], components: Mapping[str, str]) -> list[str]:
    """Which of keep-list, plan and shards statistics with these options would use: each only where it fits."""
    dedup, plan, shards = (known.get(name) for name in ("dedup", "plan", "shards"))
    if dedup is None or {f"components/{slug}": digest for slug, digest in dedup.key.inputs.items()} != components:
        return []
    if plan is None or plan.key.inputs.get("dedup") != dedup.digest():
        return ["dedup"]
    before = manifest.key.inputs
    # A tokenizer that was asked for counts by itself where it is not that of the shards.
    counted = shards is not None and shards.key.inputs.get("plan") == plan.digest()
    counted &= "shards" in before or "tokenizer" not in before
    told = manifest.key.parameters["of"] != "components" or counted
    return ["dedup", *(["plan"] if told else []), *(["shards"] if counted else [])]
