"""Time and peak memory of planning synthetic keep-lists, by number of documents, up to those of the whole Pile.

    python benchmarks/plan_scale.py FOLDER [--documents 1000000 10000000 20000000] [--duplicates drop]
    python benchmarks/plan_scale.py FOLDER --documents 146340692

The documents are those of the 22 components in their published proportions, in files of two million; 10% are near
duplicates of others, 2% equal to another after normalization. The Pile's weights make 1.5 copies of each. FOLDER takes
the keep-list and the plan, some 90 bytes a document, which are removed. `pile build --no-write-corpus` is run in a
process of its own; the files are made before, and may still be in the system's cache. The machine code of the kernels
is made before the clock runs. Peak memory is that of all processes, measured as by `memory.py`. Then the plan is read:
sums over it, and the rows of its first file.

Exits with 1 where a bar is missed: more memory than is stated (`pile_toolkit/chain/memory.py`), more than 4 GiB, time
growing faster than n^1.1 from size to size, a copy behind one of the same text.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lsh_scale import mixed
from memory import MIB, measure

from pile_toolkit.chain.memory import MemoryInput, memory_bounds
from pile_toolkit.core.components import component_folder
from pile_toolkit.core.manifest import StageKey, describe, publish
from pile_toolkit.core.plan import Plan, PlanComponent
from pipelines.catalog import components
from pipelines.keep_list import KEEP_LIST_FILE, schema, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 17
FILE_DOCUMENTS = 2_000_000
MEAN_BYTES = 6_000
GROWTH_BAR, MEMORY_BAR_BYTES = 1.1, 4 << 30
SHARES = ("--val-share", "0.001", "--test-share", "0.001")


def main() -> int:
    """Prints a Markdown table and what was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="scratch space on a disk")
    parser.add_argument("--documents", type=int, nargs="+", default=[1_000_000, 10_000_000, 20_000_000])
    parser.add_argument("--duplicates", choices=["drop", "keep"], default="drop")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    from pipelines.build.loading import load_build

    load_build()
    results = [run_size(arguments, documents) for documents in sorted(arguments.documents)]
    missed = show(results)
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


# The input


