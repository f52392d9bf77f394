"""Keep-list and weights in, plan out, and from the plan on request the corpus files.

Splits come first, by a keyed hash of the normalized text, so that texts which differ in case and white space only
stand on one side; then train is upsampled. val and test hold each document once.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.components import read_component
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import StageKey, describe, publish, read_manifest, withdraw
from pile_toolkit.core.plan import PLAN_FILE, SPLITS, PlanHeader, write_plan
from pile_toolkit.core.seeds import KEY_RANGE, keyed_columns
from pile_toolkit.core.stages import StageResult, finished, stage_result
from pile_toolkit.core.tables import arrow_array, hash_array, hash_columns, integers, joined
from pipelines.corpus import CorpusResult, write_corpus_files
from pipelines.decontamination.evidence import PIECES_FILE, read_pieces
from pipelines.download import present_slugs
from pipelines.keep_list import REASONS, read_keep_list
from pipelines.mixture import Mixture, MixtureRow, Mode, Reached, copy_keys, mixture, mixture_rows, outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pyarrow as pa

    from pile_toolkit.core.console import Reporter

FORMAT = 3


class BuildConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`weights`: "pile", a file, or epochs per slug; `val_share` and `test_share` are of documents.

    `total`, such as "100GB", `share` per slug, `temperature` and `max_epochs` are of the train split's bytes over all
    copies; what they mean together stands in pipelines/mixture/epochs.py. `mode`: whether copies are exact, or drawn as
    the original builder draws them.
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


class ComponentBuild(Reached, frozen=True, kw_only=True):
    """One component in the plan: kept `documents`, their `copies` over all splits and the `bytes` of these copies.

    Each piece of a document that was cut has copies of its own. `epochs` are those wished of the train documents.
    """

    documents: int
    copies: int
    bytes: int
    epochs: float
    train_documents: int
    val_documents: int
    test_documents: int


class BuildResult(StageResult, frozen=True, kw_only=True):
    """What the plan holds; `splits` counts copies, `without_held_out` lists components absent from val and test."""

    documents: int
    copies: int
    bytes: int
    splits: dict[str, int]
    components: dict[str, ComponentBuild]
    without_held_out: list[str]
    corpus: CorpusResult | None = None


@holding_root
def build(
    root: str | Path,
    *,
    weights: str | Mapping[str, float] = "pile",
    mode: str = "exact",
    total: str | int | None = None,
    share: Mapping[str, float] | None = None,
    temperature: float | None = None,
    max_epochs: float | None = None,
    seed: int = 1234,
    train_shards: int = 30,
    val_share: float = 0.001,
    test_share: float = 0.001,
    write_corpus: bool = True,
    jobs: int = 1,
    scheduler: str = "process",
    reporter: Reporter = SILENT,
) -> BuildResult:
    """Writes `plan/plan.parquet`, and with `write_corpus` the files under `corpus/`.

    Raises UsageError for bad weights, targets or shares, for targets that cannot be met, and where a split would be
    empty.
    """
    root = Path(root)
    started_at = time.time()
    _check(val_share, test_share, train_shards)
    dedup_digest = _current_dedup(root)
    wanted = mixture(
        weights,
        present_slugs(root),
        mode=mode,
        total=total,
        share=share,
        temperature=temperature,
        max_epochs=max_epochs,
    )
    folder = root / "plan"
    key = StageKey(
        stage="build",
        format=FORMAT,
        inputs={"dedup": dedup_digest},
        parameters={"seed": seed, **wanted.parameters(), "val_share": val_share, "test_share": test_share},
    )
    manifest = finished(folder, key)
    up_to_date = manifest is not None
    if manifest is None:
        components, keep_list = read_keep_list(root)
        slugs = [component.slug for component in components]
        columns, epochs = _plan_columns(keep_list, _pieces(root), slugs, wanted, seed, val_share, test_share)
        counts = _counts(columns, epochs)
        _refuse_empty_splits(counts, val_share, test_share)
        withdraw(folder)
        write_plan(folder / PLAN_FILE, PlanHeader(seed=seed, components=components), columns)
        outputs = [describe(folder, folder / PLAN_FILE)]
        manifest = publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    result = stage_result(BuildResult, folder, manifest, up_to_date=up_to_date)
    if not write_corpus:
        return result
    corpus = write_corpus_files(root, train_shards=train_shards, jobs=jobs, scheduler=scheduler, reporter=reporter)
    return msgspec.structs.replace(result, corpus=corpus, up_to_date=up_to_date and corpus.up_to_date)


def planned_mixture(
    root: str | Path,
    *,
    weights: str | Mapping[str, float] = "pile",
    seed: int = 1234,
    train_shards: int = 30,
    val_share: float = 0.001,
    test_share: float = 0.001,
    **targets: Any,
) -> list[MixtureRow] | None:
    """The mixture that `build` with these options would plan, from the keep-list, None without one; nothing is written.

    `targets` are mode, total, share, temperature and max_epochs. Raises what `build` raises before it writes.
    """
    root = Path(root)
    _check(val_share, test_share, train_shards)
    slugs = present_slugs(root)
    # Before the download nobody knows which components a share can name.
    wanted = mixture(weights, slugs, **targets if slugs else {**targets, "share": None})
    if read_manifest(root / "dedup") is None:
        return None
    _current_dedup(root)
    components, keep_list = read_keep_list(root)
    slugs = [component.slug for component in components]
    columns, epochs = _plan_columns(keep_list, _pieces(root), slugs, wanted, seed, val_share, test_share)
    counts = _counts(columns, epochs)
    _refuse_empty_splits(counts, val_share, test_share)
    return mixture_rows(epochs, {slug: row["train_bytes"] for slug, row in counts["components"].items()})


def _check(val_share: float, test_share: float, train_shards: int) -> None:
    if not (0.0 <= val_share < 1.0 and 0.0 <= test_share < 1.0 and val_share + test_share < 1.0):
        raise UsageError(
            f"val_share is {val_share} and test_share {test_share}, both must be 0 or more and below 1 together",
            hint="--val-share 0.001 --test-share 0.001",
        )
    if not 1 <= train_shards <= 10_000:
        raise UsageError(f"train_shards is {train_shards}, it must lie between 1 and 10,000", hint="--train-shards 30")


def _current_dedup(root: Path) -> str:
    """The digest of the keep-list. Raises UsageError where it was made of other files than the components hold now."""
    manifest = read_manifest(root / "dedup")
    if manifest is None:
        raise UsageError(f"{root} has no keep-list yet", hint=f"pile dedup --root {root}")
    present = {slug: read_component(root, slug).digest for slug in present_slugs(root)}
    known = manifest.key.inputs
    if changed := sorted(slug for slug in {*present, *known} if present.get(slug) != known.get(slug)):
        raise UsageError(
            f"{len(changed)} components changed after deduplication, '{changed[0]}' first",
            hint=f"pile dedup --method {manifest.key.parameters['method']} --root {root}",
        )
    return manifest.digest()


def _plan_columns(
    keep_list: pa.Table,
    pieces: pa.Table | None,
    slugs: list[str],
    wanted: Mixture,
    seed: int,
    val_share: float,
    test_share: float,
) -> tuple[dict[str, Any], dict[str, float]]:
    """The columns of the plan, and the epochs of each component."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    stays = pc.equal(keep_list.column("reason"), REASONS.index("kept"))
    kept = keep_list.filter(stays)
    component = integers(joined(kept, "component"))
    hashes = hash_columns(kept, "text_hash")
    split = assign_splits(hash_columns(kept, "normalized_hash"), seed, val_share, test_share)
    ordinal = ordinals(hashes)
    keys = copy_keys(seed, hashes, ordinal)
    sizes = _bytes_left(integers(joined(kept, "bytes")), pieces, np.flatnonzero(stays))
    train = {
        slug: np.flatnonzero((component == number) & (split == SPLITS.index("train")))
        for number, slug in enumerate(slugs)
    }
    epochs = wanted.epochs({slug: int(sizes[rows].sum()) for slug, rows in train.items()})
    made = wanted.copies(
        epochs,
        keys={slug: keys[rows] for slug, rows in train.items()},
        document_bytes={slug: sizes[rows] for slug, rows in train.items()},
    )
    copies = np.zeros(len(kept), np.uint16)
    for number, slug in enumerate(slugs):
        copies[train[slug]] = made[slug]
        if epochs[slug] > 0:
            copies[(component == number) & (split != SPLITS.index("train"))] = 1
    whole_document = pa.nulls(len(kept), pa.uint64())
    columns = {
        **{name: joined(kept, name) for name in ("component", "file", "line", "bytes", "text_hash")},
        "piece_start": whole_document,
        "piece_end": whole_document,
        "split": split,
        "copies": copies,
        "ordinal": ordinal,
    }
    if pieces is not None and len(pieces):
        columns = _in_pieces(columns, pieces, np.flatnonzero(stays))
    return columns, epochs


