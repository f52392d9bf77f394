"""Documents and their fates in, the two tables and the counts of the manifest out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pile_toolkit.core.plan import PlanComponent
from pipelines.dedup.verification import TASK_ROWS
from pipelines.keep_list import CLUSTERS_FILE, KEEP_LIST_FILE, REASONS, clusters_schema, schema, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pile_toolkit.core.components import ComponentDocuments
    from pipelines.dedup.clusters import Fates
    from pipelines.dedup.documents import Documents

# Clusters that are made columns of at a time.
_BLOCK_CLUSTERS = 1 << 17


class Clusters(NamedTuple):
    """One entry for each cluster of several: see `kernels.tally`; `rows` are the kept members."""

    rows: NDArray[np.int64]
    documents: NDArray[np.int64]
    bytes: NDArray[np.int64]
    kept: NDArray[np.int64]
    similarity: NDArray[np.float32]


class Tables:
    """Writes the tables of a run and counts as it goes; `similarities` are the files of `find_similarities`."""

    def __init__(
        self,
        components: Sequence[ComponentDocuments],
        documents: Documents,
        fates: Fates,
        similarities: Sequence[Path] | None,
    ) -> None:
        self._slugs = [item.slug for item in components]
        self.header = [
            PlanComponent(slug=item.slug, files=[file.counts.name for file in item.files]) for item in components
        ]
        self._documents, self._fates, self._similarities = documents, fates, similarities
        # Of each component, by reason.
        self._counted = np.zeros((len(components), len(REASONS)), np.int64)
        self._bytes = np.zeros((len(components), len(REASONS)), np.int64)

    def write(self, folder: Path) -> dict[str, Any]:
        """Writes both tables into `folder`; returns the counts of the manifest."""
        write_rows(folder / KEEP_LIST_FILE, schema(), self._rows(), self.header)
        clusters, shared = self._clusters()
        write_rows(folder / CLUSTERS_FILE, clusters_schema(), _columns(clusters), self.header)
        return self._counts(len(clusters.rows), shared)

    def _rows(self) -> Iterator[dict[str, NDArray]]:
        cluster, reason = self._fates.cluster, self._fates.reason
        for piece in self._documents.pieces():
            count = len(piece.rows)
            some = slice(piece.first, piece.first + count)
            self._counted[piece.component] += np.bincount(reason[some], minlength=len(REASONS))
            for number in range(len(REASONS)):
                self._bytes[piece.component, number] += piece.rows["bytes"][reason[some] == number].sum()
            stored = {name: piece.rows[name] for name in ("line", "bytes", "text_hash", "normalized_hash")}
            yield {
                "component": np.full(count, piece.component, np.uint8),
                "file": np.full(count, piece.file, np.uint32),
                **stored,
                "cluster": cluster[some],
                "kept": reason[some] == REASONS.index("kept"),
                "reason": reason[some],
                "similarity": self._similarity(piece.first, count),
            }

    def _similarity(self, first: int, count: int) -> NDArray[np.float32]:
        if self._similarities is None:
            return np.full(count, np.nan, np.float32)
        found = []
        while count:
            number, start = divmod(first, TASK_ROWS)
            step = min(count, TASK_ROWS - start)
            found.append(np.fromfile(self._similarities[number], np.float32, count=step, offset=4 * start))
            first, count = first + step, count - step
        return np.concatenate(found) if found else np.empty(0, np.float32)

    def _clusters(self) -> tuple[Clusters, NDArray[np.int64]]:
        """The clusters of several, and how many documents of a component share theirs with one of another or of it."""
        from pipelines.dedup.kernels import WORD_BITS, count_shared, number_clusters, tally

        cluster, reason, several = self._fates.cluster, self._fates.reason, len(self._slugs)
        slots = np.empty(len(cluster), self._documents.id_type)
        count = number_clusters(cluster, slots)
        sums = [np.zeros(count, np.int64) for _ in range(3)]
        least = np.full(count, np.nan, np.float32)
        once, twice = (np.zeros((count, -(-several // WORD_BITS)), np.uint64) for _ in range(2))
        for piece in self._documents.pieces():
            kept = (reason[piece.first : piece.first + len(piece.rows)] == REASONS.index("kept")).astype(np.int64)
            given = piece.first, piece.component, piece.rows["bytes"].astype(np.int64), kept
            similarity = self._similarity(piece.first, len(piece.rows))
            tally(cluster, *given, similarity, slots, *sums, least, once, twice)
        shared = np.zeros((several, several), np.int64)
        for piece in self._documents.pieces():
            end = piece.first + len(piece.rows)
            count_shared(cluster, piece.first, end, piece.component, slots, once, twice, shared[piece.component])
        documents, size, left = sums
        return Clusters(np.flatnonzero(slots), documents, size, left, least), shared

    def _counts(self, clusters: int, shared: NDArray[np.int64]) -> dict[str, Any]:
        table: dict[str, dict[str, int]] = {}
        between: dict[str, dict[str, int]] = {}
        for number, slug in enumerate(self._slugs):
            by_reason = self._counted[number].tolist()
            table[slug] = {
                "documents": sum(by_reason),
                **dict(zip(("kept", "exact", "near", "contaminated"), by_reason, strict=True)),
                "bytes": int(self._bytes[number].sum()),
                "kept_bytes": int(self._bytes[number, 0]),
            }
            row = {other: count for other, count in zip(self._slugs, shared[number].tolist(), strict=True) if count}
            between |= {slug: row} if row else {}
        documents, kept = int(self._counted.sum()), int(self._counted[:, 0].sum())
        return {
            "documents": documents,
            "kept": kept,
            "removed": documents - kept,
            "clusters": clusters,
            "components": table,
            "shared": between,
        }


def _columns(clusters: Clusters) -> Iterator[dict[str, NDArray]]:
    for first in range(0, len(clusters.rows), _BLOCK_CLUSTERS):
        some = slice(first, first + _BLOCK_CLUSTERS)
        yield {
            "cluster": clusters.rows[some],
            "documents": clusters.documents[some],
            "bytes": clusters.bytes[some],
            "kept": clusters.kept[some],
            "similarity": clusters.similarity[some],
        }
