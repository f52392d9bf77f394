"""Plan in, corpus files out, in two passes: memory is bounded by one output shard per job.

Pass 1 deals every copy of every document to the bucket of its output file, pass 2 sorts each bucket by key. A train
shard is a range of the key, so the shards one after the other are the plan's order, whatever their number.
"""

from __future__ import annotations

import io
import json
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import zstandard

from pile_toolkit.core.components import downloaded_slugs, read_component
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.documents import DocumentWriter, decode_meta
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import fsync_folder
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import StageKey, describe, publish, read_manifest, withdraw
from pile_toolkit.core.plan import SPLITS, Plan, file_tasks, read_file_rows
from pile_toolkit.core.stages import StageResult, finished, stage_result
from pile_toolkit.core.tasks import Task, Workers, run_tasks, work_folder
from pipelines.download import pile_set_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.manifest import Manifest

FORMAT = 1
# Buckets are read once and thrown away: speed before size.
BUCKET_LEVEL = 1
BUCKET_BLOCK_BYTES = 1 << 18
SORTED_FILE = "sorted.jsonl.zst"
_HEADER = struct.Struct("<QQHQQ")


class CorpusResult(StageResult, frozen=True, kw_only=True):
    """Copies and bytes written per split; `files` is the number of `.jsonl.zst` files."""

    files: int
    documents: dict[str, int]
    text_bytes: dict[str, int]


class _Named(msgspec.Struct):
    pile_set_name: str | msgspec.UnsetType = msgspec.UNSET


def corpus_names(train_shards: int) -> list[str]:
    """The files of the corpus in the Pile's layout, buckets numbered as in this list."""
    digits = max(2, len(str(train_shards - 1)))
    train = [f"train/{shard:0{digits}d}.jsonl.zst" for shard in range(train_shards)]
    return [*train, "val.jsonl.zst", "test.jsonl.zst"]


@holding_root
def write_corpus_files(
    root: str | Path,
    *,
    train_shards: int = 30,
    jobs: int = 1,
    scheduler: str = "process",
    reporter: Reporter = SILENT,
) -> CorpusResult:
    """Writes `corpus/train/NN.jsonl.zst`, `val.jsonl.zst` and `test.jsonl.zst` from the plan of `root`."""
    root = Path(root)
    started_at = time.time()
    planned = read_manifest(root / "plan")
    if planned is None:
        raise UsageError(f"{root} has no plan yet", hint=f"pile build --root {root}")
    folder = root / "corpus"
    # The plan knows texts only; what else a document says is in the components.
    inputs = {slug: read_component(root, slug).digest for slug in downloaded_slugs(root)}
    key = StageKey(
        stage="corpus",
        format=FORMAT,
        inputs={"plan": planned.digest(), **inputs},
        parameters={"train_shards": train_shards},
    )
    if manifest := finished(folder, key):
        return stage_result(CorpusResult, folder, manifest, up_to_date=True)
    withdraw(folder)
    workers = Workers(jobs=jobs, scheduler=scheduler, reporter=reporter)
    with work_folder(folder, key, needs_bytes=_needs_bytes(root, planned)) as work:
        dealt = _deal(Plan.read(root), work, train_shards, workers)
        written = _sort(work, dealt, train_shards, workers)
        names = [name for name, counts in written.items() if counts["documents"] or name.startswith("train/")]
        _move_in(folder, work, list(written), set(names))
        counts = _counts(written, len(names))
        outputs = [describe(folder, folder / name) for name in names]
        manifest = publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    return stage_result(CorpusResult, folder, manifest, up_to_date=False)


def _needs_bytes(root: Path, planned: Manifest) -> int:
    """About what buckets and files need beside each other, if the corpus compresses as its components do."""
    components = [read_component(root, slug) for slug in downloaded_slugs(root)]
    stored_bytes = sum(file.path.stat().st_size for item in components for file in item.files)
    text_bytes = sum(item.text_bytes for item in components)
    return 2 * planned.counts["bytes"] * stored_bytes // max(text_bytes, 1)


def _deal(plan: Plan, work: Path, train_shards: int, workers: Workers) -> list[str]:
    tasks = file_tasks(plan, "deal", train_shards)
    run_tasks(deal_file, tasks, work=work, workers=workers, label="corpus, pass 1", unit="bytes")
    return [task.name for task in tasks]


