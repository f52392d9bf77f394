"""Time and peak memory of putting `.idx` and `.docs.arrow` together, by number of documents: by ranges, and whole.

    python benchmarks/shard_index_scale.py FOLDER [--documents 1000000 5000000 20000000]

A plan of so many documents without texts, half of them twice, and sizes of stored documents are made in FOLDER. Then
processes of their own write the two files: `ranges` as `pile shards write` does, a range of keys at a time, `whole`
from columns of all copies, as it did before. The bytes of both are compared. Peak memory is measured as by `memory.py`.
FOLDER takes some 200 bytes a document, which are removed.

Exits with 1 where the bytes differ or ranges take more than is stated (`pile_toolkit/chain/memory.py`).
"""

from __future__ import annotations

import argparse
import filecmp
import os
import platform
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

BLOCK = 1 << 17
FILE_DOCUMENTS = 2_000_000
DTYPE = np.dtype("<u2")
WAYS = ("ranges", "whole")


def main() -> int:
    """Prints a Markdown table and what was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="scratch space on a disk")
    parser.add_argument("--documents", type=int, nargs="+", default=[1_000_000, 5_000_000, 20_000_000])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="`whole` takes 250 bytes a document")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        {"ranges": write_by_ranges, "whole": write_whole}[arguments.child](arguments.folder)
        return 0
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print("\n| documents | copies | way | s | processor s | peak, MiB | stated, MiB |")
    print("|---:|---:|---|---:|---:|---:|---:|")
    missed = [line for documents in arguments.documents for line in run_size(arguments, documents)]
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


def run_size(arguments: argparse.Namespace, documents: int) -> list[str]:
    """Prints the rows of one size; what was missed."""
    from memory import MIB, measure

    folder, missed = arguments.folder / f"index-of-{documents}", []
    shutil.rmtree(folder, ignore_errors=True)
    try:
        copies = make(folder, documents)
        stated = bound(documents, copies)
        for way in arguments.ways:
            used, before = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            peak = measure([sys.executable, __file__, str(folder), "--child", way])
            elapsed_s, now = time.monotonic() - before, resource.getrusage(resource.RUSAGE_CHILDREN)
            processor_s = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
            shown = f"{stated / MIB:,.0f}" if way == "ranges" else ""
            print(
                f"| {documents:,} | {copies:,} | {way} | {elapsed_s:.1f} | {processor_s:.1f} | "
                f"{peak / MIB:,.0f} | {shown} |",
                flush=True,
            )
            if way == "ranges" and peak > stated:
                missed.append(f"{documents:,} documents took {peak / MIB:,.0f} MiB")
        for suffix in (".idx", ".docs.arrow"):
            files = [folder / f"{way}{suffix}" for way in arguments.ways]
            if not all(filecmp.cmp(files[0], other, shallow=False) for other in files[1:]):
                missed.append(f"{suffix} of {documents:,} documents differs")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return missed


def bound(documents: int, copies: int) -> int:
    """What is stated of the stage, of documents without a text."""
    from pile_toolkit.chain.memory import MemoryInput, memory_bounds

    work = MemoryInput(
        documents=documents,
        copies=copies,
        text_bytes=0,
        copied_bytes=0,
        largest_file_documents=0,
        largest_component_documents=documents,
        longest_bytes=0,
    )
    return memory_bounds(work)["shards"]


# The input


def make(folder: Path, documents: int) -> int:
    """A plan, and sizes of its stored documents as the parts hold them; returns the number of copies."""
    from pile_toolkit.core.plan import PLAN_FILE, PlanComponent, PlanHeader, write_plan_parts

    files = [f"{number:03d}.jsonl.zst" for number in range(-(-documents // FILE_DOCUMENTS))]
    header = PlanHeader(seed=1, components=[PlanComponent(slug="arxiv", files=files)])
    write_plan_parts(folder / "plan" / PLAN_FILE, header, rows(documents))
    draw = np.random.default_rng(2)
    for number in range(len(files)):
        held = min(FILE_DOCUMENTS, documents - number * FILE_DOCUMENTS)
        np.save(folder / f"{number:03d}.sizes.npy", draw.integers(1, 5000, held, dtype=np.int32))
    return documents + documents // 2


def rows(documents: int) -> Iterator[pa.Table]:
    """Blocks of the plan; every second document has two copies."""
    import pyarrow as pa

    from pile_toolkit.core.plan import schema
    from pile_toolkit.core.tables import column_array

    draw = np.random.default_rng(1)
    for first in range(0, documents, BLOCK):
        number = np.arange(first, min(first + BLOCK, documents))
        nothing = [None] * len(number)
        columns = {
            "component": np.zeros(len(number), np.uint8),
            "file": (number // FILE_DOCUMENTS).astype(np.uint32),
            "line": (number % FILE_DOCUMENTS + 1).astype(np.uint64),
            "piece_start": nothing,
            "piece_end": nothing,
            "split": np.zeros(len(number), np.uint8),
            "copies": (1 + number % 2).astype(np.uint16),
            "bytes": draw.integers(0, 20_000, len(number), dtype=np.uint64),
            "text_hash": draw.integers(0, 2**63, (len(number), 2), dtype=np.uint64),
            "ordinal": np.zeros(len(number), np.uint32),
        }
        yield pa.Table.from_arrays([column_array(columns[f.name], f.type) for f in schema()], schema=schema())


# The two ways


def write_by_ranges(folder: Path) -> None:
    """As the stage does it."""
    from pile_toolkit.core.plan import Plan, copies_in_order
    from shards.assembly import PLAN_COLUMNS, StoredDocuments, write_split_index

    plan = Plan.read(folder)
    stored = StoredDocuments(map(np.load, sorted(folder.glob("*.sizes.npy"))), dtype=DTYPE)
    with copies_in_order(plan, "train", folder / "order", columns=PLAN_COLUMNS, beside=stored.beside()) as copies:
        stored.finish()
        write_split_index(plan.header, folder / "ranges", copies=copies, dtype=DTYPE)


def write_whole(folder: Path) -> None:
    """With all copies and the columns of all in memory."""
    from pile_toolkit.core.plan import Plan
    from shards.format import index_path, write_index
    from shards.provenance import provenance_path, write_provenance
    from shards.writer import stored_pointers

    plan = Plan.read(folder)
    stored = np.concatenate([np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.sizes.npy"))])
    entries, pointers = plan.entries("train"), stored_pointers(stored, dtype=DTYPE)
    wanted = (plan.column("split") == 0) & (plan.column("copies") > 0)
    place = (np.cumsum(wanted) - 1)[entries.row]
    doc_idx = np.arange(len(place) + 1, dtype=np.int64)
    prefix = folder / "whole"
    write_index(index_path(prefix), dtype=DTYPE, sizes=stored[place], pointers=pointers[place], doc_idx=doc_idx)
    component, file, line, text_bytes = (plan.column(n)[entries.row] for n in ("component", "file", "line", "bytes"))
    write_provenance(
        provenance_path(prefix),
        component=component,
        file=file,
        line=line,
        copy=entries.copy,
        bytes=text_bytes,
        components=[known.slug for known in plan.header.components],
        files={known.slug: known.files for known in plan.header.components},
    )


if __name__ == "__main__":
    sys.exit(main())
