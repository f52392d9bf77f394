"""Edges in, the representative of every document out: union-find over integers, the same whatever the edges' order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.errors import UsageError
from pipelines.lsh import kernels
from pipelines.lsh.edges import damaged_edges, id_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from pipelines.lsh.edges import Edges


def representatives(edges: Edges, *, rank: NDArray | None = None) -> NDArray:
    """The document of smallest `rank` in the cluster of each: int32[documents], int64 from 2^31 documents on.

    rank: any integers, one per document; without it, and among equal ones, the smallest number counts. Documents on no
    edge represent themselves. Memory: the result, 4 bytes per document, and the rank. Raises UsageError, CorruptData.
    """
    blocks = (block for _, block in edges.blocks())
    try:
        return joined(edges.documents, blocks, rank=rank)
    except IndexError as error:
        raise damaged_edges(edges.parts[0].path, str(error)) from error


def joined(documents: int, blocks: Iterable[NDArray], *, rank: NDArray | None = None) -> NDArray:
    """The same for pairs in memory, integers[n, 2] each. Raises IndexError for a pair of other documents."""
    if rank is not None and (rank.shape != (documents,) or rank.dtype.kind not in "iu"):
        raise UsageError(f"the rank is {rank.dtype}{list(rank.shape)}, not one integer for each of {documents:,}")
    parent = np.arange(documents, dtype=id_type(documents))
    for block in blocks:
        if not kernels.unite(parent, block):
            raise IndexError(f"a document is not between 0 and {documents - 1:,}")
    kernels.flatten(parent)
    if rank is not None:
        kernels.crown(parent, rank)
    return parent
