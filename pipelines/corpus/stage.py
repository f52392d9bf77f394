"""Plan in, corpus files out, in two passes over the text; all processes together stay within `memory`.

Pass 1 deals the line of every copy of every document to the range of its key, pass 2 sorts one range after the other
and writes them as one file. A train shard is a range of the key, so the shards one after the other are the plan's
order, whatever their number. Text is read twice and written twice; scratch files go as soon as the outputs that need
them are there, so that the disk holds them and the outputs, less what was sorted already.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.components import downloaded_slugs, read_component, refuse_changed
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.files import fsync_folder, remove, write_bytes
from pile_toolkit.core.held import refuse_if_displaced
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import OutputFile, StageKey, publish, withdraw
from pile_toolkit.core.memory import machine_bytes
from pile_toolkit.core.plan import SPLITS, Plan, plan_manifest
from pile_toolkit.core.stages import StageResult, finished, stage_result
from pile_toolkit.core.tasks import Task, Workers, run_tasks, work_folder
from pipelines.corpus.blocks import damaged, file_name
from pipelines.corpus.dealing import Dealing, block_file, deal_file
from pipelines.corpus.layout import COPY_BYTES, FileSize, Layout, choose_layout, corpus_names, file_sizes
from pipelines.corpus.memory import Room, run_room
from pipelines.corpus.sorting import SORTED_FILE, sort_output

if TYPE_CHECKING:
    from pile_toolkit.core.components import ComponentDocuments
    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.manifest import Manifest

FORMAT = 1
LAYOUT_FILE = "layout.json"
# Blocks of finished lines, LZ4, beside files of zstd's level 3.
BLOCKS_PER_OUTPUT = 1.6


class CorpusResult(StageResult, frozen=True, kw_only=True):
    """Copies and bytes written per split; `files` is the number of `.jsonl.zst` files."""

    files: int
    documents: dict[str, int]
    text_bytes: dict[str, int]


@holding_root
def write_corpus_files(
    root: str | Path,
    *,
    train_shards: int = 30,
    memory: str | None = None,
    jobs: int = 1,
    scheduler: str = "process",
    reporter: Reporter = SILENT,
) -> CorpusResult:
    """Writes `corpus/train/NN.jsonl.zst`, `val.jsonl.zst` and `test.jsonl.zst` from the plan of `root`.

    `memory`, such as "4GiB", is for all processes together; None: half of what the machine has. Raises UsageError where
    it is too little, or no plan was built.
    """
    root = Path(root)
    started_at = time.time()
    planned = plan_manifest(root)
    folder = root / "corpus"
    # The plan knows texts only; what else a document says is in the components.
    components = [read_component(root, slug) for slug in downloaded_slugs(root)]
    inputs = {component.slug: component.digest for component in components}
    key = StageKey(
        stage="corpus",
        format=FORMAT,
        inputs={"plan": planned.digest(), **inputs},
        parameters={"train_shards": train_shards},
    )
    if manifest := finished(folder, key):
        return stage_result(CorpusResult, folder, manifest, up_to_date=True)
    sizes = file_sizes(root)
    room = _room(sizes, memory, jobs, scheduler)
    withdraw(folder)
    workers = Workers(jobs=jobs, scheduler=scheduler, reporter=reporter)
    names = corpus_names(train_shards)
    with work_folder(folder, key, needs_bytes=_needs_bytes(components, planned)) as work:
        layout = _keep_layout(work, choose_layout(sizes, train_shards, room.sorting_bytes))
        tasks = _deal_tasks(Plan.read(root), sizes, _dealing(sizes, layout, room, work))
        dealt = run_tasks(deal_file, tasks, work=work, workers=workers, label="corpus, pass 1", unit="bytes")
        refuse_changed(root, inputs)
        made = dict(zip(names, _sort(work, tasks, layout, room, workers), strict=True))
        written = dict(zip(names, _sums(dealt, layout.outputs), strict=True))
        if lost := [name for name in names if made[name]["documents"] != written[name][0]]:
            raise damaged(f"what was dealt to {lost[0]}", work)
        wanted = [name for name, (documents, _) in written.items() if documents or name.startswith("train/")]
        _move_in(folder, work, names, wanted)
        outputs = [OutputFile(path=name, bytes=made[name]["bytes"], hash=made[name]["hash"]) for name in wanted]
        manifest = publish(folder, key, outputs=outputs, counts=_counts(written, len(wanted)), started_at=started_at)
    return stage_result(CorpusResult, folder, manifest, up_to_date=False)


def _room(sizes: list[FileSize], memory: str | None, jobs: int, scheduler: str) -> Room:
    largest = max((size.rows for size in sizes), default=0)
    return run_room(memory, jobs=jobs, scheduler=scheduler, largest_rows=largest, needed_bytes=_line_bytes(sizes))


def _line_bytes(sizes: list[FileSize]) -> int:
    """About the bytes of all lines."""
    return sum(sum(size.text_bytes) + COPY_BYTES * sum(size.copies) for size in sizes)


def _needs_bytes(components: list[ComponentDocuments], planned: Manifest) -> int:
    """About what blocks and files need beside each other, if the corpus compresses as its components do."""
    stored_bytes = sum(file.path.stat().st_size for item in components for file in item.files)
    text_bytes = sum(item.text_bytes for item in components)
    return int((1 + BLOCKS_PER_OUTPUT) * planned.counts["bytes"] * stored_bytes / max(text_bytes, 1))


def _keep_layout(work: Path, layout: Layout) -> Layout:
    """The layout of a run that was killed, where it has as many ranges: what it dealt needs not be dealt again.

    Else this one, and nothing is dealt.
    """
    path = work / LAYOUT_FILE
    if path.exists():
        known = msgspec.convert(json.loads(path.read_bytes()), Layout)
        if all(had >= needed for had, needed in zip(known.ranges, layout.ranges, strict=True)):
            return known
        path.unlink()
    for dealt in work.glob("deal-*"):
        refuse_if_displaced()
        remove(dealt)
    write_bytes(path, msgspec.json.encode(layout))
    return layout


def _dealing(sizes: list[FileSize], layout: Layout, room: Room, work: Path) -> Dealing:
    lines = _line_bytes(sizes)
    # What stays in the machine's memory until it is read again need not become smaller for the disk.
    stays = lines <= machine_bytes() // 2 and 2 * lines <= shutil.disk_usage(work).free
    block_bytes = room.block_bytes(layout.buckets)
    return Dealing(layout=layout, block_bytes=block_bytes, compress=not stays, compiled=room.compiled)


def _deal_tasks(plan: Plan, sizes: list[FileSize], dealing: Dealing) -> list[Task]:
    """A task per file that the plan reads, named after it and as large as its text."""
    # Absolute, because workers of another machine stand elsewhere.
    root, how = str(plan.root.resolve()), msgspec.to_builtins(dealing)
    tasks = []
    for size in sizes:
        if sum(size.copies):
            text_bytes = sum(size.text_bytes)
            values = (root, size.component, size.file, text_bytes, how)
            name = f"deal-{plan.header.components[size.component].slug}-{size.file}"
            tasks.append(Task(name, values, size=text_bytes))
    return tasks


def _sort(work: Path, dealt: list[Task], layout: Layout, room: Room, workers: Workers) -> list[dict[str, Any]]:
    """Pass 2, and what it says of each output. A file of blocks goes when all outputs that need it are there."""
    needed_by: dict[str, set[int]] = {}
    sources: list[list[str]] = [[] for _ in range(layout.outputs)]
    whole = work.resolve()
    for task in dealt:
        for output in range(layout.outputs):
            path = f"{whole}/{task.name}/{file_name(block_file(output, layout.outputs, task.size))}"
            needed_by.setdefault(path, set()).add(output)
            sources[output].append(path)

    def remove_read(output: int) -> None:
        for source in sources[output]:
            needed_by[source].discard(output)
            if not needed_by[source]:
                Path(source).unlink(missing_ok=True)

    tasks = []
    for output, paths in enumerate(sources):
        buckets = layout.of_output(output)
        values = (paths, buckets.start, buckets.stop, room.sorting_bytes, room.compiled)
        tasks.append(Task(f"sort-{output}", values))
    return run_tasks(
        sort_output,
        tasks,
        work=work,
        workers=workers,
        label="corpus, pass 2",
        unit="files",
        on_finished=remove_read,
    )


def _move_in(folder: Path, work: Path, names: list[str], wanted: list[str]) -> None:
    """The sorted files under their names, and no file of an earlier corpus beside them."""
    (folder / "train").mkdir(exist_ok=True)
    for output, name in enumerate(names):
        made = work / f"sort-{output}" / SORTED_FILE
        # A run that was killed here has moved some already.
        if name in wanted and made.exists():
            made.replace(folder / name)
    for path in [*folder.glob("*.jsonl.zst"), *folder.glob("train/*.jsonl.zst")]:
        if str(path.relative_to(folder)) not in wanted:
            path.unlink()
    fsync_folder(folder / "train")
    fsync_folder(folder)


def _sums(dealt: list[dict[str, list[int]]], outputs: int) -> list[tuple[int, int]]:
    """(copies, bytes of their texts) of each output."""
    sums = [(0, 0)] * outputs
    for counts in dealt:
        each = zip(sums, counts["documents"], counts["text_bytes"], strict=True)
        sums = [(documents + more, text_bytes + more_bytes) for (documents, text_bytes), more, more_bytes in each]
    return sums


def _counts(written: dict[str, tuple[int, int]], files: int) -> dict[str, Any]:
    documents, text_bytes = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    for name, counted in written.items():
        split = name.split("/")[0].split(".")[0]
        documents[split] += counted[0]
        text_bytes[split] += counted[1]
    return {"files": files, "documents": documents, "text_bytes": text_bytes}
