"""Counts of every id in, a Parquet file out: one row per id, and what the shards are in the header."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.tables import write_table

if TYPE_CHECKING:
    from pathlib import Path

    from shards.stats.counted import ShardStats
    from shards.stats.ids import IdCounts
    from shards.stats.vocabulary import Vocabulary


def write_id_table(path: Path, counts: IdCounts, vocabulary: Vocabulary | None, stats: ShardStats) -> None:
    """Columns `id`, `stored`, `read`, and with a vocabulary `token`, `special`, `white_space`; all ids in order."""
    import pyarrow as pa

    ids = np.arange(len(counts.stored), dtype=np.int32)
    fields = [pa.field("id", pa.int32()), pa.field("stored", pa.int64()), pa.field("read", pa.int64())]
    columns = {"id": ids, "stored": counts.stored, "read": counts.read}
    if vocabulary is not None:
        special = np.zeros(len(ids), bool)
        special[list(vocabulary.special.values())] = True
        fields += [pa.field("token", pa.string()), pa.field("special", pa.bool_()), pa.field("white_space", pa.bool_())]
        columns |= {
            "token": np.array([vocabulary.token(int(number)) for number in ids], object),
            "special": special,
            "white_space": vocabulary.white_space,
        }
    write_table(path, pa.schema(fields), columns, stats)
