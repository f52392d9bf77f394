"""Time and peak memory of clustering synthetic band hashes, by size; datasketch beside it at the first size.

    python benchmarks/lsh_scale.py FOLDER [--documents 1000000 5000000 20000000] [--memory 1GiB] [--jobs 1] [--rounds 3]
    python benchmarks/lsh_scale.py FOLDER --documents 146000000 --memory 4GiB --jobs 2 --rounds 1
    python benchmarks/lsh_scale.py FOLDER --documents 1000000 --sets 300

Of the documents 10% are copies of others drawn at random, with the same hash in all 9 bands: the most work that so many
duplicates can make. FOLDER takes the files, 72 bytes a document, and about 8 of edges; they are removed. Each size is
clustered in a process of its own: the clock runs from files of band hashes on the disk to the representative of every
document in memory, without the start of Python. The files are made before, and may still be in the system's cache.
Growth and comparison are judged by processor time, of all processes and with the start of the workers, which a busy
machine changes least. Peak memory is measured as by `memory.py`. The number of clusters is checked. With --sets the
copies get shingle sets of that size (every fourth copy one that is not similar), and edges are verified at 0.8.

datasketch's `MinHashLSH` (9 bands of 13 of 128 permutations) is given signatures made in advance, so ours is timed from
signatures too there: its band hashes are made with numpy. Exits with 1 where a bar is missed: time growing faster than
n^1.1 from size to size, more memory than was given, less than 30 times datasketch, more than 12 minutes.
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
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from memory import MIB, measure

BANDS, ROWS, NUM_PERM = 9, 13, 128
COPIES = 0.1
FILES = 22
BLOCK = 1 << 17
DIGEST = "0" * 16
SCHEME = "affine32"
THRESHOLD = 0.8
GROWTH_BAR, DATASKETCH_BAR, TIME_BAR_S = 1.1, 30.0, 720.0
COMPARED_DOCUMENTS = 30_000
# Hashed together, so that what is made of them stays in the processor's cache.
HASHED_DOCUMENTS = 256
UNITS = {"MiB": 1 << 20, "GiB": 1 << 30}


def main() -> int:
    """Prints a Markdown table and what was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="scratch space on a disk")
    parser.add_argument("--documents", type=int, nargs="+", default=[1_000_000, 5_000_000, 20_000_000])
    parser.add_argument("--memory", type=size_of, default=1 << 30, help="for example 1GiB")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="the fastest counts")
    parser.add_argument("--sets", type=int, default=0, help="shingles of a set; 0: nothing is verified")
    parser.add_argument("--step", choices=["cluster"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        cluster(arguments.folder, arguments.memory, arguments.jobs)
        return 0
    print(
        f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, {arguments.jobs} jobs"
    )
    warm_up(arguments.folder)
    results = [run_size(arguments, documents) for documents in sorted(arguments.documents)]
    missed = show(results, arguments.memory)
    if not arguments.sets and results[0]["documents"] <= 1_000_000:
        missed += compare(results[0])
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


def size_of(text: str) -> int:
    """Bytes of 512MiB or 4GiB."""
    return int(float(text[:-3]) * UNITS[text[-3:]])


def warm_up(folder: Path) -> None:
    """Kernels compiled, if they are not yet: that is done once on a machine."""
    from pipelines.lsh.loading import load_buckets, load_verification

    folder.mkdir(parents=True, exist_ok=True)
    load_buckets()
    load_verification()


# The input


def sources(first: int, count: int, documents: int) -> np.ndarray:
    """Which document each of some is a copy of, itself for most."""
    numbers = np.arange(first, first + count, dtype=np.uint64)
    drawn = mixed(numbers)
    copied = drawn % np.uint64(1000) < np.uint64(1000 * COPIES)
    return np.where(copied, (drawn >> np.uint64(20)) % np.uint64(documents), numbers)


def mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's numbers of these states."""
    values = values * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def make(folder: Path, documents: int, shingles: int) -> int:
    """Writes files of band hashes, and of sets; returns how many documents are not the first of their cluster."""
    from pipelines.lsh.columns import write_bands

    folder.mkdir(parents=True)
    seen, several = np.zeros(documents, np.bool_), np.zeros(documents, np.bool_)
    edges = np.linspace(0, documents, FILES + 1).astype(int)
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        with write_bands(folder / f"{number:02}.bands", bands=BANDS, digest=DIGEST) as writer:
            for first in range(start, end, BLOCK):
                origins = sources(first, min(BLOCK, end - first), documents)
                writer.add(mixed(origins[:, None] * np.uint64(BANDS) + np.arange(BANDS, dtype=np.uint64)))
                if shingles:
                    unique, counts = np.unique(origins, return_counts=True)
                    several[unique[seen[unique] | (counts > 1)]] = True
                seen[origins] = True
    if shingles:
        for number, (start, end) in enumerate(itertools.pairwise(edges)):
            make_sets(folder / f"{number:02}.sets", start, end, documents, several, shingles)
    return documents - int(seen.sum())


def make_sets(path: Path, start: int, end: int, documents: int, several: np.ndarray, shingles: int) -> None:
    """Sets of the documents that have duplicates: those of their origins, but for a shingle or a third of them."""
    from pipelines.lsh.sets import write_sets

    with write_sets(path, digest=DIGEST) as writer:
        for first in range(start, end, BLOCK // 16):
            origins = sources(first, min(BLOCK // 16, end - first), documents)
            own = np.flatnonzero(several[origins])
            origins, numbers = origins[own], own.astype(np.uint64) + np.uint64(first)
            places = np.arange(shingles, dtype=np.uint64)
            values = mixed(origins[:, None] * np.uint64(shingles) + places)
            others = np.where((origins != numbers) & (mixed(numbers) >> np.uint64(62) == 0), shingles // 3, 1)
            others = np.where(origins == numbers, 0, others)
            values = np.where(places[None, :] < others[:, None], mixed(values + numbers[:, None]), values)
            values.sort(axis=1)
            writer.add(own + first - start, np.arange(len(own) + 1) * shingles, values.ravel())


# The measurement


def run_size(arguments: argparse.Namespace, documents: int) -> dict[str, Any]:
    """The fastest of some rounds, each with its peak memory."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        folder = Path(scratch) / "documents"
        started_s = time.perf_counter()
        removed = make(folder, documents, arguments.sets)
        making_s = time.perf_counter() - started_s
        rounds = []
        for _ in range(arguments.rounds):
            memory, jobs = f"{arguments.memory // MIB}MiB", str(arguments.jobs)
            options = ["--step", "cluster", "--memory", memory, "--jobs", jobs]
            peak_bytes = measure([sys.executable, __file__, str(folder), *options])
            found = json.loads((folder / "result.json").read_text())
            rounds.append({**found, "peak_bytes": peak_bytes})
            if not arguments.sets and found["removed"] != removed:
                raise SystemExit(f"{found['removed']:,} documents are not the first of their cluster, not {removed:,}")
            print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)
    best = min(rounds, key=lambda each: each["processor_s"])
    peak_bytes = max(each["peak_bytes"] for each in rounds)
    return {**best, "documents": documents, "making_s": making_s, "peak_bytes": peak_bytes}


def cluster(folder: Path, memory_bytes: int, jobs: int) -> None:
    """Clusters the files of a folder in this process and its workers; leaves the figures beside them."""
    from pile_toolkit.core.tasks import Workers
    from pipelines.lsh.buckets import find_buckets
    from pipelines.lsh.columns import BandFiles
    from pipelines.lsh.joining import representatives
    from pipelines.lsh.memory import Memory
    from pipelines.lsh.verify import verify_edges

    work, workers = folder / "work", Workers(jobs=jobs)
    memory = Memory(limit_bytes=memory_bytes, jobs=jobs)
    times, before_s = [time.perf_counter()], processor_seconds()
    columns = BandFiles(sorted(folder.glob("*.bands")))
    found = find_buckets(columns, work=work, workers=workers, memory=memory)
    times.append(time.perf_counter())
    edges, figures = found.edges, {"buckets": found.buckets, "edges": found.edges.count}
    if sets := sorted(folder.glob("*.sets")):
        documents = np.diff(columns.firsts).tolist()
        given = {"work": work, "workers": workers, "memory": memory}
        verified = verify_edges(edges, sets=sets, documents=documents, threshold=THRESHOLD, **given)
        edges = verified.edges
        figures |= {"verified": edges.count, "failed": verified.failed, "capped": verified.capped_members}
    times.append(time.perf_counter())
    tops = representatives(edges)
    times.append(time.perf_counter())
    figures |= dict(zip(("buckets_s", "verify_s", "join_s"), np.diff(times).tolist(), strict=True))
    figures |= {
        "elapsed_s": times[-1] - times[0],
        "processor_s": processor_seconds() - before_s,
        "removed": int((tops != np.arange(len(tops), dtype=tops.dtype)).sum()),
        "parts": len(found.edges.parts),
    }
    (folder / "result.json").write_text(json.dumps(figures))
    shutil.rmtree(work)


def processor_seconds() -> float:
    """Of this process and of its workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def compare(ours: dict[str, Any]) -> list[str]:
    """datasketch on a part of the input, per document, in this very run."""
    from datasketch import MinHash, MinHashLSH

    origins = sources(0, COMPARED_DOCUMENTS, ours["documents"])
    places = np.arange(NUM_PERM, dtype=np.uint64)
    signatures = mixed(origins[:, None] * np.uint64(NUM_PERM) + places).astype(np.uint32)
    started_s, multipliers = time.process_time(), mixed(np.arange(ROWS, dtype=np.uint64))
    for start in range(0, len(signatures), HASHED_DOCUMENTS):
        banded = signatures[start : start + HASHED_DOCUMENTS, : BANDS * ROWS].astype(np.uint64)
        mixed((banded.reshape(-1, BANDS, ROWS) * multipliers).sum(axis=2, dtype=np.uint64))
    hashing_s = (time.process_time() - started_s) / len(signatures)
    first = MinHash(num_perm=NUM_PERM, scheme=SCHEME)
    sketches = [
        MinHash(num_perm=NUM_PERM, hashvalues=row, permutations=first.permutations, scheme=SCHEME) for row in signatures
    ]
    lsh = MinHashLSH(num_perm=NUM_PERM, params=(BANDS, ROWS))
    started_s = time.process_time()
    for number, sketch in enumerate(sketches):
        lsh.insert(number, sketch)
    inserted_s = time.process_time()
    for sketch in sketches:
        lsh.query(sketch)
    queried_s = time.process_time()
    count = len(sketches)
    theirs_s = (queried_s - started_s) / count
    ours_s = ours["processor_s"] / ours["documents"] + hashing_s
    print(
        f"\nper second of processor time: datasketch {count / (inserted_s - started_s):,.0f} inserts, "
        f"{count / (queried_s - inserted_s):,.0f} queries; ours {1 / (ours_s - hashing_s):,.0f} documents, from "
        f"signatures {1 / ours_s:,.0f}, {theirs_s / ours_s:.0f} times as many"
    )
    return [] if theirs_s / ours_s >= DATASKETCH_BAR else [f"{theirs_s / ours_s:.1f} times datasketch"]


def show(results: list[dict[str, Any]], memory_bytes: int) -> list[str]:
    """Prints the table; what was missed."""
    print(
        "\n| documents | elapsed, s | processor, s | documents per processor second | buckets, verify, join, s elapsed "
        "| peak, MiB | growth |"
    )
    print("|---:|---:|---:|---:|---|---:|---:|")
    missed, before = [], None
    for each in results:
        documents, elapsed_s = each["documents"], each["elapsed_s"]
        growth = 0.0
        if before:
            times = each["processor_s"] / before["processor_s"]
            growth = math.log(times) / math.log(documents / before["documents"])
        parts = ", ".join(f"{each[name]:.2f}" for name in ("buckets_s", "verify_s", "join_s"))
        print(
            f"| {documents:,} | {elapsed_s:.2f} | {each['processor_s']:.2f} "
            f"| {documents / each['processor_s']:,.0f} | {parts} "
            f"| {each['peak_bytes'] / MIB:,.0f} | {f'n^{growth:.2f}' if before else ''} |"
        )
        if growth > GROWTH_BAR:
            missed.append(f"time grows as n^{growth:.2f} to {documents:,} documents")
        if each["peak_bytes"] > memory_bytes:
            missed.append(
                f"{each['peak_bytes'] / MIB:,.0f} MiB of {memory_bytes / MIB:,.0f} at {documents:,} documents"
            )
        if elapsed_s + each["making_s"] > TIME_BAR_S:
            missed.append(f"{elapsed_s + each['making_s']:.0f} s for {documents:,} documents with their hashes made")
        before = each
    for each in results:
        counts = {
            name: each[name] for name in ("edges", "verified", "failed", "capped", "removed", "parts") if name in each
        }
        listed = ", ".join(f"{value:,} {name}" for name, value in counts.items())
        print(f"\n{each['documents']:,} documents: hashes made and written in {each['making_s']:.1f} s; {listed}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
