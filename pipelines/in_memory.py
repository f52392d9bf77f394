"""Texts in, keep-list and clusters out, in memory: deduplication for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipelines.minhash import NUM_PERM, SIGNATURE_SEED, SignatureSettings, bands, fingerprint_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np


class Deduplicated(msgspec.Struct, frozen=True, kw_only=True):
    """`keep[i]` says whether document i stays; `clusters` lists those of two or more, the kept document first."""

    keep: list[bool]
    clusters: list[list[int]]


def deduplicate(
    documents: Iterable[str], *, threshold: float = 0.8, num_perm: int = NUM_PERM, seed: int = SIGNATURE_SEED
) -> Deduplicated:
    """Exact and MinHash duplicates among texts; of a cluster the longest stays, of these the first.

    Raises UsageError where `threshold` is not inside (0, 1).
    """
    import numpy as np

    settings = SignatureSettings(num_perm=num_perm, seed=seed)
    found = fingerprint_texts(documents, settings, bands=bands(num_perm=num_perm, threshold=threshold))
    from pipelines.lsh.joining import joined

    kept = joined(len(found.sizes), _edges(found.text_hash, found.band_hashes), rank=-found.sizes.astype(np.int64))
    removed = np.flatnonzero(kept != np.arange(len(kept)))
    clusters: dict[int, list[int]] = {}
    for row in removed.tolist():
        clusters.setdefault(int(kept[row]), [int(kept[row])]).append(row)
    keep = np.ones(len(kept), np.bool_)
    keep[removed] = False
    return Deduplicated(keep=keep.tolist(), clusters=[clusters[row] for row in sorted(clusters)])


def _edges(text_hash: np.ndarray, band_hashes: np.ndarray | None) -> Iterator[np.ndarray]:
    """Between rows with the same hash, each and the next one that has it: int32[n, 2] for each column."""
    import numpy as np

    order = np.lexsort(text_hash.T)
    yield _pairs(order, (text_hash[order[1:]] == text_hash[order[:-1]]).all(axis=1))
    for column in () if band_hashes is None else band_hashes.T:
        order = np.argsort(column, kind="stable")
        yield _pairs(order, column[order[1:]] == column[order[:-1]])


def _pairs(order: np.ndarray, same: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.stack([order[:-1][same], order[1:][same]], axis=1).astype(np.int32)
