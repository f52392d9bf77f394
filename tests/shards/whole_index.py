"""The index of a split from whole columns of all copies: slow to fit in memory, and what ranges must give."""

from __future__ import annotations

import numpy as np

from shards.format import index_path, write_index
from shards.provenance import provenance_path, write_provenance


def write_whole_index(plan, split, prefix, *, entries, stored_sizes, dtype, apart=False):
    """Writes `.idx` and `.docs.arrow`; returns (sizes, pointers into the joined parts) of all copies."""
    rows = plan.table.to_pylist()
    number, places = 0, {}
    start = 0
    for row, values in enumerate(rows):
        if values["split"] == split and values["copies"]:
            places[row] = (stored_sizes[number], start)
            start += stored_sizes[number] * np.dtype(dtype).itemsize
            number += 1
    sizes, pointers = zip(*[places[row] for row in entries.row.tolist()], strict=True) if len(entries.row) else ((), ())
    starts = [sum(sizes[:place]) * np.dtype(dtype).itemsize for place in range(len(sizes))] if apart else pointers
    write_index(
        index_path(prefix),
        dtype=dtype,
        sizes=np.array(sizes, np.int32),
        pointers=np.array(starts, np.int64),
        doc_idx=np.arange(len(sizes) + 1, dtype=np.int64),
    )
    columns = {
        name: [rows[row][name] for row in entries.row.tolist()] for name in ("component", "file", "line", "bytes")
    }
    write_provenance(
        provenance_path(prefix),
        **columns,
        copy=entries.copy,
        components=[component.slug for component in plan.header.components],
        files={component.slug: component.files for component in plan.header.components},
    )
    return list(sizes), list(pointers)
