"""A prefix in, what is wrong with it out: files against their manifest and each other, every byte read once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.manifest import read_manifest
from shards.dataset import TokenDataset
from shards.format import data_path, file_bytes, index_path
from shards.provenance import provenance_path
from shards.verify.bytes import read_files
from shards.verify.sequences import (
    Problem,
    end_problems,
    index_problems,
    overlap_notes,
    provenance_problems,
    sum_problems,
)

if TYPE_CHECKING:
    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.manifest import Manifest, OutputFile

__all__ = ["Problem", "Verified", "verify_shards"]


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, what is wrong, what is legal but worth knowing; `hashed` files are as their manifest says."""

    prefix: str
    sequences: int
    tokens: int
    bytes: int
    vocab_size: int | None
    hashed: list[str]
    problems: list[Problem]
    notes: list[str]


def verify_shards(
    prefix: str | Path,
    vocab_size: int | None = None,
    end_of_text: int | None = None,
    *,
    jobs: int = 1,
    reporter: Reporter = SILENT,
) -> Verified:
    """What is wrong with `<prefix>.bin`, `.idx` and `.docs.arrow`; no problems where nothing is.

    Hashes and sums are those of the manifest beside them, as far as there is one, and so is `vocab_size` by default.
    Each sequence must end with `end_of_text`; without it, all must end alike where the shards have provenance, hence
    are ours. Shared pointers are legal, and stretches that overlap otherwise are noted. Raises UsageError where the
    pair is absent.
    """
    prefix = Path(prefix)
    # An absent file is not a damaged one.
    sizes = [file_bytes(path) for path in (data_path(prefix), index_path(prefix))]
    problems: list[Problem] = []
    try:
        manifest = read_manifest(prefix.parent)
    except CorruptData as error:
        manifest = None
        problems.append(Problem(str(prefix.parent), error.message))
    recorded = _recorded(manifest, prefix)
    if manifest and recorded and vocab_size is None:
        vocab_size = manifest.counts.get("vocab_size")
    dataset = _opened(prefix, problems)
    files = [data_path(prefix), index_path(prefix), provenance_path(prefix)]
    present = [path for path in files if path.exists()]
    read = read_files(
        present,
        ids_type=dataset.dtype if dataset else None,
        vocab_size=vocab_size,
        recorded=recorded,
        jobs=jobs,
        reporter=reporter,
    )
    problems += read.problems
    notes: list[str] = []
    if dataset is not None:
        with dataset:
            problems += index_problems(dataset, bin_is_recorded=str(data_path(prefix)) in read.sound)
            problems += end_problems(dataset, end_of_text)
            problems += provenance_problems(dataset)
            problems += sum_problems(dataset, _counts(manifest, prefix) if recorded else None)
            notes += overlap_notes(dataset)
    return Verified(
        prefix=str(prefix),
        sequences=len(dataset) if dataset else 0,
        tokens=dataset.total_tokens if dataset else 0,
        bytes=sum(sizes),
        vocab_size=vocab_size,
        hashed=read.sound,
        problems=problems,
        notes=notes,
    )


def _opened(prefix: Path, problems: list[Problem]) -> TokenDataset | None:
    try:
        return TokenDataset(prefix)
    except CorruptData as error:
        # Its sentence names the file, and the hint what to do about it.
        problems.append(Problem(str(index_path(prefix)), error.message, error.hint or f"restore {index_path(prefix)}"))
        return None


def _recorded(manifest: Manifest | None, prefix: Path) -> dict[str, OutputFile]:
    """What the manifest beside a pair says of its files, by path."""
    outputs = manifest.outputs if manifest else []
    return {str(prefix.parent / output.path): output for output in outputs if output.path.startswith(f"{prefix.name}.")}


def _counts(manifest: Manifest | None, prefix: Path) -> dict[str, int] | None:
    splits = manifest.counts.get("splits") if manifest else None
    return splits.get(prefix.name) if isinstance(splits, dict) else None