def _bytes_left(sizes: np.ndarray, pieces: pa.Table | None, kept_rows: np.ndarray) -> np.ndarray:
    """Bytes of each kept document: of one that was cut, those of its pieces."""
    import numpy as np

    left = sizes.astype(np.int64)
    if pieces is not None and len(pieces):
        of_piece = np.searchsorted(kept_rows, integers(joined(pieces, "row")))
        left[of_piece] = 0
        np.add.at(left, of_piece, integers(joined(pieces, "bytes")).astype(np.int64))
    return left


def _pieces(root: Path) -> pa.Table | None:
    """The pieces of documents that were cut; None where deduplication cut none."""
    manifest = read_manifest(root / "dedup")
    # By the manifest: a file of an earlier deduplication may still lie there.
    written = manifest is not None and any(output.path == PIECES_FILE for output in manifest.outputs)
    return read_pieces(root) if written else None


def _in_pieces(columns: dict[str, Any], pieces: pa.Table, kept_rows: np.ndarray) -> dict[str, Any]:
    """The plan of documents, each of `kept_rows` of the keep-list, as a plan of pieces.

    Split and copies are those of the document; the ordinal, which tells apart what has one hash, is the piece's own.
    """
    import numpy as np
    import pyarrow as pa

    of_piece = np.searchsorted(kept_rows, integers(joined(pieces, "row")))
    rows_of = np.ones(len(kept_rows), np.int64)
    np.add.at(rows_of, of_piece, 1)
    rows_of[np.unique(of_piece)] -= 1
    document = np.repeat(np.arange(len(kept_rows)), rows_of)
    cut = np.isin(document, of_piece)
    take = arrow_array(document)
    planned = {
        name: column[document] if isinstance(column, np.ndarray) else column.take(take)
        for name, column in columns.items()
    }
    for name in ("piece_start", "piece_end"):
        values = np.zeros(len(document), np.uint64)
        values[cut] = integers(joined(pieces, name))
        planned[name] = pa.array(values, mask=~cut)
    sizes = integers(planned["bytes"]).copy()
    sizes[cut] = integers(joined(pieces, "bytes"))
    hashes = hash_array(planned["text_hash"])
    return {**planned, "bytes": arrow_array(sizes), "ordinal": ordinals(hashes)}


