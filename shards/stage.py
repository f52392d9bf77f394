"""Plan and encoder in, `shards/<split>.bin/.idx/.docs.arrow` out: each kept document encoded and stored once.

The `.bin` holds documents in plan order, parts of it encoded by several processes and joined. The `.idx` is in the
order of the corpus and names a document once per copy, so that weights live in the index.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import atomic_path
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import StageKey, describe, publish, read_manifest, withdraw
from pile_toolkit.core.plan import SPLITS, Plan, file_tasks, read_file_rows
from pile_toolkit.core.stages import StageResult, finished, stage_result
from pile_toolkit.core.tasks import Workers, run_tasks, work_folder
from shards.format import write_index
from shards.provenance import write_provenance
from shards.writer import assemble_index, join_parts, write_part

if TYPE_CHECKING:
    import numpy as np

    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.plan import Entries
    from shards.encoder import Encoder

FORMAT = 1
# Of English and code about 0.25, of what is written in other alphabets more.
TOKENS_PER_BYTE = 0.35
# In `.idx` and `.docs.arrow`.
INDEX_BYTES_PER_COPY = 48
SUFFIXES = (".bin", ".idx", ".docs.arrow")


class SplitShards(msgspec.Struct, frozen=True, kw_only=True):
    """One split: `sequences` and `tokens` count copies, `stored` documents and `stored_tokens` stand in the `.bin`."""

    sequences: int
    tokens: int
    stored: int
    stored_tokens: int


class ShardsResult(StageResult, frozen=True, kw_only=True):
    """What was written, with which tokenizer (its hash)."""

    vocab_size: int
    tokenizer: str
    dtype: str
    splits: dict[str, SplitShards]


@holding_root
def write_shards_of_plan(
    root: str | Path, encoder: Encoder, *, jobs: int = 1, scheduler: str = "process", reporter: Reporter = SILENT
) -> ShardsResult:
    """Encodes every document of the plan of `root` once and writes the shards of each split.

    Raises UsageError where there is no plan or the encoder's ids do not fit the format.
    """
    root = Path(root)
    started_at = time.time()
    planned = read_manifest(root / "plan")
    if planned is None:
        raise UsageError(f"{root} has no plan yet", hint=f"pile build --root {root}")
    folder = root / "shards"
    inputs = {"plan": planned.digest(), "tokenizer": encoder.hash}
    key = StageKey(stage="shards", format=FORMAT, inputs=inputs)
    if manifest := finished(folder, key):
        return stage_result(ShardsResult, folder, manifest, up_to_date=True)
    withdraw(folder)
    plan = Plan.read(root)
    with work_folder(folder, key, needs_bytes=_needs_bytes(plan, encoder)) as work:
        parts = _encode(plan, encoder, work, Workers(jobs=jobs, scheduler=scheduler, reporter=reporter))
        splits = {split: _assemble(plan, folder, split, parts, encoder) for split in SPLITS}
        written = {split: row for split, row in splits.items() if row is not None}
        counts = {
            "vocab_size": encoder.vocab_size,
            "tokenizer": encoder.hash,
            "dtype": str(encoder.dtype),
            "splits": written,
        }
        outputs = [describe(folder, folder / f"{split}{suffix}") for split in written for suffix in SUFFIXES]
        manifest = publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    return stage_result(ShardsResult, folder, manifest, up_to_date=False)


def _needs_bytes(plan: Plan, encoder: Encoder) -> int:
    """About what parts, `.bin` and the tables beside it need together."""
    copies = plan.column("copies")
    text_bytes = int(plan.column("bytes")[copies > 0].sum())
    ids_bytes = int(text_bytes * TOKENS_PER_BYTE) * encoder.dtype.itemsize
    return 2 * ids_bytes + INDEX_BYTES_PER_COPY * int(copies.sum(dtype="int64"))


def _encode(plan: Plan, encoder: Encoder, work: Path, workers: Workers) -> list[Path]:
    """Folders of parts, in plan order."""
    tasks = file_tasks(plan, "part", encoder)
    run_tasks(encode_file, tasks, work=work, workers=workers, label="shards", unit="bytes")
    return [work / task.name for task in tasks]


def encode_file(folder: Path, root: str, component: int, file: int, encoder: Encoder) -> dict[str, int]:
    """A task: the documents of one file, `<split>.bin` and their sizes per split. Returns documents per split."""
    import numpy as np

    plan = Plan.read_file(Path(root), component, file)
    documents = {}
    for split in SPLITS:
        rows = plan.rows_of(component, file, split)
        if rows.size:
            texts = (planned.text for planned in read_file_rows(plan, component, file, rows))
            sizes = write_part(folder / f"{split}.bin", texts, encoder, encoder.end_of_text)
            with atomic_path(folder / f"{split}.sizes.npy") as temporary, temporary.open("wb") as stream:
                np.save(stream, sizes, allow_pickle=False)
            documents[split] = len(sizes)
    return documents


def _assemble(plan: Plan, folder: Path, split: str, parts: list[Path], encoder: Encoder) -> dict[str, int] | None:
    import numpy as np

    mine = [part for part in parts if (part / f"{split}.bin").exists()]
    if not mine:
        for suffix in SUFFIXES:
            _with_suffix(folder / split, suffix).unlink(missing_ok=True)
        return None
    sizes = np.concatenate([np.load(part / f"{split}.sizes.npy", allow_pickle=False) for part in mine])
    join_parts([part / f"{split}.bin" for part in mine], folder / f"{split}.bin")
    entries = plan.entries(split)
    stored_rows = np.flatnonzero((plan.column("split") == SPLITS.index(split)) & (plan.column("copies") > 0))
    return write_split_index(plan, folder / split, sizes, stored_rows, entries, encoder.dtype)


def write_split_index(
    plan: Plan, prefix: Path, sizes: np.ndarray, stored_rows: np.ndarray, entries: Entries, dtype: np.dtype
) -> dict[str, int]:
    """Writes `.idx` and `.docs.arrow` of a prefix whose `.bin` holds `stored_rows` of the plan with `sizes` ids each.

    Returns the counts of SplitShards.
    """
    import numpy as np

    stored = np.searchsorted(stored_rows, entries.row)
    entry_sizes, pointers = assemble_index(sizes, stored, dtype=dtype)
    write_index(
        _with_suffix(prefix, ".idx"),
        dtype=dtype,
        sizes=entry_sizes,
        pointers=pointers,
        doc_idx=np.arange(len(entry_sizes) + 1, dtype=np.int64),
    )
    columns: dict[str, Any] = {name: plan.column(name)[entries.row] for name in ("component", "file", "line", "bytes")}
    write_provenance(
        _with_suffix(prefix, ".docs.arrow"),
        **columns,
        copy=entries.copy,
        components=[component.slug for component in plan.header.components],
        files={component.slug: component.files for component in plan.header.components},
    )
    return {
        "sequences": len(entry_sizes),
        "tokens": int(entry_sizes.sum(dtype=np.int64)),
        "stored": len(sizes),
        "stored_tokens": int(sizes.sum(dtype=np.int64)),
    }


def _with_suffix(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)
