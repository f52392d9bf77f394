"""Star edges in, those out that stand between sets of shingles similar enough, and how similar the removed ones are.

The files that hold candidates are read once more: the sets of candidates' shingles go to the disk (8 bytes for each
shingle that a document has, about 1.4 times its text), are compared there, and removed at the end of the stage.
A shingle is its 64-bit key: among the sets of a whole Pile's candidates none is expected to look like another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.files import atomic_path
from pile_toolkit.core.tasks import Task, run_tasks
from pipelines.dedup.fingerprints import BATCH_CHARACTERS, BATCH_DOCUMENTS, refuse_changed
from pipelines.lsh.arrays import save_array
from pipelines.lsh.quality import pairs_below
from pipelines.lsh.sets import SetFiles, write_sets
from pipelines.lsh.verify import COMPARISONS_PER_MEMBER, verify_edges
from pipelines.minhash import SignatureSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from pile_toolkit.core.components import ComponentFile
    from pile_toolkit.core.tasks import Workers
    from pipelines.dedup.documents import Documents
    from pipelines.dedup.settings import Settings
    from pipelines.lsh.edges import Edges
    from pipelines.lsh.memory import Memory

CANDIDATES_FILE = "candidates.npy"
CLUSTER_FILE = "cluster.npy"
SETS_FILE = "sets"
SIMILARITY_FILE = "similarity"
# Rows whose similarities a task finds.
TASK_ROWS = 1 << 20
WINDOW_BYTES = 32 << 20
# Documents of clusters among which pairs are drawn: of more, every second cluster, or third, ...
SAMPLED_DOCUMENTS = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What verification leaves behind: the sets, who has one, and what it counted."""

    work: Path
    sets: list[Path]
    documents: list[int]
    failed_pairs: int
    capped_members: int
    capped_buckets: int

    @property
    def candidates(self) -> NDArray[np.bool_]:
        """Which rows have a set, mapped."""
        return np.load(self.work / CANDIDATES_FILE, mmap_mode="r", allow_pickle=False)


def verify_candidates(
    documents: Documents,
    files: Sequence[ComponentFile],
    settings: Settings,
    edges: Edges,
    rank: NDArray[np.int64],
    *,
    work: Path,
    workers: Workers,
    memory: Memory,
) -> tuple[Edges, Evidence]:
    """The edges that stand at the threshold of `settings`. Raises as `verify_edges` and reading documents do."""
    candidates = edges.candidates()
    _save(work / CANDIDATES_FILE, candidates)
    given = str((work / CANDIDATES_FILE).absolute()), msgspec.to_builtins(settings.signature)
    tasks = [
        Task(
            f"sets-{number}",
            (str(file.path.absolute()), file.hash, *given, int(documents.firsts[number]), entry.documents),
            size=file.counts.text_bytes,
        )
        for number, (file, entry) in enumerate(zip(files, documents.stored, strict=True))
    ]
    run_tasks(write_candidates, tasks, work=work / "sets", workers=workers, label="sets of candidates", unit="bytes")
    sets = [work / "sets" / task.name / SETS_FILE for task in tasks]
    counts = [entry.documents for entry in documents.stored]
    found = verify_edges(
        edges,
        sets=sets,
        documents=counts,
        threshold=settings.threshold,
        rank=rank,
        work=work / "stars",
        workers=workers,
        memory=memory,
    )
    return found.edges, Evidence(
        work=work,
        sets=sets,
        documents=counts,
        failed_pairs=found.failed,
        capped_members=found.capped_members,
        capped_buckets=found.capped_buckets,
    )


def _save(path: Path, array: NDArray) -> None:
    with atomic_path(path, needs_bytes=array.nbytes) as temporary:
        save_array(temporary, array)


def write_candidates(
    folder: Path, path: str, file_hash: str, candidates: str, signature: dict[str, Any], first: int, count: int
) -> int:
    """A task: writes the sets of those of a file's documents, rows `first` to `first + count`, that are candidates."""
    wanted = np.load(candidates, mmap_mode="r", allow_pickle=False)[first : first + count]
    settings = msgspec.convert(signature, SignatureSettings)
    chosen = np.flatnonzero(wanted)
    with write_sets(folder / SETS_FILE, digest=settings.digest) as writer:
        if chosen.size:
            refuse_changed(Path(path), file_hash)
            for numbers, texts in _batches(path, iter(chosen.tolist())):
                writer.add(*shingle_sets(numbers, texts, settings))
    return chosen.size


