"""Shards and a mix of other weights over the same documents, and what a run of several phases reads of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shards.format import data_path, index_path, write_index
from shards.provenance import provenance_path, write_provenance
from tests.shards.twin import twin_samples

if TYPE_CHECKING:
    from pathlib import Path

VOCAB_SIZE = 300
LENGTH, BATCH, STEPS = 16, 8, 10
STATELESS = {
    "data.order": "stateless",
    "train.steps": STEPS,
    "checkpoint.interval": 2,
    "checkpoint.keep_last": 10,
    "validation.interval": 3,
}
# Some documents twice or more; number 7 only in the later weights, number 3 only in the first.
ENTRIES = {"shards": [4, 0, 3, 2, 1, 0, 5, 6, 8, 9], "mixes/more": [9, 7, 7, 2, 0, 7, 1, 8, 4, 6, 5, 7]}


def written_documents() -> list[list[int]]:
    random = np.random.default_rng(3)
    return [random.integers(1, VOCAB_SIZE, size).tolist() for size in (40, 7, 90, 30, 5, 61, 12, 33, 80, 25)]


DOCUMENTS = written_documents()


def sequences(weights: str) -> list[list[int]]:
    return [DOCUMENTS[entry] for entry in ENTRIES[weights]]


def write_shards(folder: Path, entries: list[int]) -> None:
    """Train and val shards over the documents, with the provenance of each entry."""
    folder.mkdir(parents=True)
    starts = [2 * sum(map(len, DOCUMENTS[:number])) for number in range(len(DOCUMENTS))]
    # Held-out shards differ as well, so that one sees which are used.
    for split, numbers in (("train", entries), ("val", entries[:3])):
        prefix = folder / split
        data_path(prefix).write_bytes(b"".join(np.array(ids, "<u2").tobytes() for ids in DOCUMENTS))
        write_index(
            index_path(prefix),
            dtype="u2",
            sizes=[len(DOCUMENTS[number]) for number in numbers],
            pointers=[starts[number] for number in numbers],
            doc_idx=range(len(numbers) + 1),
        )
        write_provenance(
            provenance_path(prefix),
            component=[0] * len(numbers),
            file=[0] * len(numbers),
            line=[number + 1 for number in numbers],
            copy=[numbers[:place].count(number) for place, number in enumerate(numbers)],
            bytes=[100] * len(numbers),
            components=["arxiv"],
            files={"arxiv": ["a"]},
        )


def files_of(run: Path) -> dict[str, bytes]:
    """All that depends on the training alone."""
    paths = [path for path in run.rglob("*") if path.is_file() and not path.name.startswith("timings")]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


def expected_samples(phases, samples: int) -> list[tuple[str, list[tuple[int, int]]]]:
    """(weights, (sequence, offset) of each id) of every sample of a run, phase by phase, in plain Python."""
    found = []
    for phase, end in zip(phases, [*(phase.first_sample for phase in phases[1:]), samples], strict=True):
        weights = next(name for name in ENTRIES if f"/{name}/" in phase.prefix)
        request = {"key": phase.index, "seed": phase.seed, "samples": end - phase.first_sample}
        found += [(weights, ids) for ids in twin_samples(sequences(weights), LENGTH, **request)]
    return found
