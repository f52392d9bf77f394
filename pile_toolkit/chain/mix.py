"""Stored documents and new weights in, a new index out: the mixture changes in seconds, nothing is encoded again."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pile_toolkit.chain.stages import shards_manifest
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import StageKey, describe, publish, read_manifest, withdraw
from pile_toolkit.core.plan import SPLITS, Plan
from pile_toolkit.core.stages import finished, stage_result
from pile_toolkit.core.tables import hash_columns
from pipelines.mixture import TOKENS, copy_keys, exact_copies, mixture, mixture_rows
from shards.format import data_path, file_bytes, index_path, read_index
from shards.stage import SUFFIXES, ShardsResult, entry_rows, write_split_index
from shards.writer import assemble_index

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np

    from pile_toolkit.core.manifest import Manifest, OutputFile
    from pipelines.mixture import Mixture, MixtureRow

FORMAT = 1


@holding_root
def mix_shards(
    root: str | Path,
    name: str,
    *,
    weights: str | Mapping[str, float] = "pile",
    total: str | int | None = None,
    share: Mapping[str, float] | None = None,
    temperature: float | None = None,
    max_epochs: float | None = None,
) -> ShardsResult:
    """Writes `mixes/<name>/`: an index of the train documents of `shards/` with other weights; val and test stay.

    The targets are those of `build`, of tokens where a build's are of bytes. The `.bin` files are hard links, so a mix
    costs its index only. Raises UsageError for bad weights, for targets that cannot be met, and where a document that
    has to be read was left out when the shards were written.
    """
    import numpy as np

    root = Path(root)
    started_at = time.time()
    if not name or Path(name).name != name or name.startswith("."):
        raise UsageError(f"{name!r} is no name for a mix", hint="one word, such as more-code")
    data = shards_manifest(root / "shards")
    _refuse_another_plan(root, data)
    plan = Plan.read(root)
    wanted = _wanted(plan, weights, total=total, share=share, temperature=temperature, max_epochs=max_epochs)
    folder = root / "mixes" / name
    parameters = {"weights": wanted.weights, **wanted.targets.parameters()}
    key = StageKey(stage="mix", format=FORMAT, inputs={"shards": data.digest()}, parameters=parameters)
    if manifest := finished(folder, key):
        return stage_result(ShardsResult, folder, manifest, up_to_date=True)
    stored_sizes, stored_pointers = _stored(root / "shards" / "train", plan, data)
    epochs = wanted.epochs(_train_tokens(plan, stored_sizes))
    copies = _copies(plan, list(epochs.values()))
    train = plan.column("split") == SPLITS.index("train")
    if missing := np.count_nonzero(train & (copies > 0) & (plan.column("copies") == 0)):
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
    mixed = plan.with_copies(copies)
    entries = mixed.entries("train")
    sizes, pointers = assemble_index(stored_sizes, stored_pointers, entry_rows(plan, "train", entries))
    dtype = np.dtype(data.counts["dtype"])
    write_split_index(mixed, folder / "train", entries=entries, sizes=sizes, pointers=pointers, dtype=dtype)
    in_all = {"sequences": len(sizes), "tokens": int(sizes.sum(dtype=np.int64))}
    splits["train"] = {**splits["train"], **in_all}
    counts = {**data.counts, "splits": splits, "materialized": False, "epochs": epochs}
    outputs = _outputs(folder, data, splits)
    manifest = publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    return stage_result(ShardsResult, folder, manifest, up_to_date=False)


def planned_mix(root: str | Path, *, weights: str | Mapping[str, float] = "pile", **targets: Any) -> list[MixtureRow]:
    """The mixture, in tokens, that `mix_shards` with these weights and targets would make; nothing is written."""
    root = Path(root)
    data = shards_manifest(root / "shards")
    _refuse_another_plan(root, data)
    plan = Plan.read(root)
    wanted = _wanted(plan, weights, **targets)
    tokens = _train_tokens(plan, _stored(root / "shards" / "train", plan, data)[0])
    return mixture_rows(wanted.epochs(tokens), tokens)


def _wanted(plan: Plan, weights: str | Mapping[str, float], **targets: Any) -> Mixture:
    wanted = mixture(weights, [component.slug for component in plan.header.components], unit=TOKENS, **targets)
    if not any(wanted.weights.values()):
        raise UsageError("all weights of that mixture are 0, it would hold no document", hint="arxiv = 1.0")
    return wanted


def _train_tokens(plan: Plan, stored_sizes: np.ndarray) -> dict[str, int]:
    """Tokens of each component's train documents, each once; those of documents that were not stored by their bytes."""
    import numpy as np

    component, sizes = plan.column("component"), plan.column("bytes")
    train = plan.column("split") == SPLITS.index("train")
    stored = train & (plan.column("copies") > 0)
    found = {}
    for number, known in enumerate(plan.header.components):
        mine = component == number
        tokens = int(stored_sizes[mine[stored]].sum(dtype=np.int64))
        all_bytes, stored_bytes = (int(sizes[mine & rows].sum(dtype=np.int64)) for rows in (train, stored))
        found[known.slug] = tokens * all_bytes // stored_bytes if stored_bytes else tokens
    return found


