"""Documents that are kept and a folder of evaluation sets in, which of them go, or lose what, out.

Files are searched in parallel; what is found lies on the disk, because whether an n-gram counts is known only when all
of them were seen. So the result is the same whatever the workers and their order.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import xxhash

from pile_toolkit.core.errors import TryAgain
from pile_toolkit.core.files import atomic_path, remove
from pile_toolkit.core.tasks import Task, run_tasks
from pipelines.decontamination.evaluation import read_evaluation_sets
from pipelines.decontamination.evidence import EVIDENCE_FILE, PIECES_FILE, write_evidence, write_pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from pile_toolkit.core.components import ComponentDocuments
    from pile_toolkit.core.plan import PlanComponent
    from pile_toolkit.core.tasks import Workers
    from pipelines.decontamination.settings import Against


class SetContamination(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation set, and what of it is in the corpus: documents, n-grams, and characters that go for it.

    `too_short` records have no text long enough to be looked for.
    """

    records: int
    too_short: int
    ngrams: int
    documents: int
    found_ngrams: int
    characters: int


class ComponentContamination(msgspec.Struct, frozen=True, kw_only=True):
    """One component: kept documents that were searched, those that go and those that are cut, into how many pieces."""

    searched: int
    dropped: int
    cut: int
    pieces: int
    characters: int


class ContaminationCounts(msgspec.Struct, frozen=True, kw_only=True):
    """`common_ngrams` were found in too many documents to count; `ignored` names files that are no evaluation sets.

    `folder` is where the evaluation sets lay.
    """

    folder: str
    ngrams: int
    common_ngrams: int
    documents: int
    dropped: int
    cut: int
    characters: int
    sets: dict[str, SetContamination]
    components: dict[str, ComponentContamination]
    ignored: list[str]


class Contamination(NamedTuple):
    """`dropped` int64: rows of the keep-list; `pieces` and `evidence`: columns of their tables; `cut`: the action."""

    dropped: np.ndarray
    pieces: dict[str, Any]
    evidence: dict[str, Any]
    counts: ContaminationCounts
    cut: bool

    def write(self, folder: Path, components: list[PlanComponent]) -> list[Path]:
        """Writes the evidence, and the pieces if documents are cut; the paths."""
        write_evidence(folder / EVIDENCE_FILE, components, self.evidence)
        if self.cut:
            write_pieces(folder / PIECES_FILE, self.pieces)
        return [folder / EVIDENCE_FILE, *([folder / PIECES_FILE] if self.cut else [])]


def remove_tables(folder: Path) -> None:
    """Removes what an earlier run wrote, which this one may not write again."""
    for name in (EVIDENCE_FILE, PIECES_FILE):
        (folder / name).unlink(missing_ok=True)


def against_parameters(against: str | Path, settings: Against) -> dict[str, Any]:
    """What the result depends on beside the documents, for a StageKey: settings, and the content of the folder.

    Raises UsageError where there is no such folder, or no evaluation set in it.
    """
    return settings.parameters(read_evaluation_sets(Path(against)).digest)


def decontaminate(
    components: Sequence[ComponentDocuments],
    kept: np.ndarray,
    *,
    against: str | Path,
    settings: Against,
    work: Path,
    workers: Workers,
) -> Contamination:
    """Which kept documents share n-grams with the evaluation sets in the folder `against`, and what becomes of them.

    `kept`: bool of each document, in the order of components, files and lines. Raises UsageError for a folder without
    evaluation sets, CorruptData where one of them is not what it is called.
    """
    from pipelines.decontamination.judging import judge

    sets = read_evaluation_sets(Path(against))
    if sets.ignored:
        names = ", ".join(sets.ignored[:5]) + (", ..." if len(sets.ignored) > 5 else "")
        workers.reporter.say(f"{against}: {len(sets.ignored):,} files are no evaluation sets: {names}")
    described = settings.parameters(sets.digest)
    table = _named("ngrams", described)
    arguments = (str(Path(against).resolve()), msgspec.to_builtins(settings))
    tables = [Task(table, arguments)]
    run_tasks(_write_ngrams, tables, work=work, workers=workers, label="evaluation sets", unit="files")
    _refuse_changed(work / table, sets.digest, against)
    kept_file = _write_kept(work, kept)
    tasks, first_rows, first = [], [], 0
    for item in components:
        for number, file in enumerate(item.files):
            values = (
                str(file.path.absolute()),
                file.hash,
                str((work / table).resolve()),
                str(kept_file.resolve()),
                first,
                msgspec.to_builtins(settings),
            )
            # Its name holds all that it does: a work folder may be kept for another run.
            of_task = {**described, "file": file.hash, "first": first, "kept": kept_file.name}
            tasks.append(Task(_named(f"search-{item.slug}-{number}", of_task), values, size=file.counts.text_bytes))
            first_rows.append(first)
            first += file.counts.documents
    run_tasks(_search_file, tasks, work=work, workers=workers, label="decontamination", unit="bytes")
    return judge(components, kept, [work / task.name for task in tasks], work / table, settings, folder=arguments[0])


def _refuse_changed(table: Path, digest: str, against: str | Path) -> None:
    from pipelines.decontamination.ngrams import open_ngrams

    if open_ngrams(table)[0].digest != digest:
        remove(table)
        raise TryAgain(f"{against} changed while it was read", hint="the same command again")


def _write_ngrams(*arguments: Any) -> int:
    from pipelines.decontamination.ngrams import write_ngrams

    return write_ngrams(*arguments)


def _search_file(*arguments: Any) -> int:
    from pipelines.decontamination.search import search_file

    return search_file(*arguments)


def _named(name: str, described: dict[str, Any]) -> str:
    return f"{name}-{xxhash.xxh3_64_hexdigest(msgspec.json.encode(described, order='sorted'))}"


def _write_kept(work: Path, kept: np.ndarray) -> Path:
    """A bit for each document in a file that is named by its content."""
    import numpy as np

    bits = np.packbits(kept)
    path = work / f"kept-{xxhash.xxh3_64_hexdigest(bits.tobytes())}.npy"
    if not path.exists():
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, bits, allow_pickle=False)
    return path
