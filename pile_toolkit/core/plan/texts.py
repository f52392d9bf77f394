"""Rows of the plan in, their texts out, straight from the components, each file read once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pile_toolkit.core.documents import decode_meta, read_documents
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.plan.files import SPLITS
from pile_toolkit.core.plan.lines import ROWS_AT_ONCE, no_document, other_text
from pile_toolkit.core.plan.table import Plan
from pile_toolkit.core.seeds import text_hash
from pile_toolkit.core.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from pile_toolkit.core.documents import Document


class PlannedText(NamedTuple):
    """One row of the plan with its text. `document_id` is `<slug>/<file>:<line>`."""

    row: int
    line: int
    text: str
    meta: bytes


def read_file_rows(plan: Plan, component: int, file: int, rows: np.ndarray) -> Iterator[PlannedText]:
    """The texts of ascending `rows` of one file, read once from its beginning.

    Raises CorruptData where the file no longer holds on a planned line what it held at the build: another text may
    stand in another split.
    """
    yield from FileTexts(plan, component, file).of(plan, rows)


class FileTexts:
    """The documents of one file, read once, for who takes the rows of the plan a block at a time."""

    def __init__(self, plan: Plan, component: int, file: int) -> None:
        self._plan, self._place = plan, (component, file)
        self._documents: Iterator[Document] | None = None
        self._last: Document | None = None

    def of(self, plan: Plan, rows: np.ndarray) -> Iterator[PlannedText]:
        """The texts of ascending `rows` of a part of the plan, behind those given before. Raises as `read_file_rows`.

        A document whose pieces stand in two blocks is given in both.
        """
        lines = plan.column("line")
        for first in range(0, len(rows), ROWS_AT_ONCE):
            # Some at a time: hashes and ends of pieces are an object of Python for each row.
            some = rows[first : first + ROWS_AT_ONCE]
            places = (plan.pieces(name, some) for name in ("piece_start", "piece_end"))
            row_columns = zip(some.tolist(), lines[some].tolist(), plan.text_hashes(some), *places, strict=True)
            checked = None
            for row, line, wanted, start, end in row_columns:
                document = self._document(line)
                if line != checked and text_hash(document.text) != wanted:
                    raise other_text(self._plan, self._plan.path(*self._place), line)
                checked = line
                yield PlannedText(row, line, document.text[start:end], document.meta)

    def _document(self, line: int) -> Document:
        """The document on a line at or behind the last one."""
        path = self._plan.path(*self._place)
        if self._documents is None:
            self._documents = read_documents(path)
        while self._last is None or self._last.line < line:
            self._last = next(self._documents, None)
            if self._last is None:
                raise no_document(self._plan, path, line)
        if self._last.line != line:
            raise no_document(self._plan, path, line)
        return self._last


def file_tasks(plan: Plan, name: str, *arguments: Any) -> list[Task]:
    """A task per file that the plan reads, in its order and as large as its text: for functions of a file's rows.

    Their arguments are root, component, file and then `arguments`.
    """
    tasks = []
    for (component, file), size in plan.file_sizes().items():
        plan.path(component, file)
        # Absolute, because workers of another machine stand elsewhere.
        values = (str(plan.root.resolve()), component, file, *arguments)
        tasks.append(Task(f"{name}-{plan.header.components[component].slug}-{file}", values, size=size))
    return tasks


def iter_texts(plan: Plan, split: str) -> Iterator[tuple[str, int]]:
    """(text, copies) of every piece of a split, in plan order, each read once."""
    for component, file, _ in plan.files():
        part = plan.part(component, file)
        for planned in read_file_rows(part, component, file, part.rows_of(component, file, split)):
            yield planned.text, int(part.column("copies")[planned.row])


class PlannedDocument(NamedTuple):
    """A document of a corpus as `iter_documents` gives it; `meta` is decoded."""

    id: str
    text: str
    meta: dict
    copies: int


def iter_documents(root: str | Path, split: str = "train") -> Iterator[PlannedDocument]:
    """The documents of a split straight from the components, each once, with the number of its copies.

    In plan order, which is that of the components; the corpus files have the shuffled order with copies written out.
    Raises UsageError where `root` has no plan or there is no such split.
    """
    if split not in SPLITS:
        raise UsageError(f"there is no split {split!r}", hint=f"one of {', '.join(SPLITS)}")
    plan = Plan.read(Path(root))
    for component, file, _ in plan.files():
        part = plan.part(component, file)
        for planned in read_file_rows(part, component, file, part.rows_of(component, file, split)):
            meta, copies = decode_meta(planned.meta), int(part.column("copies")[planned.row])
            yield PlannedDocument(part.document_id(planned.row), planned.text, meta, copies)