def _refuse_another_plan(root: Path, data: Manifest) -> None:
    planned = read_manifest(root / "plan")
    if planned is None or planned.digest() != data.key.inputs["plan"]:
        # Sizes and entries are joined by their place in the plan: of another plan they would be of other documents.
        raise UsageError(
            f"the plan of {root} is not the one that its shards were written by",
            hint=f"pile shards write --root {root}",
        )


def _copies(plan: Plan, epochs: list[float]) -> np.ndarray:
    """Copies of every row: as the build decides them, of whole documents by their first piece."""
    import numpy as np

    copies = plan.column("copies").copy()
    first = np.zeros(len(plan), bool)
    first[:1] = True
    for name in ("component", "file", "line"):
        first[1:] |= np.diff(plan.column(name)) != 0
    keys = copy_keys(plan.header.seed, hash_columns(plan.table)[first], plan.column("ordinal")[first])
    component, train = plan.column("component")[first], plan.column("split")[first] == SPLITS.index("train")
    of_document = copies[first]
    for number, weight in enumerate(epochs):
        mine = train & (component == number)
        of_document[mine] = exact_copies(weight, keys[mine])
    copies[:] = of_document[np.cumsum(first) - 1]
    return copies


def _stored(prefix: Path, plan: Plan, data: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """Ids and place of each stored document, in plan order.

    Raises CorruptData where the index does not hold as many as its manifest says.
    """
    import numpy as np

    index = read_index(index_path(prefix))
    if data.counts.get("materialized"):
        # Every copy has a place of its own, in the order of the index; one of them is read, the others stay unread.
        rows = entry_rows(plan, "train", plan.entries("train"))
        documents = int(rows.max(initial=-1)) + 1
        sizes, pointers = np.empty(documents, np.int32), np.empty(documents, np.int64)
        sizes[rows], pointers[rows] = index.sizes, index.pointers
        return sizes, pointers
    # They lie in plan order without gaps, none without ids: their places say all, and no entry need be sorted.
    pointers = np.sort(index.pointers)
    # numpy's own `unique` hashes, which takes ten times as long.
    pointers = pointers[np.diff(pointers, prepend=-1) > 0]
    documents = data.counts["splits"]["train"]["stored"]
    if len(pointers) != documents:
        raise CorruptData(
            f"{index_path(prefix)} names {len(pointers):,} documents, {documents:,} were written",
            hint="pile verify --repair",
        )
    ends = np.append(pointers[1:], file_bytes(data_path(prefix)))
    return ((ends - pointers) // index.dtype.itemsize).astype(np.int32), pointers


def _outputs(folder: Path, data: Manifest, splits: Iterable[str]) -> list[OutputFile]:
    """What stands in a mix. What is a link to a file of the shards is what their manifest says of it."""
    written = {output.path: output for output in data.outputs}
    fresh = ("train.idx", "train.docs.arrow")
    names = [f"{split}{suffix}" for split in splits for suffix in SUFFIXES]
    return [describe(folder, folder / name) if name in fresh else written[name] for name in names]


def _link(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        os.link(source, temporary)
