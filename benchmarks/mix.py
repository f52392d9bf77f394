"""Seconds that new weights take over many sequences: synthetic sizes, the ids themselves are not read.

    python benchmarks/mix.py FOLDER [--sequences 10000000]

The plan, index and provenance of two components are made in FOLDER first, on a `.bin` that is one hole. Printed are the
wall and processor time of `pile_toolkit.mix_shards`, and the highest memory of the process, which has made them before.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

SLUG = "github"


def main() -> None:
    """Prints one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sequences", type=int, default=10_000_000)
    arguments = parser.parse_args()
    measure_mix(arguments.folder, arguments.sequences)


def measure_mix(folder: Path, sequences: int) -> None:
    """New weights over so many sequences, a third of them copies."""
    import pile_toolkit as pile

    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = Path(scratch)
        make_large_root(root, sequences)
        started, cpu = time.perf_counter(), time.process_time()
        result = pile.mix_shards(root, "new", weights={"arxiv": 2.5, SLUG: 0.7})
        wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counts = result.splits["train"]
    print(
        f"{sequences:,} sequences before, {counts.sequences:,} after: {wall_s:.2f} s, "
        f"{cpu_s:.2f} s of processor time, peak {peak_mib:,.0f} MiB"
    )


def make_large_root(root: Path, sequences: int) -> None:
    """A plan and its shards without texts: `sequences` copies of two thirds as many documents."""
    from pile_toolkit.core.manifest import StageKey, describe, publish
    from pile_toolkit.core.plan import PLAN_FILE, Plan, PlanComponent, PlanHeader, copies_in_order, write_plan
    from shards.assembly import PLAN_COLUMNS, StoredDocuments, write_split_index
    from shards.stage import SUFFIXES

    documents, draw = sequences * 2 // 3, np.random.default_rng(1)
    header = PlanHeader(
        seed=1, components=[PlanComponent(slug=slug, files=["00.jsonl.zst"]) for slug in ("arxiv", SLUG)]
    )
    half, nothing = documents // 2, [None] * documents
    columns = {
        "component": np.repeat(np.array([0, 1], np.uint8), [half, documents - half]),
        "file": np.zeros(documents, np.uint32),
        "line": np.arange(1, documents + 1, dtype=np.uint64),
        "piece_start": nothing,
        "piece_end": nothing,
        "split": np.zeros(documents, np.uint8),
        "copies": np.repeat(np.array([2, 1], np.uint16), [half, documents - half]),
        "bytes": draw.integers(0, 20_000, documents, dtype=np.uint64),
        "text_hash": draw.integers(0, 2**63, (documents, 2), dtype=np.uint64),
        "ordinal": np.zeros(documents, np.uint32),
    }
    write_plan(root / "plan" / PLAN_FILE, header, columns)
    built = StageKey(stage="build", format=1)
    outputs = [describe(root / "plan", root / "plan" / PLAN_FILE)]
    planned = publish(root / "plan", built, outputs=outputs, counts={}, started_at=time.time())
    plan, folder = Plan.read(root), root / "shards"
    folder.mkdir()
    sizes = draw.integers(1, 5000, documents, dtype=np.int32)
    with (folder / "train.bin").open("wb") as file:
        file.truncate(2 * int(sizes.sum(dtype=np.int64)))
    stored = StoredDocuments([sizes], dtype="u2").beside()
    with copies_in_order(plan, "train", root / "order", columns=PLAN_COLUMNS, beside=stored) as copies:
        written = write_split_index(plan.header, folder / "train", copies=copies, dtype=np.dtype("u2"))
    counts = {
        "vocab_size": 50257,
        "tokenizer": "none",
        "dtype": "uint16",
        "splits": {"train": {"sequences": written.sequences, "tokens": 0, "stored": documents, "stored_tokens": 0}},
    }
    key = StageKey(stage="shards", format=1, inputs={"plan": planned.digest(), "tokenizer": "none"})
    # The .bin is a hole of 30 GB: its hash is never looked at.
    outputs = [describe(folder, folder / f"train{suffix}") for suffix in SUFFIXES[1:]]
    outputs.append(outputs[0].__class__(path="train.bin", bytes=(folder / "train.bin").stat().st_size, hash="0" * 32))
    publish(folder, key, outputs=outputs, counts=counts, started_at=time.time())


if __name__ == "__main__":
    main()