def _batches(path: str, chosen: Iterator[int]) -> Iterator[tuple[list[int], list[str]]]:
    """(numbers in the file, texts) of the chosen documents, some at a time."""
    numbers: list[int] = []
    texts: list[str] = []
    characters, following = 0, next(chosen, None)
    for number, document in enumerate(read_documents(Path(path))):
        if number != following:
            continue
        numbers.append(number)
        texts.append(document.text)
        characters += len(document.text)
        following = next(chosen, None)
        if following is None or len(texts) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield numbers, texts
            numbers, texts, characters = [], [], 0
        if following is None:
            return


def shingle_sets(
    numbers: Iterable[int], texts: Sequence[str], settings: SignatureSettings
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """(numbers, offsets, values): the sets of the keys of the texts' shingles, each sorted, one after the other."""
    from pipelines.minhash.loading import load_kernels

    kernels = load_kernels()
    from pipelines.minhash.folded import TextFolder
    from pipelines.minhash.signer import Signer

    signer, folder = Signer(settings, kernels), TextFolder(settings.folding)
    folder.fold(texts, [text.encode() for text in texts])
    ends, values = signer.key_sets(folder)
    return np.array(list(numbers), np.int64), np.concatenate([np.zeros(1, np.int64), ends]), values


def find_similarities(evidence: Evidence, cluster: NDArray, *, workers: Workers) -> list[Path]:
    """How similar each removed row is to the kept one of its cluster: files of float32, TASK_ROWS rows in each.

    NaN where it is kept, or was no candidate: of equal texts whose shingles nobody compared.
    """
    _save(evidence.work / CLUSTER_FILE, cluster)
    given = str((evidence.work / CLUSTER_FILE).absolute()), str((evidence.work / CANDIDATES_FILE).absolute())
    paths = [str(path.absolute()) for path in evidence.sets]
    tasks = [
        Task(f"rows-{first}", (*given, paths, evidence.documents, first), size=min(TASK_ROWS, len(cluster) - first))
        for first in range(0, len(cluster), TASK_ROWS)
    ]
    work = evidence.work / SIMILARITY_FILE
    run_tasks(write_similarities, tasks, work=work, workers=workers, label="similarities", unit="documents")
    return [work / task.name / SIMILARITY_FILE for task in tasks]


def write_similarities(
    folder: Path, cluster_path: str, candidates_path: str, sets: Sequence[str], documents: Sequence[int], first: int
) -> int:
    """A task of `find_similarities`; returns how many are known."""
    from pipelines.dedup.kernels import measure

    cluster = np.load(cluster_path, mmap_mode="r", allow_pickle=False)
    candidates = np.load(candidates_path, mmap_mode="r", allow_pickle=False)
    kept = np.array(cluster[first : first + TASK_ROWS], np.int64)
    rows = first + np.arange(len(kept))
    chosen = np.flatnonzero((kept != rows) & candidates[first : first + TASK_ROWS] & candidates[kept])
    found, similarity = np.full(len(kept), np.nan, np.float32), np.empty(chosen.size, np.float32)
    with SetFiles([Path(path) for path in sets], documents) as files:
        given = [*files.locate(rows[chosen], limit_bytes=WINDOW_BYTES)]
        given += files.locate(kept[chosen], limit_bytes=WINDOW_BYTES)
        done, progress = 0, np.zeros(3, np.int64)
        while done < chosen.size:
            done = measure(files.base, *given, done, WINDOW_BYTES // 2, similarity, progress)
            files.release()
    found[chosen] = similarity
    (folder / SIMILARITY_FILE).write_bytes(found.data)
    return int(chosen.size)


def count_evidence(evidence: Evidence, cluster: NDArray, threshold: float) -> dict[str, Any]:
    """What the manifest says of the verification: what was refused or cut short, and the pairs below the threshold."""
    below = pairs_below(
        _sampled(cluster, evidence.candidates),
        sets=evidence.sets,
        documents=evidence.documents,
        threshold=threshold,
    )
    return {
        "failed_pairs": evidence.failed_pairs,
        "comparisons_per_member": COMPARISONS_PER_MEMBER,
        "capped_members": evidence.capped_members,
        "capped_buckets": evidence.capped_buckets,
        "pairs_in_clusters": below.pairs,
        "pairs_compared": below.compared,
        "share_below_threshold": below.share,
    }


def _sampled(cluster: NDArray, candidates: NDArray[np.bool_]) -> NDArray:
    """The clusters without documents that have no set, and without so many clusters that memory would be short."""
    own = np.arange(len(cluster), dtype=cluster.dtype)
    found = np.where(candidates & candidates[cluster], cluster, own)
    tops, sizes = np.unique(found[found != own], return_counts=True)
    if (step := -(-int(sizes.sum() + tops.size) // SAMPLED_DOCUMENTS)) > 1:
        chosen = np.zeros(len(cluster), np.bool_)
        chosen[tops[::step]] = True
        found = np.where(chosen[found], found, own)
    return found
