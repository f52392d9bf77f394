"""The tables of deduplication in, what its page counts out: shares, who met whom, sizes of clusters, drawn pairs.

The tables are read a row group at a time. What stays in memory grows with the clusters, by 8 bytes each and a bit for
each component; with the documents nothing does.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import MANIFEST, read_manifest
from pile_toolkit.core.seeds import keyed_columns
from pile_toolkit.core.tables import integers, joined
from pile_toolkit.report.finished import Finished, changed_inputs, counts_of
from pipelines.dedup import DedupResult
from pipelines.keep_list import REASONS, open_clusters, open_keep_list

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

SEED = 1
LARGEST_CLUSTERS = 12
DRAWN_PAIRS = 256
NEAREST_PAIRS = 8
# Of the histogram of similarities, from 0 to 1.
SIMILARITY_BINS = 50
_EXACT, _NEAR = REASONS.index("exact duplicate"), REASONS.index("near duplicate")
_COLUMNS = ["component", "bytes", "cluster", "reason", "similarity"]


class ComponentShare(msgspec.Struct, frozen=True, kw_only=True):
    """Documents and UTF-8 bytes of one component, and of those that went as exact and as near duplicates."""

    slug: str
    documents: int
    bytes: int
    exact: int
    near: int
    exact_bytes: int
    near_bytes: int


class LargeCluster(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster; `kept_row` is the row of the member it is named by, `components` counts its documents by slug."""

    kept_row: int
    documents: int
    bytes: int
    least_similarity: float | None
    components: dict[str, int]


class Pair(NamedTuple):
    """Rows of a near duplicate and of the kept member of its cluster, and why the two were chosen."""

    removed: int
    kept: int
    chosen: str


class DedupStudy(msgspec.Struct, frozen=True, kw_only=True):
    """All that the tables say. Matrices are int64[components, components] in the order of `components`.

    `shared`: documents of the first with another of the second in their cluster. `removed_for`: documents of the first
    that went and whose kept document is of the second. `met`: clusters with documents of both; of one component, its
    clusters. `similarities` counts near duplicates by similarity to the kept one, `unmeasured` those without one.
    `largest` and `nearest` (to the threshold) are one pair for a cluster and those of all, `drawn` is a random choice.
    `other_inputs` names components that changed since.
    """

    root: str
    parameters: dict[str, Any]
    result: DedupResult
    other_inputs: list[str]
    components: list[ComponentShare]
    shared: Any
    removed_for: Any
    met: Any
    sizes: dict[int, int]
    top: list[LargeCluster]
    similarities: list[int]
    unmeasured: int
    largest: list[Pair]
    nearest: list[Pair]
    drawn: list[Pair]


def study_dedup(root: Path) -> DedupStudy:
    """Reads both tables of a root. Raises UsageError where deduplication has not run, CorruptData."""
    import numpy as np

    manifest = read_manifest(root / "dedup")
    if manifest is None:
        raise UsageError(f"{root} has no finished deduplication", hint=f"pile dedup --root {root}")
    result = counts_of(DedupResult, Finished(root / "dedup", "dedup", manifest))
    table = open_keep_list(root)
    slugs = [component.slug for component in table.header]
    if list(result.components) != slugs or result.documents != len(table):
        raise CorruptData(f"{table.path} is not the table that {root / 'dedup' / MANIFEST} counts", hint="pile verify")
    clusters = _Clusters(root, len(slugs))
    rows = _Rows(result, clusters, threshold=manifest.key.parameters.get("threshold", 0.0))
    for first, group in table.groups(_COLUMNS):
        rows.add(first, group)
    shared = [[result.shared.get(one, {}).get(other, 0) for other in slugs] for one in slugs]
    return DedupStudy(
        root=str(root.resolve()),
        parameters=manifest.key.parameters,
        result=result,
        other_inputs=changed_inputs(root, "dedup"),
        components=rows.shares(slugs),
        shared=np.array(shared, np.int64).reshape(len(slugs), len(slugs)),
        removed_for=rows.removed_for,
        met=clusters.met(),
        sizes=dict(sorted(clusters.sizes.items())),
        top=rows.top(slugs),
        similarities=rows.similarities.tolist(),
        unmeasured=rows.unmeasured,
        largest=rows.largest(),
        nearest=[Pair(*pair, "nearest to the threshold") for pair in rows.nearest.pairs],
        drawn=[Pair(*pair, "drawn at random") for pair in rows.drawn.pairs],
    )


