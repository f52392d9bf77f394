"""A root whose duplicates were decided in, one self-contained HTML page out: shares, clusters, similarities, samples.

The page asks for nothing from outside and forbids itself scripts; all text that came from outside is escaped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pile_toolkit
from pile_toolkit.core.console import size
from pile_toolkit.core.files import write_bytes
from pile_toolkit.report.dedup_charts import charts
from pile_toolkit.report.dedup_pairs import study_pairs
from pile_toolkit.report.dedup_study import study_dedup
from pile_toolkit.report.numbers import percent
from pile_toolkit.report.page import render_page

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pile_toolkit.report.dedup_pairs import PairStudy
    from pile_toolkit.report.dedup_study import DedupStudy

TEMPLATE = "dedup.html.j2"
# Shades of a matrix, beside none.
SHADES = 5


class Cell(NamedTuple):
    """A number of a matrix, how dark it stands there (0 to SHADES), and what it says."""

    number: int
    shade: int
    tooltip: str


class Matrix(NamedTuple):
    """A row and a column for each component that has anything in it."""

    caption: str
    note: str
    slugs: list[str]
    rows: list[tuple[str, list[Cell]]]


def write_dedup_page(path: str | Path, root: str | Path) -> None:
    """Writes the page about a root to `path`, whole or not at all.

    Raises UsageError where deduplication has not run, CorruptData where its tables are damaged.
    """
    study = study_dedup(Path(root))
    write_bytes(Path(path), dedup_page(study, study_pairs(study)).encode())


def dedup_page(study: DedupStudy, pairs: PairStudy) -> str:
    """The whole HTML page."""
    return render_page(
        TEMPLATE,
        filters={"size": size},
        study=study,
        pairs=pairs,
        matrices=matrices(study),
        figures=charts(study, pairs),
        percent=percent,
        version=pile_toolkit.__version__,
    )


def matrices(study: DedupStudy) -> list[Matrix]:
    """Between components: who has a duplicate where, for whom documents went, and where clusters met."""
    documents = [row.documents for row in study.components]
    given: list[tuple[str, str, NDArray, str, list[int]]] = [
        (
            "Documents with a duplicate",
            "Documents of the row's component whose cluster has another document of the column's.",
            study.shared,
            "{count:,} documents of {one} have a duplicate in {other} ({share:.2f}%)",
            documents,
        ),
        (
            "Documents removed",
            "Documents of the row's component that went because the kept one is of the column's.",
            study.removed_for,
            "{count:,} documents of {one} went for one of {other} ({share:.2f}%)",
            documents,
        ),
        (
            "Clusters",
            "Clusters with documents of both components, on the diagonal all that have any of the component.",
            study.met,
            "{count:,} clusters with documents of {one} and of {other}, {share:.2f}% of all",
            [study.result.clusters] * len(documents),
        ),
    ]
    return [_matrix(study, *one) for one in given if one[2].any()]


def _matrix(study: DedupStudy, caption: str, note: str, counts: NDArray, text: str, of: list[int]) -> Matrix:
    slugs = [row.slug for row in study.components]
    used = [place for place in range(len(slugs)) if counts[place].any() or counts[:, place].any()]
    darkest = max(counts[one, other] / of[one] for one in used for other in used if of[one])
    rows = []
    for one in used:
        cells = []
        for other in used:
            count = int(counts[one, other])
            share = count / of[one] if of[one] else 0.0
            # By the root of the share: else one large component leaves all others white.
            shade = max(round(SHADES * (share / darkest) ** 0.5), 1) if count else 0
            tooltip = text.format(count=count, one=slugs[one], other=slugs[other], share=100 * share)
            cells.append(Cell(count, shade, tooltip))
        rows.append((slugs[one], cells))
    return Matrix(caption, note, [slugs[place] for place in used], rows)
