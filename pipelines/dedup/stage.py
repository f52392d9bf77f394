"""Components in, keep-list out: which documents stay and why, the same whatever the workers and their order.

Fingerprints of files are kept for the next run (`dedup/fingerprints/`); everything else that is on the way stands in a
work folder, from which a killed run continues.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.components import ComponentDocuments, read_component
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import StageKey, describe, publish, withdraw
from pile_toolkit.core.stages import StageResult, finished, stage_result
from pile_toolkit.core.tasks import Workers, work_folder
from pipelines.decontamination import ContaminationCounts, against_parameters, decontaminate, remove_tables
from pipelines.dedup.fingerprints import STORE, fingerprint_all, forget_others, recipe_of
from pipelines.dedup.memory import disk_bytes, run_memory
from pipelines.dedup.settings import Method, check_priority, dedup_config, resolve
from pipelines.download import present_slugs
from pipelines.keep_list import CLUSTERS_FILE, KEEP_LIST_FILE, REASONS
from pipelines.minhash import NUM_PERM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pile_toolkit.core.console import Reporter
    from pipelines.dedup.settings import DedupConfig, Settings
    from pipelines.lsh.memory import Memory

# Of the tables.
FORMAT = 4
# What `pile dedup --report` writes into the root; it tells of the tables that are there.
PAGE = Path("reports", "dedup.html")


class ComponentDedup(msgspec.Struct, frozen=True, kw_only=True):
    """Documents of one component, how many went as exact and near duplicates and as contaminated, and their bytes."""

    documents: int
    kept: int
    exact: int
    near: int
    contaminated: int = 0
    bytes: int
    kept_bytes: int


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs that shared a bucket and are not similar; members, and buckets, whose comparisons were cut short.

    `share_below_threshold`: of the pairs inside clusters, which chains join, as far as they were compared.
    """

    failed_pairs: int
    comparisons_per_member: int
    capped_members: int
    capped_buckets: int
    pairs_in_clusters: int
    pairs_compared: int
    share_below_threshold: float


class DedupResult(StageResult, frozen=True, kw_only=True):
    """`clusters` counts those of at least two documents.

    `shared` says of how many documents of a component another document of the same cluster is in that, or in its own,
    component, where any is.
    """

    method: Method
    documents: int
    kept: int
    removed: int
    clusters: int
    components: dict[str, ComponentDedup]
    shared: dict[str, dict[str, int]]
    verification: Verification | None = None
    contamination: ContaminationCounts | None = None


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
    against: str | Path | None = None,
    **options: Any,
) -> DedupResult:
    """Decides which documents of all downloaded components are kept; writes `documents.parquet`, `clusters.parquet`.

    exact: equal texts, by 128-bit hash. minhash: also those that share an LSH bucket at `threshold`, with `verify` only
    where their shingles are as similar as that. Of a cluster the member of the first component is kept (`priority`,
    then catalog order), of these the longest, of these the smallest document id. What is kept is searched for n-grams
    of the evaluation sets in the folder `against`. Further `options` are those of `DedupConfig`. Raises UsageError for
    a bad parameter, too little memory or a root without components.
    """
    root, started_at = Path(root), time.time()
    given = {"method": method, "threshold": threshold, "num_perm": num_perm, **options}
    config = dedup_config(given if against is None else {**given, "against": str(against)})
    settings = resolve(config)
    components = [read_component(root, slug) for slug in present_slugs(root)]
    if not components:
        raise UsageError(f"{root} has no components yet", hint=f"pile download --all --from sample: --root {root}")
    check_priority(settings.priority, [item.slug for item in components])
    folder = root / "dedup"
    key = StageKey(
        stage="dedup",
        format=FORMAT,
        inputs={item.slug: item.digest for item in components},
        parameters=parameters_of(config, settings),
    )
    if manifest := finished(folder, key):
        return stage_result(DedupResult, folder, manifest, up_to_date=True)
    memory = run_memory(config.memory, jobs=jobs, scheduler=scheduler)
    withdraw(folder)
    remove_tables(folder)
    (root / PAGE).unlink(missing_ok=True)
    workers = Workers(jobs=jobs, scheduler=scheduler, reporter=reporter)
    needs_bytes = disk_bytes(sum(item.documents for item in components), settings)
    with work_folder(folder, key, needs_bytes=needs_bytes) as work:
        counts, written = _run(components, config, settings, folder, work, workers, memory)
        outputs = [describe(folder, path) for path in written]
        manifest = publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    return stage_result(DedupResult, folder, manifest, up_to_date=False)


def parameters_of(config: DedupConfig, settings: Settings) -> dict[str, Any]:
    """All that the output depends on beside the documents, for the stage's key; reads the evaluation sets."""
    found = settings.parameters()
    if config.against is not None and settings.against is not None:
        found["against"] = against_parameters(config.against, settings.against)
    return found


def _run(
    components: Sequence[ComponentDocuments],
    config: DedupConfig,
    settings: Settings,
    folder: Path,
    work: Path,
    workers: Workers,
    memory: Memory,
) -> tuple[dict[str, Any], list[Path]]:
    """Writes the tables into `folder`; returns the counts of the manifest, and the tables."""
    stored = fingerprint_all(components, recipe_of(settings), store=folder / STORE, workers=workers)
    # Of all that follows; loaded here, so that commands which only look at a manifest start at once.
    from pipelines.dedup.clusters import decide
    from pipelines.dedup.documents import Documents
    from pipelines.dedup.output import Tables
    from pipelines.dedup.verification import count_evidence, find_similarities

    documents = Documents(stored)
    files = [file for item in components for file in item.files]
    given = documents, files, settings, priorities(components, settings.priority)
    fates = decide(*given, work=work, workers=workers, memory=memory)
    contamination = None
    if config.against is not None and settings.against is not None:
        contamination = decontaminate(
            components, fates.reason == 0, against=config.against, settings=settings.against, work=work, workers=workers
        )
        fates.reason[contamination.dropped] = REASONS.index("contaminated")
    similarities, verification = None, None
    if fates.evidence:
        similarities = find_similarities(fates.evidence, fates.cluster, workers=workers)
        verification = count_evidence(fates.evidence, fates.cluster, settings.threshold)
    tables = Tables(components, documents, fates, similarities)
    counts = {"method": settings.method, **tables.write(folder), "verification": verification}
    written = [folder / name for name in (KEEP_LIST_FILE, CLUSTERS_FILE)]
    if contamination is not None:
        counts["contamination"] = msgspec.to_builtins(contamination.counts)
        written += contamination.write(folder, tables.header)
    forget_others(folder / STORE, stored)
    return counts, written


def priorities(components: Sequence[ComponentDocuments], priority: Sequence[str]) -> list[int]:
    """The place of each component among all: those of `priority` first, the others as they come."""
    slugs = [item.slug for item in components]
    order = [slug for slug in priority if slug in slugs]
    order += [slug for slug in slugs if slug not in order]
    return [order.index(slug) for slug in slugs]
