"""Statistics of shards and the phases of a run in, how often the run reads each component and document out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from pile_toolkit.core.tables import write_table
from shards.exposures import exposures
from shards.stats import QUANTILES, ComponentEpochs, ShardStudy

if TYPE_CHECKING:
    from pathlib import Path

    from shards.exposures import Exposures
    from shards.phases import Phases

LISTED = 10


class PhaseShare(msgspec.Struct, frozen=True, kw_only=True):
    """Samples `first_sample` on of a run, `samples` of them, read from the index of this hash over `prefix`."""

    first_sample: int
    samples: int
    prefix: str
    index: str


class DocumentExposure(msgspec.Struct, frozen=True, kw_only=True):
    """`read` ids of a document of `tokens` ids were inputs, which is `times` of it."""

    document: str
    tokens: int
    read: int
    times: float


class DocumentExposures(msgspec.Struct, frozen=True, kw_only=True):
    """Documents that any phase's shards hold; those of which a run reads something; how often, by share and at most."""

    documents: int
    read: int
    quantiles: dict[str, float]
    most: list[DocumentExposure]


class RunStudy(ShardStudy, frozen=True, kw_only=True):
    """`ShardStudy` of the shards of a run's last phase, and what all its phases read.

    `documents` is None where the shards came without provenance, and components then have the average.
    """

    phases: list[PhaseShare]
    documents: DocumentExposures | None


def study_of_run(study: ShardStudy, phases: Phases, samples: int) -> tuple[Exposures | None, RunStudy]:
    """What the first `samples` samples of a run read, counted, and the study with it. Raises as `exposures`."""
    shares = [
        PhaseShare(first_sample=phase.first_sample, samples=count, prefix=phase.prefix, index=phase.index)
        for phase, count in phases.spans(samples)
    ]
    fields = {name: getattr(study, name) for name in study.__struct_fields__}
    if study.run is None or not study.components:
        return None, RunStudy(**fields, phases=shares, documents=None)
    counted = exposures(phases, samples)
    components = _components(counted, [row.slug for row in study.components])
    fields["run"] = msgspec.structs.replace(study.run, components=components)
    return counted, RunStudy(**fields, phases=shares, documents=_documents(counted))


def _components(counted: Exposures, slugs: list[str]) -> list[ComponentEpochs]:
    """In the order of the last phase's shards; then those that only earlier phases hold."""
    epochs, tokens = counted.epochs(), np.zeros(len(counted.files), np.int64)
    np.add.at(tokens, counted.file, counted.read)
    read = dict.fromkeys([*slugs, *epochs], 0)
    for (slug, _), count in zip(counted.files, tokens.tolist(), strict=True):
        read[slug] += count
    return [ComponentEpochs(slug=slug, epochs=epochs.get(slug, 0.0), tokens=count) for slug, count in read.items()]


def _documents(counted: Exposures) -> DocumentExposures:
    times = counted.times
    most = np.argsort(-times, kind="stable")[:LISTED]
    shares = np.quantile(times, QUANTILES, method="inverted_cdf").tolist() if len(times) else []
    return DocumentExposures(
        documents=len(times),
        read=int(np.count_nonzero(counted.read)),
        quantiles={f"{share:g}": count for share, count in zip(QUANTILES, shares, strict=False)},
        most=[
            DocumentExposure(
                document=counted.document(row),
                tokens=counted.tokens.item(row),
                read=counted.read.item(row),
                times=times.item(row),
            )
            for row in most.tolist()
        ],
    )


def write_exposures(path: Path, counted: Exposures, study: RunStudy) -> None:
    """A Parquet file with a row per document: `component`, `file`, `line`, `tokens`, `read`, `times`."""
    import pyarrow as pa

    fields = [("component", pa.string()), ("file", pa.string()), ("line", pa.int64())]
    fields += [("tokens", pa.int64()), ("read", pa.int64()), ("times", pa.float64())]
    names = np.array(counted.files, object).reshape(-1, 2)
    columns = {
        "component": names[counted.file, 0],
        "file": names[counted.file, 1],
        "line": counted.line,
        "tokens": counted.tokens,
        "read": counted.read,
        "times": counted.times,
    }
    write_table(path, pa.schema(fields), columns, study.phases)
