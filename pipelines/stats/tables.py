"""Groups in, Parquet tables out: one row per component and split, one per bucket of a histogram, one per language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.tables import write_table
from pipelines.stats.counting import UNITS
from pipelines.stats.lengths import PERCENTILES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from pipelines.stats.results import GroupStatistics

STATISTICS_FILE = "statistics.parquet"
HISTOGRAMS_FILE = "histograms.parquet"
LANGUAGES_FILE = "languages.parquet"
QUANTILES = (*(f"p{percent}" for percent in PERCENTILES), "max")
_COUNTS = ("documents", "copies", "bytes", "characters", "tokens")
_DUPLICATES = {
    "exact": "int64",
    "near": "int64",
    "contaminated": "int64",
    "removed": "int64",
    "removed_bytes": "int64",
    "documents_share": "float64",
    "bytes_share": "float64",
}
_COMPRESSION = {
    "file_bytes": "int64",
    "ratio": "float64",
    "sample_documents": "int64",
    "sample_bytes": "int64",
    "zstd3_bytes": "int64",
    "zstd3_ratio": "float64",
}


def write_tables(folder: Path, groups: Sequence[GroupStatistics]) -> list[Path]:
    """Writes the tables; nulls are what nobody could tell, and `component` and `split` of totals."""
    rows = [_flat(group) for group in groups]
    buckets = [
        {**_names(group), "unit": unit, "least": bucket.least, "most": bucket.most, "documents": bucket.documents}
        for group in groups
        for unit, lengths in group.lengths.items()
        for bucket in lengths.histogram
    ]
    written = [
        _write(folder / STATISTICS_FILE, statistics_schema(), rows),
        _write(
            folder / HISTOGRAMS_FILE, _schema(unit="string", least="int64", most="int64", documents="int64"), buckets
        ),
    ]
    if any(group.languages is not None for group in groups):
        languages = [
            {**_names(group), **msgspec.structs.asdict(row)} for group in groups for row in group.languages or ()
        ]
        schema = _schema(language="string", documents="int64", bytes="int64", share="float64")
        written.append(_write(folder / LANGUAGES_FILE, schema, languages))
    else:
        (folder / LANGUAGES_FILE).unlink(missing_ok=True)
    return written


def statistics_schema() -> pa.Schema:
    """Columns of the table of groups."""
    return _schema(
        **dict.fromkeys(_COUNTS, "int64"),
        mean_bytes="float64",
        tokens_from="string",
        bytes_per_token="float64",
        **{f"{unit}_{quantile}": "int64" for unit in UNITS for quantile in QUANTILES},
        **{f"duplicates_{name}": kind for name, kind in _DUPLICATES.items()},
        **{f"compression_{name}": kind for name, kind in _COMPRESSION.items()},
    )


def _schema(**columns: str) -> pa.Schema:
    import pyarrow as pa

    kinds = {"of": "string", "component": "string", "split": "string", **columns}
    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in kinds.items()])


def _names(group: GroupStatistics) -> dict[str, Any]:
    return {"of": group.of, "component": group.component, "split": group.split}


def _flat(group: GroupStatistics) -> dict[str, Any]:
    row = _names(group) | {name: getattr(group, name) for name in _COUNTS}
    row |= {name: getattr(group, name) for name in ("mean_bytes", "tokens_from", "bytes_per_token")}
    for unit in UNITS:
        known = group.lengths[unit].quantiles if unit in group.lengths else {}
        row |= {f"{unit}_{quantile}": known.get(quantile) for quantile in QUANTILES}
    row |= {f"duplicates_{name}": getattr(group.duplicates, name, None) for name in _DUPLICATES}
    return row | {f"compression_{name}": getattr(group.compression, name, None) for name in _COMPRESSION}


def _write(path: Path, schema: pa.Schema, rows: Sequence[dict[str, Any]]) -> Path:
    write_table(path, schema, {name: [row[name] for row in rows] for name in schema.names}, None)
    return path
