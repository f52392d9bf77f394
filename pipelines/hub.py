"""A Hugging Face dataset in, the documents of one component out: its rows are streamed and filtered by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zstandard

from pile_toolkit.core.documents import DocumentWriter
from pile_toolkit.core.errors import CorruptData, UsageError
from pipelines.catalog import named

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pile_toolkit.core.console import Reporter
    from pipelines.catalog import Component

DOCUMENTS_FILE = "00.jsonl.zst"


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """The rows of a Hugging Face dataset whose `meta.pile_set_name` is the component's; `name` is owner/name."""

    name: str
    revision: str | None = None
    split: str = "train"

    def parameters(self) -> dict[str, Any]:
        """Which dataset; without a revision it is the newest one at the time of the download."""
        return {"from": f"hf://{self.name}", "revision": self.revision, "split": self.split}

    def fetch(self, component: Component, folder: Path, reporter: Reporter) -> list[Path]:
        """Streams the split once and writes the component's rows, in the dataset's order, as one file.

        Raises SourceUnavailable where the dataset cannot be read or holds no such row, CorruptData for a row that is
        no document.
        """
        path, rows, label = folder / DOCUMENTS_FILE, 0, f"{component.slug} from {self.name}"
        with reporter.progress(label, total=0, unit="rows") as advance, DocumentWriter(path) as writer:
            for rows, row in enumerate(self._rows(component), start=1):
                text, meta = self._document(rows, row)
                if named(meta["pile_set_name"]) == component:
                    writer.write(text, meta)
                advance(1)
            if writer.documents == 0:
                fact = f"none of the {rows:,} rows of {self.name} has meta.pile_set_name '{component.name}'"
                raise component.not_in(fact)
        return [path]

    def _rows(self, component: Component) -> Iterator[dict[str, Any]]:
        try:
            from datasets import load_dataset
            from datasets.exceptions import DatasetsError
        except ImportError as error:
            raise UsageError(
                "hf:// needs the package datasets, which is not installed", hint="pip install 'pile-toolkit[hub]'"
            ) from error
        try:
            try:
                rows = load_dataset(self.name, revision=self.revision, split=self.split, streaming=True)
            except ValueError as error:
                raise UsageError(f"hf://{self.name} cannot be read as asked: {error}") from error
            yield from rows
        except (OSError, DatasetsError) as error:
            raise component.not_in(f"hf://{self.name} cannot be read: {error}") from error
        # What the library makes of bad JSON, of an empty or cut file, and of a file that is no zstd.
        except (ValueError, RuntimeError, StopIteration, zstandard.ZstdError) as error:
            raise CorruptData(f"hf://{self.name} holds a damaged file: {error}") from error

    def _document(self, number: int, row: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        text, meta = row.get("text"), row.get("meta")
        if isinstance(text, str) and isinstance(meta, dict) and isinstance(meta.get("pile_set_name"), str):
            return text, meta
        columns = ", ".join(f"{name} ({type(value).__name__})" for name, value in row.items())
        raise CorruptData(
            f"row {number:,} of hf://{self.name} is no document of the Pile: text and meta.pile_set_name are wanted, "
            f"its columns are {columns}",
            hint="choose a dataset that keeps meta.pile_set_name",
        )
