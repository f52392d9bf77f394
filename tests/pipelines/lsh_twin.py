"""The slow definition of clustering in plain Python, and files of band hashes and sets for tests."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.tasks import Workers
from pipelines.lsh.buckets import find_buckets, piece_bytes
from pipelines.lsh.columns import BandFiles, write_bands
from pipelines.lsh.joining import representatives
from pipelines.lsh.memory import MIB, Memory
from pipelines.lsh.sets import write_sets
from pipelines.lsh.verify import verify_edges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DIGEST = "0123456789abcdef"


@dataclass(frozen=True, kw_only=True)
class Rows(Memory):
    """A memory that holds so many rows a worker: no real one is as small."""

    limit_bytes: int = 1 << 30
    rows: int

    def per_worker(self, **_: object) -> int:
        return piece_bytes(self.rows, 4, 4)


def buckets_of(rows: np.ndarray) -> dict[int, list[list[int]]]:
    """Per band the documents of every bucket of several, each in rising order."""
    found: dict[int, list[list[int]]] = {}
    for band, column in enumerate(rows.T.tolist()):
        members: dict[int, list[int]] = {}
        for document, value in enumerate(column):
            members.setdefault(value, []).append(document)
        found[band] = [bucket for bucket in members.values() if len(bucket) > 1]
    return found


def stars_of(rows: np.ndarray) -> list[tuple[int, int, int]]:
    """(band, centre, member), sorted."""
    return sorted(
        (band, bucket[0], member)
        for band, buckets in buckets_of(rows).items()
        for bucket in buckets
        for member in bucket[1:]
    )


def verified_of(rows, sets, rank, threshold: Fraction, cap: int) -> tuple[list[tuple[int, int]], tuple[int, int, int]]:
    """(edges that stand, sorted), (failed, capped members, capped buckets)."""
    edges, failed, capped_members, capped_buckets = [], 0, 0, 0
    for bucket in (bucket for buckets in buckets_of(rows).values() for bucket in buckets):
        left = sorted(bucket, key=lambda document: (rank[document], document))
        done, limit = 0, cap * len(left)
        while len(left) > 1:
            refused = []
            for place, member in enumerate(left[1:], start=1):
                if done == limit:
                    capped_members += len(left) - place + len(refused)
                    capped_buckets += 1
                    left = []
                    break
                done += 1
                if similarity(sets[left[0]], sets[member]) >= threshold:
                    edges.append((left[0], member))
                else:
                    refused.append(member)
                    failed += 1
            left = refused if left else []
    return sorted(edges), (failed, capped_members, capped_buckets)


def similarity(left: Iterable[int], right: Iterable[int]) -> Fraction:
    one, other = set(left), set(right)
    return Fraction(len(one & other), len(one | other)) if one or other else Fraction(1)


def clusters_of(documents: int, pairs: Iterable[tuple[int, int]], rank: Sequence[int]) -> list[int]:
    """The member of smallest (rank, number) of each document's cluster, by naming every cluster anew at each pair."""
    members = {document: [document] for document in range(documents)}
    for left, right in pairs:
        if members[left] is not members[right]:
            members[left].extend(members[right])
            for document in members[right]:
                members[document] = members[left]
    return [min(members[document], key=lambda other: (rank[other], other)) for document in range(documents)]


def write_rows(folder: Path, rows: np.ndarray, counts: Sequence[int], *, digest: str = DIGEST) -> list[Path]:
    """Band hashes of all documents as files of so many documents."""
    paths, first = [], 0
    for number, count in enumerate(counts):
        path = folder / f"{number}.bands"
        with write_bands(path, bands=rows.shape[1], digest=digest) as writer:
            writer.add(rows[first : first + count])
        paths.append(path)
        first += count
    return paths


def write_all_sets(folder: Path, sets: Sequence[Sequence[int]], counts: Sequence[int]) -> list[Path]:
    """The sets of all documents, in files beside."""
    paths, first = [], 0
    for number, count in enumerate(counts):
        path = folder / f"{number}.sets"
        part = sets[first : first + count]
        offsets = np.cumsum([0, *map(len, part)], dtype=np.int64)
        with write_sets(path, digest=DIGEST) as writer:
            writer.add(np.arange(count), offsets, np.array([value for each in part for value in each], np.uint64))
        paths.append(path)
        first += count
    return paths


def listed(edges, *, with_band: bool = False) -> list[tuple[int, ...]]:
    """All edges, sorted."""
    return sorted(
        (band, *pair) if with_band else tuple(pair) for band, block in edges.blocks() for pair in block.tolist()
    )


def main(folder: Path, jobs: int, limit_mib: int, rows: int) -> None:
    """Clusters the files in a folder, verified where there are sets, into `work` and `result.npy` beside them."""
    columns = BandFiles(sorted(folder.glob("*.bands")))
    work, workers = folder / "work", Workers(jobs=jobs)
    limit = {"limit_bytes": limit_mib * MIB, "jobs": jobs}
    memory = Rows(rows=rows) if rows else Memory(**limit)
    edges = find_buckets(columns, work=work, workers=workers, memory=memory).edges
    if sets := sorted(folder.glob("*.sets")):
        rank = np.arange(columns.documents)[::-1].copy()
        documents = np.diff(columns.firsts).tolist()
        given = {"work": work, "workers": workers, "memory": Memory(**limit)}
        edges = verify_edges(edges, sets=sets, documents=documents, threshold=0.5, rank=rank, **given).edges
    np.save(folder / "result.npy", representatives(edges))
    # The largest resident size this process ever had, in KiB.
    print(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