class _Clusters:
    """The table of clusters, and which components each of them has documents of, a bit for each."""

    def __init__(self, root: Path, components: int) -> None:
        import numpy as np

        table = open_clusters(root)
        # In ascending order, as the table is.
        self.ids = np.empty(len(table), np.uint64)
        self._bits = np.zeros((len(table), -(-components // 8)), np.uint8)
        self._components = components
        self.sizes: Counter[int] = Counter()
        self.top: list[dict[str, Any]] = []
        for first, group in table.groups(table.schema.names):
            sizes = integers(joined(group, "documents")).astype(np.int64)
            self.ids[first : first + len(sizes)] = integers(joined(group, "cluster"))
            self.sizes.update(
                dict(zip(*(found.tolist() for found in np.unique(sizes, return_counts=True)), strict=True))
            )
            # Equally large ones in the order of their ids.
            places = np.argsort(-sizes, kind="stable")[:LARGEST_CLUSTERS]
            self.top += group.take(places).to_pylist()
            self.top.sort(key=lambda row: (-row["documents"], row["cluster"]))
            del self.top[LARGEST_CLUSTERS:]

    def add(self, component: int, cluster: NDArray[np.uint64]) -> None:
        """Documents of one component by the ids of their clusters."""
        import numpy as np

        if not self.ids.size:
            return
        places = np.minimum(np.searchsorted(self.ids, cluster), self.ids.size - 1)
        places = places[self.ids[places] == cluster]
        self._bits[places, component >> 3] |= np.uint8(1 << (component & 7))

    def met(self, *, block: int = 1 << 17) -> NDArray[np.int64]:
        import numpy as np

        found = np.zeros((self._components, self._components), np.int64)
        for first in range(0, len(self._bits), block):
            bits = np.unpackbits(self._bits[first : first + block], axis=1, bitorder="little", count=self._components)
            # Few kinds of clusters are many clusters.
            kinds, counts = np.unique(bits, axis=0, return_counts=True)
            kinds = kinds.astype(np.int64)
            found += kinds.T @ (kinds * counts[:, None])
        return found


class _Fewest:
    """Of (removed, kept) rows those with the smallest keys."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: list[tuple[float, int, int]] = []

    def add(self, keys: NDArray, removed: NDArray, kept: NDArray) -> None:
        import numpy as np

        places = np.argsort(keys, kind="stable")[: self._most]
        chosen = (keys[places].tolist(), removed[places].tolist(), kept[places].tolist())
        self._found = sorted([*self._found, *zip(*chosen, strict=True)])[: self._most]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """In the order of their keys."""
        return [(removed, kept) for _, removed, kept in self._found]


class _Rows:
    """The table of documents, added up a group of rows at a time."""

    def __init__(self, result: DedupResult, clusters: _Clusters, *, threshold: float) -> None:
        import numpy as np

        documents = [counts.documents for counts in result.components.values()]
        self._ends = np.cumsum(documents, dtype=np.int64)
        self._clusters, self._threshold = clusters, threshold
        count = len(documents)
        self._counts, self._bytes = (np.zeros((count, len(REASONS)), np.int64) for _ in range(2))
        self.removed_for = np.zeros((count, count), np.int64)
        self.similarities, self.unmeasured = np.zeros(SIMILARITY_BINS, np.int64), 0
        self.drawn, self.nearest = _Fewest(DRAWN_PAIRS), _Fewest(NEAREST_PAIRS)
        self._top = np.array([row["cluster"] for row in clusters.top], np.int64)
        self._members: dict[int, Counter[int]] = {row["cluster"]: Counter() for row in clusters.top}
        self._first_near: dict[int, tuple[int, int]] = {}

    def add(self, first: int, group: pa.Table) -> None:
        """Consecutive rows, of which the first has that number."""
        import numpy as np

        component, sizes, cluster, reason = (
            integers(joined(group, name)).astype(np.int64) for name in ("component", "bytes", "cluster", "reason")
        )
        rows = first + np.arange(len(component))
        np.add.at(self._counts, (component, reason), 1)
        np.add.at(self._bytes, (component, reason), sizes)
        removed = cluster != rows
        kept_component = np.searchsorted(self._ends, cluster, side="right")
        np.add.at(self.removed_for, (component[removed], kept_component[removed]), 1)
        for number in np.unique(component).tolist():
            self._clusters.add(number, cluster[component == number].astype(np.uint64))
        near = np.flatnonzero(removed & (reason == _NEAR))
        self._add_near(rows[near], cluster[near], joined(group, "similarity").take(near).to_numpy(zero_copy_only=False))
        self._add_top(rows, cluster, component, removed & (reason == _NEAR))

    def _add_near(self, rows: NDArray, kept: NDArray, similarity: NDArray) -> None:
        import numpy as np

        self.drawn.add(keyed_columns(SEED, "dedup report", rows), rows, kept)
        known = ~np.isnan(similarity)
        bins = np.minimum((similarity[known] * SIMILARITY_BINS).astype(np.int64), SIMILARITY_BINS - 1)
        self.similarities += np.bincount(bins, minlength=SIMILARITY_BINS)
        self.unmeasured += int((~known).sum())
        self.nearest.add(np.abs(similarity[known] - self._threshold), rows[known], kept[known])

    def _add_top(self, rows: NDArray, cluster: NDArray, component: NDArray, near: NDArray) -> None:
        import numpy as np

        chosen = np.flatnonzero(np.isin(cluster, self._top))
        for name, number in zip(cluster[chosen].tolist(), component[chosen].tolist(), strict=True):
            self._members[name][number] += 1
        chosen = chosen[near[chosen]]
        keys = keyed_columns(SEED, "dedup report", rows[chosen]).tolist()
        for name, key, row in zip(cluster[chosen].tolist(), keys, rows[chosen].tolist(), strict=True):
            self._first_near[name] = min(self._first_near.get(name, (key, row)), (key, row))

    def shares(self, slugs: Sequence[str]) -> list[ComponentShare]:
        return [
            ComponentShare(
                slug=slug,
                documents=int(counts.sum()),
                bytes=int(sizes.sum()),
                exact=int(counts[_EXACT]),
                near=int(counts[_NEAR]),
                exact_bytes=int(sizes[_EXACT]),
                near_bytes=int(sizes[_NEAR]),
            )
            for slug, counts, sizes in zip(slugs, self._counts, self._bytes, strict=True)
        ]

    def top(self, slugs: Sequence[str]) -> list[LargeCluster]:
        return [
            LargeCluster(
                kept_row=row["cluster"],
                documents=row["documents"],
                bytes=row["bytes"],
                least_similarity=row["similarity"],
                components={slugs[number]: count for number, count in sorted(self._members[row["cluster"]].items())},
            )
            for row in self._clusters.top
        ]

    def largest(self) -> list[Pair]:
        found = [(self._first_near[name][1], name) for name in self._top.tolist() if name in self._first_near]
        return [Pair(removed, kept, "of a large cluster") for removed, kept in found]
