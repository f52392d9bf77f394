"""Plan and encoder in, `shards/<split>.bin/.idx/.docs.arrow` out: each kept document encoded and stored once.

The `.bin` holds documents in plan order, parts of it (one per component file and split) encoded by several processes
and joined. The `.idx` is in the order of the corpus and names a document once per copy, so that weights live in the
index. Materialized shards hold every copy instead, in the order of the `.idx`, for readers that ignore its pointers.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import atomic_path, fsync_folder, write_bytes
from pile_toolkit.core.held import refuse_if_displaced
from pile_toolkit.core.jsonfile import RECORD_LIMIT_BYTES, read_json
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import OutputFile, StageKey, describe, publish, read_manifest, withdraw
from pile_toolkit.core.plan import SPLITS, Plan, file_tasks, read_file_rows
from pile_toolkit.core.stages import StageResult, finished, stage_result
from pile_toolkit.core.tasks import Workers, run_tasks, starting_order, work_folder
from shards.encoder import CarriedEncoder
from shards.format import write_index
from shards.joining import Joiner, Part, write_copies
from shards.provenance import write_provenance
from shards.writer import assemble_index, open_part, stored_pointers

if TYPE_CHECKING:
    import numpy as np

    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.plan import Entries
    from pile_toolkit.core.tasks import Task
    from shards.encoder import Encoder

FORMAT = 1
# Of English and code about 0.25, of what is written in other alphabets more.
TOKENS_PER_BYTE = 0.35
# In `.idx` and `.docs.arrow`.
INDEX_BYTES_PER_COPY = 48
SUFFIXES = (".bin", ".idx", ".docs.arrow")


class SplitShards(msgspec.Struct, frozen=True, kw_only=True):
    """One split: `sequences` and `tokens` count copies, `stored` documents and `stored_tokens` stand in the `.bin`.

    Both are the same where copies are written out.
    """

    sequences: int
    tokens: int
    stored: int
    stored_tokens: int


class ShardsResult(StageResult, frozen=True, kw_only=True):
    """What was written, with which tokenizer (its hash); `materialized` where every copy stands in the `.bin`."""

    vocab_size: int
    tokenizer: str
    dtype: str
    splits: dict[str, SplitShards]
    materialized: bool = False


class _Stored(NamedTuple):
    """The finished parts of one split, and the ids of each document in them, int32 in plan order."""

    parts: list[Part]
    sizes: np.ndarray


@holding_root
def write_shards_of_plan(
    root: str | Path,
    encoder: Encoder,
    *,
    materialize: bool = False,
    jobs: int = 1,
    scheduler: str = "process",
    reporter: Reporter = SILENT,
) -> ShardsResult:
    """Encodes every document of the plan of `root` once and writes the shards of each split.

    `materialize` writes each copy out, in the order of the index. Raises UsageError where there is no plan or the
    encoder's ids do not fit the format.
    """
    root = Path(root)
    started_at = time.time()
    planned = read_manifest(root / "plan")
    if planned is None:
        raise UsageError(f"{root} has no plan yet", hint=f"pile build --root {root}")
    folder = root / "shards"
    inputs = {"plan": planned.digest(), "tokenizer": encoder.hash}
    key = StageKey(stage="shards", format=FORMAT, inputs=inputs, parameters={"materialize": materialize})
    if manifest := finished(folder, key):
        return stage_result(ShardsResult, folder, manifest, up_to_date=True)
    withdraw(folder)
    plan = Plan.read(root)
    tasks = file_tasks(plan, "part", CarriedEncoder(encoder))
    with work_folder(folder, key, needs_bytes=_needs_bytes(plan, tasks, encoder, materialize)) as work:
        workers = Workers(jobs=jobs, scheduler=scheduler, reporter=reporter)
        with contextlib.closing(_ShardsWriter(plan, folder, work, tasks, encoder.dtype, materialize)) as writer:
            writer.encode(workers)
            written = {split: row for split in SPLITS if (row := writer.write(split)) is not None}
        counts = {
            "vocab_size": encoder.vocab_size,
            "tokenizer": encoder.hash,
            "dtype": str(encoder.dtype),
            "splits": written,
            "materialized": materialize,
        }
        manifest = publish(folder, key, outputs=writer.outputs, counts=counts, started_at=started_at)
    return stage_result(ShardsResult, folder, manifest, up_to_date=False)


def _needs_bytes(plan: Plan, tasks: list[Task], encoder: Encoder, materialize: bool) -> int:
    """About what stands on the disk when most does: the parts, the largest a second time, or all copies beside them."""
    copies = plan.column("copies").astype("int64")
    text_bytes = plan.column("bytes").astype("int64")
    stored = int(text_bytes[copies > 0].sum())
    beside = int((copies * text_bytes).sum()) if materialize else max((task.size for task in tasks), default=0)
    ids_bytes = int((stored + beside) * TOKENS_PER_BYTE) * encoder.dtype.itemsize
    return ids_bytes + INDEX_BYTES_PER_COPY * int(copies.sum())


def encode_file(folder: Path, root: str, component: int, file: int, carried: CarriedEncoder) -> dict[str, int]:
    """A task: the documents of one file, `<split>.bin` and their sizes per split. Returns documents per split."""
    import numpy as np

    plan = Plan.read_file(Path(root), component, file)
    rows = plan.rows_of(component, file)
    splits = plan.column("split")[rows]
    present = [number for number in range(len(SPLITS)) if (splits == number).any()]
    with contextlib.ExitStack() as stack:
        # All splits at once: the file is read one time.
        parts = {
            number: stack.enter_context(open_part(folder / f"{SPLITS[number]}.bin", carried.encoder))
            for number in present
        }
        for planned, number in zip(read_file_rows(plan, component, file, rows), splits.tolist(), strict=True):
            parts[number].add(planned.text)
    for number in present:
        path = folder / f"{SPLITS[number]}.sizes.npy"
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, parts[number].sizes, allow_pickle=False)
    return {SPLITS[number]: len(parts[number].sizes) for number in present}


class _ShardsWriter:
    """Has the parts encoded and makes the files of splits of them; `outputs` are those made so far."""

    def __init__(
        self, plan: Plan, folder: Path, work: Path, tasks: list[Task], dtype: np.dtype, materialize: bool
    ) -> None:
        self.outputs: list[OutputFile] = []
        self._plan, self._folder, self._work, self._tasks = plan, folder, work, tasks
        self._dtype, self._materialize = dtype, materialize
        # Of splits whose parts are not joined yet.
        self._joiners = {
            split: Joiner(self._joined(split))
            for split in SPLITS
            if not materialize and not self._record(split).exists()
        }
        self._encoded: set[str] = set()
        self._taken = 0

    def close(self) -> None:
        """Closes what is open; the writer is of no use then."""
        for joiner in self._joiners.values():
            joiner.close()

    def encode(self, workers: Workers) -> None:
        """Makes the parts; those at the front are joined while workers are at the others."""
        begun = starting_order(self._tasks, workers.jobs)

        def take(number: int) -> None:
            self._encoded.add(begun[number].name)
            while self._taken < len(self._tasks) and self._tasks[self._taken].name in self._encoded:
                self._join_parts_of(self._tasks[self._taken])
                self._taken += 1

        run_tasks(
            encode_file,
            begun,
            work=self._work,
            workers=workers,
            label="shards",
            unit="bytes",
            on_finished=take,
        )

    def _join_parts_of(self, task: Task) -> None:
        for split, joiner in self._joiners.items():
            sizes = self._sizes(split, task)
            if sizes is not None:
                joiner.append(self._part(split, task, sizes))

    def write(self, split: str) -> dict[str, int] | None:
        """Writes the three files of a split and returns the counts of SplitShards, None where it has no documents."""
        stored = self._read_parts(split)
        prefix = self._folder / split
        if not stored.parts:
            for suffix in SUFFIXES:
                with_suffix(prefix, suffix).unlink(missing_ok=True)
            return None
        entries = self._plan.entries(split)
        rows = entry_rows(self._plan, split, entries)
        sizes, pointers = assemble_index(stored.sizes, stored_pointers(stored.sizes, dtype=self._dtype), rows)
        if self._materialize:
            sizes_bytes = sizes.astype("int64") * self._dtype.itemsize
            name, total_bytes = with_suffix(prefix, ".bin"), int(sizes_bytes.sum())
            digest = write_copies(stored.parts, name, pointers=pointers, sizes_bytes=sizes_bytes)
            self.outputs.append(OutputFile(path=name.name, bytes=total_bytes, hash=digest))
            pointers, in_file = stored_pointers(sizes, dtype=self._dtype), sizes
        else:
            self.outputs.append(self._publish_joined(split))
            in_file = stored.sizes
        write_split_index(self._plan, prefix, entries=entries, sizes=sizes, pointers=pointers, dtype=self._dtype)
        self.outputs += [describe(self._folder, with_suffix(prefix, suffix)) for suffix in SUFFIXES[1:]]
        return {
            "sequences": len(sizes),
            "tokens": int(sizes.sum(dtype="int64")),
            "stored": len(in_file),
            "stored_tokens": int(in_file.sum(dtype="int64")),
        }

    def _read_parts(self, split: str) -> _Stored:
        import numpy as np

        parts, all_sizes = [], [np.empty(0, np.int32)]
        for task in self._tasks:
            sizes = self._sizes(split, task)
            if sizes is not None:
                parts.append(self._part(split, task, sizes))
                all_sizes.append(sizes)
        return _Stored(parts, np.concatenate(all_sizes))

    def _sizes(self, split: str, task: Task) -> np.ndarray | None:
        import numpy as np

        path = self._work / task.name / f"{split}.sizes.npy"
        return np.load(path, allow_pickle=False) if path.exists() else None

    def _part(self, split: str, task: Task, sizes: np.ndarray) -> Part:
        return Part(self._work / task.name / f"{split}.bin", int(sizes.sum(dtype="int64")) * self._dtype.itemsize)

    def _joined(self, split: str) -> Path:
        return self._work / f"{split}.bin"

    def _record(self, split: str) -> Path:
        return self._work / f"{split}.json"

    def _publish_joined(self, split: str) -> OutputFile:
        """The `.bin` of a split. What it is stands in the work folder before it gets its name, because then no part is
        left to tell by whether a file of that name is this one."""
        joined, record, final = self._joined(split), self._record(split), self._folder / f"{split}.bin"
        if split in self._joiners:
            digest = self._joiners[split].finish()
            output = OutputFile(path=final.name, bytes=self._joiners[split].bytes, hash=digest)
            write_bytes(record, msgspec.json.encode(output))
        output = read_json(record, OutputFile, limit_bytes=RECORD_LIMIT_BYTES)
        if joined.exists():
            refuse_if_displaced()
            joined.replace(final)
            fsync_folder(self._folder)
        elif not final.exists() or describe(self._folder, final) != output:
            raise CorruptData(f"{final} was changed while it was written", hint=f"rm -r {self._work}, then again")
        return output


def entry_rows(plan: Plan, split: str, entries: Entries) -> np.ndarray:
    """Which stored document of a split each entry is; those of the plan that have no copy are not stored."""
    import numpy as np

    stored = (plan.column("split") == SPLITS.index(split)) & (plan.column("copies") > 0)
    return (np.cumsum(stored) - 1)[entries.row]


def write_split_index(
    plan: Plan, prefix: Path, *, entries: Entries, sizes: np.ndarray, pointers: np.ndarray, dtype: np.dtype
) -> None:
    """Writes `.idx` and `.docs.arrow` of a prefix in the order of `entries`, whose `sizes` and `pointers` are given."""
    import numpy as np

    doc_idx = np.arange(len(sizes) + 1, dtype=np.int64)
    write_index(with_suffix(prefix, ".idx"), dtype=dtype, sizes=sizes, pointers=pointers, doc_idx=doc_idx)
    columns: dict[str, Any] = {name: plan.column(name)[entries.row] for name in ("component", "file", "line", "bytes")}
    write_provenance(
        with_suffix(prefix, ".docs.arrow"),
        **columns,
        copy=entries.copy,
        components=[component.slug for component in plan.header.components],
        files={component.slug: component.files for component in plan.header.components},
    )


def with_suffix(prefix: Path, suffix: str) -> Path:
    """`<prefix><suffix>`; dots in the prefix are part of its name."""
    return prefix.with_name(prefix.name + suffix)
