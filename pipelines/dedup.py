"""Components in, keep-list out: which documents stay and why, the same whatever the workers and their order."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pile_toolkit.core.components import ComponentDocuments, read_component
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import StageKey, describe, publish, withdraw
from pile_toolkit.core.plan import PlanComponent
from pile_toolkit.core.stages import StageResult, finished, stage_result
from pile_toolkit.core.tasks import Task, Workers, run_tasks, work_folder
from pipelines.download import present_slugs
from pipelines.fingerprints import fingerprint_file, gather_rows, gather_signatures
from pipelines.keep_list import KEEP_LIST_FILE, REASONS, write_keep_list
from pipelines.minhash import NUM_PERM, SCHEME, SHINGLE_WORDS, SIGNATURE_SEED, bands, join_pairs, near_duplicate_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from pile_toolkit.core.console import Reporter

FORMAT = 2
# Of the fingerprints and of the keep-list made of them.
TABLE_BYTES_PER_DOCUMENT = 160
Method = Literal["none", "exact", "minhash"]


class DedupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`threshold` (a Jaccard similarity of shingle sets) and `num_perm` (signature length) count for minhash only."""

    method: Method = "exact"
    threshold: float = 0.8
    num_perm: int = NUM_PERM


class ComponentDedup(msgspec.Struct, frozen=True, kw_only=True):
    """Documents of one component, and how many went as exact and as near duplicates."""

    documents: int
    kept: int
    exact: int
    near: int


class DedupResult(StageResult, frozen=True, kw_only=True):
    """`clusters` counts those of at least two documents."""

    method: Method
    documents: int
    kept: int
    removed: int
    clusters: int
    components: dict[str, ComponentDedup]


@holding_root
def dedup(
    root: str | Path,
    *,
    method: Method = "exact",
    threshold: float = 0.8,
    num_perm: int = NUM_PERM,
    jobs: int = 1,
    scheduler: str = "process",
    reporter: Reporter = SILENT,
) -> DedupResult:
    """Decides which documents of all downloaded components are kept; writes `dedup/documents.parquet`.

    exact: equal texts, by 128-bit hash. minhash: also those that share an LSH bucket at `threshold`. Of a cluster the
    member of the first component in catalog order is kept, of these the longest, of these the smallest document id.
    Raises UsageError for a bad parameter or a root without components.
    """
    root = Path(root)
    started_at = time.time()
    _check(method, threshold)
    components = [read_component(root, slug) for slug in present_slugs(root)]
    if not components:
        raise UsageError(f"{root} has no components yet", hint=f"pile download --all --from sample: --root {root}")
    folder = root / "dedup"
    key = _key(components, method, threshold, num_perm)
    if manifest := finished(folder, key):
        return stage_result(DedupResult, folder, manifest, up_to_date=True)
    if method == "minhash":
        # What cannot be banded is refused before hours of signatures, not after.
        bands(num_perm=num_perm, threshold=threshold)
    withdraw(folder)
    signature = {"num_perm": num_perm, "seed": SIGNATURE_SEED} if method == "minhash" else None
    workers = Workers(jobs=jobs, scheduler=scheduler, reporter=reporter)
    documents = sum(item.documents for item in components)
    bytes_per_document = TABLE_BYTES_PER_DOCUMENT + (4 * num_perm if signature else 0)
    with work_folder(folder, key, needs_bytes=documents * bytes_per_document) as work:
        columns, signatures = _fingerprints(components, signature, work, workers)
        cluster, reason = _decide(columns, signatures, method, threshold)
        columns.update(cluster=cluster, reason=reason)
        planned = [
            PlanComponent(slug=item.slug, files=[file.counts.name for file in item.files]) for item in components
        ]
        write_keep_list(folder / KEEP_LIST_FILE, planned, columns)
        counts = _counts(method, [item.slug for item in components], columns)
        outputs = [describe(folder, folder / KEEP_LIST_FILE)]
        manifest = publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    return stage_result(DedupResult, folder, manifest, up_to_date=False)


def _check(method: str, threshold: float) -> None:
    if method not in ("none", "exact", "minhash"):
        raise UsageError(f"unknown method {method!r}", hint="--method none, exact or minhash")
    if not 0.0 < threshold < 1.0:
        raise UsageError(f"the similarity threshold is {threshold}, it lies between 0 and 1", hint="--threshold 0.8")


def _key(components: Sequence[ComponentDocuments], method: str, threshold: float, num_perm: int) -> StageKey:
    parameters: dict[str, Any] = {"method": method}
    if method == "minhash":
        parameters |= {
            "threshold": threshold,
            "num_perm": num_perm,
            "seed": SIGNATURE_SEED,
            "scheme": SCHEME,
            "shingle_words": SHINGLE_WORDS,
        }
    inputs = {item.slug: item.digest for item in components}
    return StageKey(stage="dedup", format=FORMAT, inputs=inputs, parameters=parameters)


def _fingerprints(
    components: Sequence[ComponentDocuments],
    signature: dict[str, int] | None,
    work: Path,
    workers: Workers,
) -> tuple[dict[str, Any], np.ndarray | None]:
    tasks = [
        Task(
            f"{item.slug}-{number}",
            (str(file.path.absolute()), file.hash, component, number, signature),
            size=file.counts.text_bytes,
        )
        for component, item in enumerate(components)
        for number, file in enumerate(item.files)
    ]
    run_tasks(fingerprint_file, tasks, work=work, workers=workers, label="dedup", unit="bytes")
    folders = [work / task.name for task in tasks]
    return gather_rows(folders), gather_signatures(folders) if signature else None


def _decide(
    columns: dict[str, Any], signatures: np.ndarray | None, method: str, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """(row of the kept member, reason) of every row."""
    import numpy as np

    count = len(columns["line"])
    rank = np.empty(count, np.int64)
    # Rows are in document id order and lexsort is stable, so the smallest id comes last among the criteria.
    rank[np.lexsort((-columns["bytes"].astype(np.int64), columns["component"]))] = np.arange(count)
    reason = np.zeros(count, np.uint8)
    if method == "none":
        return np.arange(count, dtype=np.uint64), reason
    _, first, group = np.unique(columns["text_hash"], axis=0, return_index=True, return_inverse=True)
    same_text = [(int(row), int(first[number])) for row, number in enumerate(group.ravel()) if row != first[number]]
    exact = np.array(join_pairs(count, same_text, rank), dtype=np.uint64)
    cluster = exact
    if signatures is not None:
        near = near_duplicate_pairs(signatures, threshold=threshold, seed=SIGNATURE_SEED)
        cluster = np.array(join_pairs(count, itertools.chain(same_text, near), rank), dtype=np.uint64)
    own = np.arange(count, dtype=np.uint64)
    reason[cluster != own] = REASONS.index("near duplicate")
    # Of two equal texts one may be kept nowhere: the other of them is named exact, the first near.
    reason[exact != own] = REASONS.index("exact duplicate")
    return cluster, reason


def _counts(method: str, slugs: list[str], columns: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    reason, component = columns["reason"], columns["component"]
    table = {}
    for number, slug in enumerate(slugs):
        kept, exact, near = (int(n) for n in np.bincount(reason[component == number], minlength=len(REASONS)))
        table[slug] = {"documents": kept + exact + near, "kept": kept, "exact": exact, "near": near}
    kept_total = int((reason == 0).sum())
    return {
        "method": method,
        "documents": len(reason),
        "kept": kept_total,
        "removed": len(reason) - kept_total,
        "clusters": len(np.unique(columns["cluster"][reason != 0])),
        "components": table,
    }