def assign_splits(normalized_hashes: np.ndarray, seed: int, val_share: float, test_share: float) -> np.ndarray:
    """The split of each document, from the hash of its normalized text, uint64[n, 2]: uint8[n] into SPLITS."""
    import numpy as np

    keys = keyed_columns(seed, "split", normalized_hashes[:, 0], normalized_hashes[:, 1])
    split = np.full(len(keys), SPLITS.index("train"), np.uint8)
    test_end = int((val_share + test_share) * KEY_RANGE)
    split[keys < np.uint64(test_end)] = SPLITS.index("test")
    split[keys < np.uint64(int(val_share * KEY_RANGE))] = SPLITS.index("val")
    return split


def ordinals(hashes: np.ndarray) -> np.ndarray:
    """How many rows before each have the same hash, uint64[n, 2]: uint32[n]. Equal texts need different keys."""
    import numpy as np

    order = np.lexsort((np.arange(len(hashes)), hashes[:, 1], hashes[:, 0]))
    grouped = hashes[order]
    starts_group = np.ones(len(hashes), bool)
    starts_group[1:] = (grouped[1:] != grouped[:-1]).any(axis=1)
    position = np.arange(len(hashes))
    start = np.maximum.accumulate(np.where(starts_group, position, 0))
    result = np.empty(len(hashes), np.uint32)
    result[order] = position - start
    return result


def _counts(columns: dict[str, Any], epochs: dict[str, float]) -> dict[str, Any]:
    import numpy as np

    component, split = integers(columns["component"]), columns["split"]
    copies = columns["copies"].astype(np.int64)
    # Of a document in pieces the first one stands for it.
    first = np.zeros(len(copies), bool)
    first[:1] = True
    for place in (integers(columns[name]) for name in ("component", "file", "line")):
        first[1:] |= place[1:] != place[:-1]
    once = integers(columns["bytes"]).astype(np.int64)
    copied_bytes = once * copies
    train = [(component == number) & (split == SPLITS.index("train")) for number in range(len(epochs))]
    reached = outcome(
        epochs,
        {slug: int(once[mine].sum()) for slug, mine in zip(epochs, train, strict=True)},
        {slug: int(copied_bytes[mine].sum()) for slug, mine in zip(epochs, train, strict=True)},
    )
    table = {}
    for number, (slug, weight) in enumerate(epochs.items()):
        mine = (component == number) & (copies > 0)
        whole = mine & first
        by_split = {f"{name}_documents": int((whole & (split == index)).sum()) for index, name in enumerate(SPLITS)}
        table[slug] = {
            "documents": int(whole.sum()),
            "copies": int(copies[mine].sum()),
            "bytes": int(copied_bytes[mine].sum()),
            "epochs": weight,
            **msgspec.structs.asdict(reached[slug]),
            **by_split,
        }
    return {
        "documents": int(((copies > 0) & first).sum()),
        "copies": int(copies.sum()),
        "bytes": int(copied_bytes.sum()),
        "splits": {name: int(copies[split == index].sum()) for index, name in enumerate(SPLITS)},
        "components": table,
        "without_held_out": [
            slug for slug, row in table.items() if row["documents"] and not row["val_documents"] + row["test_documents"]
        ],
    }


def _refuse_empty_splits(counts: dict[str, Any], val_share: float, test_share: float) -> None:
    train_share = 1.0 - val_share - test_share
    for name, share in zip(SPLITS, (train_share, val_share, test_share), strict=True):
        if share > 0 and counts["splits"][name] == 0:
            raise UsageError(
                f"the split '{name}' would be empty: a share of {share:g} of {counts['documents']:,} documents",
                hint="more documents or larger weights"
                if name == "train"
                else "more documents, or a larger share such as --val-share 0.02 --test-share 0.02",
            )
