"""The slow definition of the whole stage in plain Python: documents and settings in, fates and clusters out.

Signatures and buckets are datasketch's and dictionaries, similarities are fractions of Python's sets.
"""

from __future__ import annotations

import unicodedata
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.components import read_component
from pile_toolkit.core.documents import read_documents
from pipelines.dedup.settings import dedup_config, resolve
from pipelines.keep_list import REASONS, open_clusters, read_keep_list
from tests.pipelines.lsh_twin import buckets_of, clusters_of, similarity, verified_of
from tests.pipelines.minhash_twin import shingles, signature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.dedup.settings import Settings

CAP = 64


class Text(NamedTuple):
    """A document: its id, its component's number and its text."""

    id: str
    component: int
    text: str


class Expected(NamedTuple):
    """Of each document the row of the kept one, the reason and the similarity; what verification counted."""

    cluster: list[int]
    reasons: list[str]
    similarities: list[float | None]
    counted: tuple[int, int, int] | None
    sets: list[set[str]]


def all_documents(root, slugs: Sequence[str]) -> list[Text]:
    """The documents of a root in the order of the components given."""
    return [
        Text(f"{slug}/{file.counts.name}:{document.line}", number, document.text)
        for number, slug in enumerate(slugs)
        for file in read_component(root, slug).files
        for document in read_documents(file.path)
    ]


def normalized(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def band_rows(documents: Sequence[Text], settings: Settings) -> np.ndarray:
    """A number for each band of each document, equal where the band is."""
    known: dict[tuple, int] = {}
    count, rows = settings.bands
    table = []
    for document in documents:
        minima = signature(document.text, settings.signature)
        bands = [tuple(minima[band * rows : (band + 1) * rows]) for band in range(count)]
        table.append([known.setdefault((number, band), len(known)) for number, band in enumerate(bands)])
    return np.array(table).reshape(len(documents), count)


def decided(documents: Sequence[Text], slugs: Sequence[str], **options) -> Expected:
    """The fates of documents whose components are `slugs`."""
    settings = resolve(dedup_config(options))
    count, rows = len(documents), range(len(documents))
    order = [*settings.priority, *(slug for slug in slugs if slug not in settings.priority)]
    rank = [(order.index(slugs[each.component]), -len(each.text.encode())) for each in documents]
    if settings.method == "none":
        return Expected([*rows], ["kept"] * count, [None] * count, None, [])
    keys = [each.text if settings.exact_on == "text" else normalized(each.text) for each in documents]
    first = {key: row for row, key in reversed([*enumerate(keys)])}
    same = [(first[key], row) for row, key in enumerate(keys)]
    equal, near, counted, sets = clusters_of(count, same, rank), [], None, []
    candidates: set[int] = set()
    if settings.method == "minhash":
        table = band_rows(documents, settings)
        near = [(bucket[0], row) for buckets in buckets_of(table).values() for bucket in buckets for row in bucket]
        candidates = {row for pair in near for row in pair}
    if settings.verify:
        sets = [set(shingles(each.text, settings.signature)) for each in documents]
        threshold = Fraction(round(Fraction(settings.threshold) * 1_000_000), 1_000_000)
        near, counted = verified_of(table, sets, rank, threshold, CAP)
    cluster = clusters_of(count, [*same, *near], rank)
    reasons, similarities = [], []
    for row in rows:
        fate = "kept" if cluster[row] == row else "near duplicate" if equal[row] == row else "exact duplicate"
        known = settings.verify and cluster[row] != row and {row, cluster[row]} <= candidates
        reasons.append(fate)
        similarities.append(float(np.float32(float(similarity(sets[row], sets[cluster[row]])))) if known else None)
    return Expected(cluster, reasons, similarities, counted, sets)


def shared(documents: Sequence[Text], slugs: Sequence[str], cluster: Sequence[int]) -> dict[str, dict[str, int]]:
    """Of each component how many documents have another one of a component in their cluster."""
    found: dict[str, dict[str, int]] = {}
    for row, document in enumerate(documents):
        others = {
            other.component
            for number, other in enumerate(documents)
            if number != row and cluster[number] == cluster[row]
        }
        for other in sorted(others):
            counts = found.setdefault(slugs[document.component], {})
            counts[slugs[other]] = counts.get(slugs[other], 0) + 1
    return found


def table_rows(root) -> list[dict]:
    """The keep-list as dictionaries, with `id`, `stays` (the id of the kept one) and the reason in words."""
    components, table = read_keep_list(root)
    rows = table.to_pylist()
    for row in rows:
        component = components[row["component"]]
        row["id"] = f"{component.slug}/{component.files[row['file']]}:{row['line']}"
    for row in rows:
        row["stays"] = rows[row["cluster"]]["id"]
        row["reason"] = REASONS[row["reason"]]
    return rows


def cluster_rows(root) -> list[dict]:
    """The table of clusters as dictionaries."""
    return open_clusters(root).read()[1].to_pylist()