def deal_file(folder: Path, root: str, component: int, file: int, train_shards: int) -> int:
    """A task of pass 1: every copy of one file's documents into `<bucket>.zst`. Returns the number of copies."""
    plan = Plan.read_file(Path(root), component, file)
    rows = plan.rows_of(component, file)
    # Copies of a row stand in sequence and rows ascend, as their texts come.
    places = zip(*plan.copies_of(rows), strict=True)
    place = next(places, None)
    name = pile_set_name(plan.header.components[component].slug)
    copies = 0
    with _Buckets(folder) as buckets:
        for planned in read_file_rows(plan, component, file, rows):
            text, meta = planned.text.encode(), with_set_name(planned.meta, name)
            split = int(plan.column("split")[planned.row])
            while place is not None and place[0] == planned.row:
                _, copy, key = map(int, place)
                bucket = (key * train_shards >> 64) if split == 0 else train_shards + split - 1
                header = _HEADER.pack(key, plan.first_row + planned.row, copy, len(text), len(meta))
                buckets.write(bucket, header, text, meta)
                copies += 1
                place = next(places, None)
    return copies


class _Buckets:
    """One compressed file per bucket, a frame per block: ten thousand of them need no ten thousand open files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._compressor = zstandard.ZstdCompressor(level=BUCKET_LEVEL)
        self._pending: dict[int, bytearray] = {}

    def __enter__(self) -> _Buckets:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is None:
            for bucket in list(self._pending):
                self._flush(bucket)

    def write(self, bucket: int, *parts: bytes) -> None:
        pending = self._pending.setdefault(bucket, bytearray())
        for part in parts:
            pending += part
        if len(pending) >= BUCKET_BLOCK_BYTES:
            self._flush(bucket)

    def _flush(self, bucket: int) -> None:
        with (self._folder / f"{bucket}.zst").open("ab") as file:
            file.write(self._compressor.compress(self._pending.pop(bucket)))


def with_set_name(meta: bytes, name: str) -> bytes:
    """A meta object that says its component; one that already does is returned as it came, byte for byte."""
    try:
        present = msgspec.json.decode(meta, type=_Named).pile_set_name
    except msgspec.DecodeError:
        # A name that is no string, or NaN somewhere, which only Python's own library reads.
        values = decode_meta(meta)
        present = values.get("pile_set_name", msgspec.UNSET)
        if not isinstance(present, str | msgspec.UnsetType):
            # The one case in which something has to give way.
            return json.dumps({**values, "pile_set_name": name}, ensure_ascii=False).encode()
    if isinstance(present, str):
        return meta
    rest = meta.lstrip()[1:]
    comma = b"" if rest.lstrip().startswith(b"}") else b","
    return b'{"pile_set_name":' + msgspec.json.encode(name) + comma + rest


def _sort(work: Path, dealt: list[str], train_shards: int, workers: Workers) -> dict[str, dict[str, int]]:
    names = corpus_names(train_shards)
    sources = [str((work / name).resolve()) for name in dealt]
    tasks = [Task(f"sort-{bucket}", (bucket, sources)) for bucket in range(len(names))]
    counts = run_tasks(sort_bucket, tasks, work=work, workers=workers, label="corpus, pass 2", unit="files")
    return dict(zip(names, counts, strict=True))


def sort_bucket(folder: Path, bucket: int, sources: list[str]) -> dict[str, int]:
    """A task of pass 2: one bucket in memory, sorted by (key, row, copy), written as its corpus file."""
    records = [record for source in sources for record in _read_bucket(Path(source) / f"{bucket}.zst")]
    records.sort(key=lambda record: record[:3])
    with DocumentWriter(folder / SORTED_FILE) as writer:
        for _, _, _, text, meta in records:
            writer.write(text.decode(), meta)
    return {"documents": writer.documents, "text_bytes": writer.text_bytes}


def _read_bucket(path: Path) -> Iterator[tuple[int, int, int, bytes, bytes]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        buffered = io.BufferedReader(stream)
        while header := buffered.read(_HEADER.size):
            key, row, copy, text_bytes, meta_bytes = _HEADER.unpack(header)
            yield key, row, copy, buffered.read(text_bytes), buffered.read(meta_bytes)


def _move_in(folder: Path, work: Path, buckets: list[str], wanted: set[str]) -> None:
    """The sorted buckets under their names, and no file of an earlier corpus beside them."""
    (folder / "train").mkdir(exist_ok=True)
    for bucket, name in enumerate(buckets):
        made = work / f"sort-{bucket}" / SORTED_FILE
        # A run that was killed here has moved some already.
        if name in wanted and made.exists():
            made.replace(folder / name)
    for path in [*folder.glob("*.jsonl.zst"), *folder.glob("train/*.jsonl.zst")]:
        if str(path.relative_to(folder)) not in wanted:
            path.unlink()
    fsync_folder(folder / "train")
    fsync_folder(folder)


def _counts(written: dict[str, dict[str, int]], files: int) -> dict[str, Any]:
    documents, text_bytes = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    for name, counts in written.items():
        split = name.split("/")[0].split(".")[0]
        documents[split] += counts["documents"]
        text_bytes[split] += counts["text_bytes"]
    return {"files": files, "documents": documents, "text_bytes": text_bytes}
