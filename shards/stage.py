"""Plan and encoder in, `shards/<split>.bin/.idx/.docs.arrow` out: each kept document encoded and stored once.

The `.bin` holds documents in plan order, parts of it (one per component file and split) encoded by several processes
and joined. The `.idx` is in the order of the corpus and names a document once per copy, so that weights live in the
index. Materialized shards hold every copy instead, in the order of the `.idx`, for readers that ignore its pointers.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import fsync_folder, write_bytes
from pile_toolkit.core.held import refuse_if_displaced
from pile_toolkit.core.jsonfile import RECORD_LIMIT_BYTES, read_json
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import OutputFile, StageKey, describe, publish, withdraw
from pile_toolkit.core.plan import SPLITS, FileTexts, Plan, copies_in_order, file_tasks, plan_manifest
from pile_toolkit.core.stages import StageResult, finished, stage_result
from pile_toolkit.core.tasks import Workers, run_tasks, starting_order, work_folder
from shards.assembly import PLAN_COLUMNS, StoredDocuments, Written, places_of, write_split_index
from shards.encoder import CarriedEncoder
from shards.joining import Joiner, Part, write_copies
from shards.writer import SIZES_SUFFIX, open_split_part, read_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.tasks import Task
    from shards.encoder import Encoder
    from shards.writer import SplitPart

FORMAT = 1
# Of English and code about 0.25, of what is written in other alphabets more.
TOKENS_PER_BYTE = 0.35
# In `.idx` and `.docs.arrow`.
INDEX_BYTES_PER_COPY = 48
# While these are made.
ORDER_BYTES_PER_COPY = 51
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
    planned = plan_manifest(root)
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
    totals = plan.totals()
    stored = sum(plan.file_sizes().values())
    beside = totals.copied_bytes if materialize else max((task.size for task in tasks), default=0)
    ids_bytes = int((stored + beside) * TOKENS_PER_BYTE) * encoder.dtype.itemsize
    return ids_bytes + (INDEX_BYTES_PER_COPY + ORDER_BYTES_PER_COPY) * totals.copies


def encode_file(folder: Path, root: str, component: int, file: int, carried: CarriedEncoder) -> dict[str, int]:
    """A task: the documents of one file, `<split>.bin` and their sizes per split. Returns documents per split."""
    plan = Plan.read(Path(root))
    texts = FileTexts(plan, component, file)
    parts: dict[int, SplitPart] = {}
    with contextlib.ExitStack() as stack:
        # All splits at once: the file is read one time. In memory are the rows of one block.
        for block in plan.file_blocks(component, file):
            rows = block.rows_of(component, file)
            splits = block.column("split")[rows].tolist()
            for planned, number in zip(texts.of(block, rows), splits, strict=True):
                if number not in parts:
                    parts[number] = stack.enter_context(open_split_part(folder / SPLITS[number], carried.encoder))
                parts[number].texts.add(planned.text)
            for part in parts.values():
                part.put_sizes_down()
    return {SPLITS[number]: parts[number].documents for number in sorted(parts)}


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
            if self._sizes(split, task).exists():
                joiner.append(self._part(split, task))

    def write(self, split: str) -> dict[str, int] | None:
        """Writes the three files of a split and returns the counts of SplitShards, None where it has no documents."""
        parts, prefix = self._parts(split), self._folder / split
        if not parts:
            for suffix in SUFFIXES:
                with_suffix(prefix, suffix).unlink(missing_ok=True)
            return None
        stored = StoredDocuments(self._all_sizes(split), dtype=self._dtype)
        order = copies_in_order(
            self._plan, split, self._work / f"{split}.order", columns=PLAN_COLUMNS, beside=stored.beside()
        )
        with order as copies:
            stored.finish()
            written = write_split_index(
                self._plan.header, prefix, copies=copies, dtype=self._dtype, apart=self._materialize
            )
            if self._materialize:
                name, needs_bytes = with_suffix(prefix, ".bin"), written.tokens * self._dtype.itemsize
                places = places_of(copies, self._dtype)
                digest = write_copies(parts, name, places=places, needs_bytes=needs_bytes)
                self.outputs.append(OutputFile(path=name.name, bytes=needs_bytes, hash=digest))
                in_file = written
            else:
                self.outputs.append(self._publish_joined(split))
                in_file = Written(stored.taken, stored.tokens)
        self.outputs += [describe(self._folder, with_suffix(prefix, suffix)) for suffix in SUFFIXES[1:]]
        return {
            "sequences": written.sequences,
            "tokens": written.tokens,
            "stored": in_file.sequences,
            "stored_tokens": in_file.tokens,
        }

    def _parts(self, split: str) -> list[Part]:
        return [self._part(split, task) for task in self._tasks if self._sizes(split, task).exists()]

    def _all_sizes(self, split: str) -> Iterator[np.ndarray]:
        for task in self._tasks:
            if (path := self._sizes(split, task)).exists():
                yield from read_sizes(path)

    def _sizes(self, split: str, task: Task) -> Path:
        return self._work / task.name / f"{split}{SIZES_SUFFIX}"

    def _part(self, split: str, task: Task) -> Part:
        ids = sum(int(sizes.sum(dtype="int64")) for sizes in read_sizes(self._sizes(split, task)))
        return Part(self._work / task.name / f"{split}.bin", ids * self._dtype.itemsize)

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


def with_suffix(prefix: Path, suffix: str) -> Path:
    """`<prefix><suffix>`; dots in the prefix are part of its name."""
    return prefix.with_name(prefix.name + suffix)
