"""Stored documents and new weights in, a new index out: the mixture changes in seconds, nothing is encoded again."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pile_toolkit.chain.stages import shards_manifest
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import atomic_path
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import StageKey, describe, publish, read_manifest, withdraw
from pile_toolkit.core.plan import SPLITS, Plan
from pile_toolkit.core.stages import finished, stage_result
from pile_toolkit.core.tables import hash_columns
from pipelines.weights import copy_keys, exact_copies, resolve_weights
from shards.stage import SUFFIXES, ShardsResult, write_split_index

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from pile_toolkit.core.manifest import Manifest

FORMAT = 1


@holding_root
def mix_shards(root: str | Path, name: str, *, weights: str | Mapping[str, float]) -> ShardsResult:
    """Writes `mixes/<name>/`: an index of the train documents of `shards/` with other weights; val and test stay.

    The `.bin` files are hard links, so a mix costs its index only. Raises UsageError for bad weights, and where a
    document that has to be read was left out when the shards were written.
    """
    import numpy as np

    root = Path(root)
    started_at = time.time()
    if not name or Path(name).name != name or name.startswith("."):
        raise UsageError(f"{name!r} is no name for a mix", hint="one word, such as more-code")
    data = shards_manifest(root / "shards")
    _refuse_another_plan(root, data)
    plan = Plan.read(root)
    epochs = resolve_weights(weights, [component.slug for component in plan.header.components])
    if not any(epochs.values()):
        raise UsageError("all weights of that mixture are 0, it would hold no document", hint="arxiv = 1.0")
    folder = root / "mixes" / name
    key = StageKey(stage="mix", format=FORMAT, inputs={"shards": data.digest()}, parameters={"weights": epochs})
    if manifest := finished(folder, key):
        return stage_result(ShardsResult, folder, manifest, up_to_date=True)
    stored_rows = np.flatnonzero((plan.column("split") == SPLITS.index("train")) & (plan.column("copies") > 0))
    mixed = plan.with_copies(_copies(plan, list(epochs.values())))
    entries = mixed.entries("train")
    if missing := np.setdiff1d(entries.row, stored_rows).size:
        raise UsageError(
            f"{missing:,} documents of that mixture are not in the shards, which were written without them",
            hint=f"pile build --root {root} with those weights, then pile shards write --root {root}",
        )
    withdraw(folder)
    folder.mkdir(parents=True, exist_ok=True)
    splits = dict(data.counts["splits"])
    for split in splits:
        for suffix in SUFFIXES if split != "train" else (".bin",):
            _link(root / "shards" / f"{split}{suffix}", folder / f"{split}{suffix}")
    sizes = _stored_sizes(root / "shards" / "train", plan, stored_rows)
    splits["train"] = write_split_index(
        mixed, folder / "train", sizes, stored_rows, entries, np.dtype(data.counts["dtype"])
    )
    counts = {**data.counts, "splits": splits}
    outputs = [describe(folder, folder / f"{split}{suffix}") for split in splits for suffix in SUFFIXES]
    manifest = publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    return stage_result(ShardsResult, folder, manifest, up_to_date=False)


def _refuse_another_plan(root: Path, data: Manifest) -> None:
    planned = read_manifest(root / "plan")
    if planned is None or planned.digest() != data.key.inputs["plan"]:
        # Sizes and entries are joined by their place in the plan: of another plan they would be of other documents.
        raise UsageError(
            f"the plan of {root} is not the one that its shards were written by",
            hint=f"pile shards write --root {root}",
        )


def _copies(plan: Plan, epochs: list[float]) -> np.ndarray:
    copies = plan.column("copies").copy()
    keys = copy_keys(plan.header.seed, hash_columns(plan.table), plan.table.column("ordinal").to_numpy())
    train = plan.column("split") == SPLITS.index("train")
    for number, weight in enumerate(epochs):
        mine = train & (plan.column("component") == number)
        copies[mine] = exact_copies(weight, keys[mine])
    return copies


def _stored_sizes(prefix: Path, plan: Plan, stored_rows: np.ndarray) -> np.ndarray:
    """Ids of each stored document, in the order of the `.bin`: any of its entries in the index says it."""
    import numpy as np

    from shards.format import index_path, read_index

    sizes = np.empty(len(stored_rows), np.int32)
    sizes[np.searchsorted(stored_rows, plan.entries("train").row)] = read_index(index_path(prefix)).sizes
    return sizes


def _link(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        os.link(source, temporary)
