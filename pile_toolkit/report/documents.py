"""Manifests and keep-list in, what the report says of documents out: files, duplicates, lengths, mixture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.components import component_documents
from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import CorruptData
from pile_toolkit.report import data
from pile_toolkit.report.finished import counts_of
from pipelines.build import BuildResult
from pipelines.catalog import components as catalog
from pipelines.corpus import CorpusResult
from pipelines.dedup import DedupResult
from pipelines.dedup.stage import PAGE
from pipelines.download import REJECTS
from pipelines.filters.stage import SOURCE, Filtered
from pipelines.keep_list import open_keep_list

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np

    from pile_toolkit.core.components import ComponentDocuments
    from pile_toolkit.report.finished import Finished
    from pipelines.decontamination import ContaminationCounts

EXCERPT_CHARACTERS = 320
MOST_REJECTS = 20
_BITS = 65


def download(root: Path, stages: Iterable[Finished]) -> data.Download:
    """The components on this disk."""
    rows = [_component(root, stage) for stage in stages]
    return data.Download(
        documents=sum(row.documents for row in rows),
        text_bytes=sum(row.text_bytes for row in rows),
        rejects=sum(row.rejects for row in rows),
        components=rows,
    )


def _component(root: Path, stage: Finished) -> data.ComponentFiles:
    present = component_documents(root, stage.folder.name, stage.manifest)
    found = stage.manifest.counts.get("filtered")
    filtered = None if found is None else msgspec.convert(found, Filtered)
    rejects = present.rejects if filtered is None else filtered.rejects
    source = stage.folder if filtered is None else stage.folder / SOURCE
    return data.ComponentFiles(
        slug=present.slug,
        source=str(stage.manifest.key.parameters.get("from", "")),
        documents=present.documents,
        text_bytes=present.text_bytes,
        rejects=rejects,
        files=[file.counts for file in present.files],
        first_rejects=_first_rejects(source / REJECTS) if rejects else [],
        excerpt=_excerpt(present),
        filtered=filtered,
    )


def _first_rejects(path: Path) -> list[data.RejectedLine]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(MOST_REJECTS), strict=False)]
    return [data.RejectedLine(file=row["file"], line=row["line"], reason=row["reason"]) for row in rows]


def _excerpt(present: ComponentDocuments) -> str | None:
    """How the first document begins; a source folder that is gone or damaged is for `pile verify` to name."""
    try:
        first = next((doc for file in present.files for doc in read_documents(file.path)), None)
    except (OSError, CorruptData):
        return None
    return None if first is None else first.text[:EXCERPT_CHARACTERS]


def dedup(stage: Finished) -> data.Dedup:
    """The fate of every document, and how long documents are."""
    import numpy as np

    result = counts_of(DedupResult, stage)
    table = open_keep_list(stage.folder.parent)
    rows = []
    kept, removed = np.zeros(_BITS, np.int64), np.zeros(_BITS, np.int64)
    # One component after the other: the sizes of all documents of the Pile together would be gigabytes.
    for number, planned in enumerate(table.header):
        columns = table.rows(table.find(component=number), ["bytes", "reason"])
        sizes, stays = columns.column("bytes").to_numpy(), columns.column("reason").to_numpy() == 0
        mine, counts = (_bits(sizes[stays]), _bits(sizes[~stays])), result.components[planned.slug]
        kept, removed = kept + mine[0], removed + mine[1]
        rows.append(
            data.ComponentDedup(
                slug=planned.slug,
                documents=counts.documents,
                kept=counts.kept,
                exact=counts.exact,
                near=counts.near,
                contaminated=counts.contaminated,
                median_bytes=int(np.quantile(sizes, 0.5, method="inverted_cdf")) if sizes.size else 0,
                lengths=_lengths(*mine),
            )
        )
    return data.Dedup(
        method=result.method,
        threshold=stage.manifest.key.parameters.get("threshold"),
        documents=result.documents,
        kept=result.kept,
        clusters=result.clusters,
        components=rows,
        lengths=_lengths(kept, removed),
        contamination=None if result.contamination is None else _contamination(result.contamination),
        page=PAGE.name if (stage.folder.parent / PAGE).exists() else None,
    )


def _contamination(counts: ContaminationCounts) -> data.Contamination:
    return data.Contamination(
        documents=counts.documents,
        dropped=counts.dropped,
        cut=counts.cut,
        characters=counts.characters,
        ngrams=counts.ngrams,
        common_ngrams=counts.common_ngrams,
        components=[
            data.ContaminatedComponent(slug=slug, **msgspec.structs.asdict(row))
            for slug, row in counts.components.items()
        ],
        sets=[data.ContaminatingSet(name=name, **msgspec.structs.asdict(row)) for name, row in counts.sets.items()],
    )


def _bits(sizes: np.ndarray) -> np.ndarray:
    """How many of the sizes have 0, 1, 2 ... binary digits: int64[65]."""
    import numpy as np

    # The exponent of frexp is the number of binary digits, exact for every size below 2^53.
    return np.bincount(np.frexp(sizes.astype(np.float64))[1], minlength=_BITS)


def _lengths(kept: np.ndarray, removed: np.ndarray) -> list[data.LengthBucket]:
    """Buckets of 0, 1, 2-3, 4-7 ... bytes from the first to the last that is not empty."""
    import numpy as np

    filled = np.flatnonzero(kept + removed)
    return [
        data.LengthBucket(
            least_bytes=(1 << digits) >> 1,
            most_bytes=(1 << digits) - 1,
            kept=int(kept[digits]),
            removed=int(removed[digits]),
        )
        for digits in (range(filled[0], filled[-1] + 1) if filled.size else ())
    ]


def mixture(stage: Finished) -> data.Mixture:
    """The plan as it was counted when it was built."""
    result = counts_of(BuildResult, stage)
    published = {component.slug: component.weight for component in catalog()}
    rows = []
    # In the order of the paper's table, components of one's own after them.
    for slug in sorted(result.components, key=lambda slug: ([*published, slug].index(slug), slug)):
        counts = result.components[slug]
        held_out = counts.val_documents + counts.test_documents
        rows.append(
            data.ComponentMixture(
                slug=slug,
                documents=counts.documents,
                epochs=counts.epochs,
                copies=counts.copies,
                bytes=counts.bytes,
                published_percent=published.get(slug),
                train_documents=counts.train_documents,
                # val and test hold one copy of each of their documents.
                train_copies=counts.copies - held_out,
                val_documents=counts.val_documents,
                test_documents=counts.test_documents,
            )
        )
    return data.Mixture(
        documents=result.documents,
        copies=result.copies,
        bytes=result.bytes,
        splits=result.splits,
        components=rows,
        without_held_out=result.without_held_out,
    )


def corpus(stage: Finished) -> data.Corpus:
    """The files that were written from the plan."""
    result = counts_of(CorpusResult, stage)
    return data.Corpus(files=result.files, documents=result.documents, text_bytes=result.text_bytes)