def numbers_of(documents: int) -> dict[str, int]:
    """Documents per component, in the proportions of the Pile."""
    published = {row.slug: row.documents for row in components()}
    whole = sum(published.values())
    found = {slug: max(1, documents * count // whole) for slug, count in published.items()}
    found["pile-cc"] += documents - sum(found.values())
    return found


def make(root: Path, documents: int) -> None:
    """Components of which only the manifests are there, and a keep-list of them."""
    of_component = numbers_of(documents)
    header, digests = [], {}
    for slug, count in of_component.items():
        folder = component_folder(root, slug)
        folder.mkdir(parents=True)
        counts = []
        for number, first in enumerate(range(0, count, FILE_DOCUMENTS)):
            name, held = f"{number:03d}.jsonl.zst", min(FILE_DOCUMENTS, count - first)
            (folder / name).write_bytes(f"{slug} {number}".encode())
            counts.append({"name": name, "documents": held, "text_bytes": held * MEAN_BYTES, "rejects": 0})
        outputs = [describe(folder, folder / row["name"]) for row in counts]
        key = StageKey(stage="download", format=1, parameters={"component": slug})
        digests[slug] = publish(folder, key, outputs=outputs, counts={"files": counts}, started_at=time.time()).digest()
        header.append(PlanComponent(slug=slug, files=[row["name"] for row in counts]))
    path = root / "dedup" / KEEP_LIST_FILE
    write_rows(path, schema(), rows(list(of_component.values())), header)
    key = StageKey(stage="dedup", format=3, inputs=digests, parameters={"method": "minhash"})
    publish(root / "dedup", key, outputs=[describe(root / "dedup", path)], counts={}, started_at=time.time())


def rows(of_component: list[int]) -> Iterator[dict[str, np.ndarray]]:
    """Blocks of rows. Every tenth document is near one drawn among those before it, every fiftieth equals one."""
    start = 0
    for component, count in enumerate(of_component):
        for first in range(0, count, BLOCK):
            place = np.arange(first, min(first + BLOCK, count), dtype=np.uint64)
            number = place + np.uint64(start)
            drawn = mixed(number)
            source = drawn % (number // np.uint64(10) + np.uint64(1)) * np.uint64(10)
            near, equal = number % np.uint64(10) == 9, number % np.uint64(50) == 1
            normalized = np.where(equal, source, number)
            yield {
                "component": np.full(len(place), component, np.uint8),
                "file": (place // np.uint64(FILE_DOCUMENTS)).astype(np.uint32),
                "line": place % np.uint64(FILE_DOCUMENTS) + np.uint64(1),
                "bytes": drawn >> np.uint64(40) & np.uint64(0x3FFF),
                "text_hash": np.stack([drawn, mixed(drawn)], axis=1),
                "normalized_hash": np.stack([mixed(~normalized), mixed(normalized)], axis=1),
                "cluster": np.where(near, source, number),
                "kept": (~near).astype(np.uint8),
                "reason": near.astype(np.uint8) * np.uint8(2),
                "similarity": np.full(len(place), np.nan, np.float32),
            }
        start += count


# Running


def run_size(arguments: argparse.Namespace, documents: int) -> dict[str, Any]:
    """Time, memory and counts of one size."""
    root = arguments.folder / f"plan-of-{documents}"
    shutil.rmtree(root, ignore_errors=True)
    try:
        before = time.monotonic()
        make(root, documents)
        print(f"{documents:,} documents made in {time.monotonic() - before:.0f} s", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "pile_toolkit", "build", "--root", str(root), "--no-write-corpus", *SHARES]
        used, before = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        peak = measure([*command, "--duplicates", arguments.duplicates])
        elapsed_s, now = time.monotonic() - before, resource.getrusage(resource.RUSAGE_CHILDREN)
        counts = json.loads((root / "plan" / "manifest.json").read_bytes())["counts"]
        before = time.monotonic()
        totals = Plan.read(root).totals()
        read_s = time.monotonic() - before
        before = time.monotonic()
        Plan.read_file(root, 0, 0)
        return {
            "documents": documents,
            "copies": totals.copies,
            "elapsed_s": elapsed_s,
            "processor_s": now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime,
            "peak": peak,
            "moved": counts["moved_copies"],
            "adjacent": counts["adjacent_copies"],
            "plan_bytes": (root / "plan" / "plan.parquet").stat().st_size,
            "read_s": read_s,
            "file_s": time.monotonic() - before,
        }
    finally:
        shutil.rmtree(root, ignore_errors=True)


def bound(documents: int, copies: int) -> int:
    """What is stated of the stage."""
    work = MemoryInput(
        documents=documents,
        copies=copies,
        text_bytes=0,
        copied_bytes=0,
        largest_file_documents=FILE_DOCUMENTS,
        largest_component_documents=documents,
        longest_bytes=0,
    )
    return memory_bounds(work)["plan"]


def show(results: list[dict[str, Any]]) -> list[str]:
    """Prints the table; what was missed."""
    names = [
        "documents",
        "copies",
        "s",
        "processor s",
        "peak, MiB",
        "stated",
        "plan, MB",
        "moved",
        "adjacent",
        "sums, s",
        "file, s",
    ]
    print(f"\n| {' | '.join(names)} |")
    print("|---:" * len(names) + "|")
    missed = []
    for row in results:
        stated = bound(row["documents"], row["copies"])
        print(
            f"| {row['documents']:,} | {row['copies']:,} | {row['elapsed_s']:.1f} | {row['processor_s']:.1f} | "
            f"{row['peak'] / MIB:,.0f} | {stated / MIB:,.0f} | {row['plan_bytes'] / 1e6:,.0f} | {row['moved']:,} | "
            f"{row['adjacent']:,} | {row['read_s']:.1f} | {row['file_s']:.2f} |"
        )
        if row["peak"] > min(stated, MEMORY_BAR_BYTES):
            missed.append(f"{row['documents']:,} documents took {row['peak'] / MIB:,.0f} MiB")
        if row["adjacent"]:
            missed.append(f"{row['adjacent']:,} copies are behind one of their own text")
    for small, large in itertools.pairwise(results):
        ratio = math.log(large["processor_s"] / small["processor_s"]) / math.log(
            large["documents"] / small["documents"]
        )
        print(f"\nfrom {small['documents']:,} to {large['documents']:,}: time as n^{ratio:.2f}")
        if ratio > GROWTH_BAR:
            missed.append(f"time grows as n^{ratio:.2f}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
