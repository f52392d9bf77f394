"""A root in, the statistics of its documents out: the counting stage, handed shards and a tokenizer where they are.

The report of a root tells of them, and with `pile run` has them counted.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.chain.sizes import TOKENS_PER_BYTE
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.manifest import current_manifest, read_manifest
from pipelines.stats import count_statistics
from pipelines.stats.stage import TokenSources

if TYPE_CHECKING:
    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.manifest import Manifest
    from pile_toolkit.report.render import ReportResult
    from pipelines.stats import StatisticsResult
    from pipelines.stats.lengths import Lengths
    from pipelines.stats.results import Of

_ROWS = 4 << 20


def stats(
    root: str | Path = "pile-data",
    *,
    of: Of = "all",
    tokenizer: str | Path | None = None,
    estimate_tokens: bool = False,
    languages: bool = True,
    jobs: int = 1,
    scheduler: str = "process",
    reporter: Reporter = SILENT,
) -> StatisticsResult:
    """Documents, bytes, characters, tokens, lengths, languages, duplicates and compression, per component and split.

    `of` "components" are the documents as they are, "plan" each split with its copies. Tokens come from the shards, of
    what is not in them from encoding with `tokenizer` or the root's own; `estimate_tokens` encodes nothing. Writes
    `stats/` in the root. Raises UsageError where there is nothing to count, CorruptData for damaged files.
    """
    sources = _token_sources(Path(root), tokenizer, estimate_tokens=estimate_tokens)
    return count_statistics(
        root, tokens=sources, of=of, languages=languages, jobs=jobs, scheduler=scheduler, reporter=reporter
    )


def report(root: str | Path, *, jobs: int = 1, scheduler: str = "process", reporter: Reporter = SILENT) -> ReportResult:
    """The report with the statistics of its components, which are counted where none are of this root as it is now.

    Those that are, be they of another tokenizer, stay. Raises what `stats` and `write_report` raise.
    """
    from pile_toolkit.report.current import current_statistics
    from pile_toolkit.report.finished import finished_stages
    from pile_toolkit.report.render import write_report

    root = Path(root)
    if counted := current_statistics(root, finished_stages(root)) is None:
        stats(root, jobs=jobs, scheduler=scheduler, reporter=reporter)
    written = write_report(root, reporter=reporter)
    return msgspec.structs.replace(written, up_to_date=written.up_to_date and not counted)


def _token_sources(root: Path, tokenizer: str | Path | None, *, estimate_tokens: bool) -> TokenSources:
    from shards.encoder import CarriedEncoder

    encoder: Any = None
    if tokenizer is not None:
        encoder = _load(tokenizer)
    elif not estimate_tokens:
        encoder = _own_encoder(root)
    counted = _shards_of(root)
    if counted is not None and encoder is not None and counted.tokenizer != encoder.hash:
        # Of two tokenizers the one that was asked for; else that of the shards, whose tokens are counted already.
        counted, encoder = (None, encoder) if tokenizer is not None else (counted, None)
    carried = CarriedEncoder(encoder) if encoder is not None else None
    return TokenSources(TOKENS_PER_BYTE, counted, carried)


def _load(path: str | Path) -> Any:
    from tokenizer.encoder import Encoder

    return Encoder.load(path)


def _own_encoder(root: Path) -> Any:
    """The root's own tokenizer, None where it has none."""
    path = root / "tokenizer" / "tokenizer.json"
    if not path.exists():
        return None
    known = read_manifest(path.parent)
    if known is None or current_manifest(path.parent, known.key) is None:
        return _load(path)
    return _EncoderOnDemand(path, known.counts["tokenizer"])


class _EncoderOnDemand:
    """A tokenizer whose hash is known: read with the first text, for a hash alone would take most of the time."""

    def __init__(self, path: Path, known_hash: str) -> None:
        self._path, self.hash = path, known_hash

    @cached_property
    def _encoder(self) -> Any:
        found = _load(self._path)
        if found.hash != self.hash:
            raise CorruptData(
                f"{self._path} is the tokenizer {found.hash}, its manifest says {self.hash}",
                hint="pile verify --repair",
            )
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            # What pickling and copying look for must not read a file.
            raise AttributeError(name)
        return getattr(self._encoder, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._encoder.__reduce_ex__(protocol)


def _shards_of(root: Path) -> TokensOfShards | None:
    """The shards of the plan that is there now; None where there are none, or of another plan."""
    shards, plan = read_manifest(root / "shards"), read_manifest(root / "plan")
    if shards is None or plan is None or shards.key.inputs.get("plan") != plan.digest():
        return None
    return TokensOfShards(root / "shards", shards)


class TokensOfShards:
    """The tokens of every sequence of `shards/`, end-of-text included."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest

    @property
    def digest(self) -> str:
        """Names the shards by their content."""
        return self._manifest.digest()

    @property
    def tokenizer(self) -> str:
        """The hash of their tokenizer."""
        return self._manifest.counts["tokenizer"]

    def lengths(self) -> dict[tuple[str, str | None], Lengths]:
        """Tokens a sequence per (component, split), copies counted, and per (component, None) of first copies.

        Some million rows of the index at a time. Raises CorruptData where the files do not fit together.
        """
        from pipelines.stats.lengths import merged

        parts: dict[tuple[str, str | None], list[Lengths]] = {}
        for split in self._manifest.counts["splits"]:
            for key, lengths in _lengths_of(self._folder / split, split):
                known = parts.setdefault(key, [])
                known[:] = [merged([*known, lengths])]
        return {key: part for key, (part,) in parts.items()}


def _lengths_of(prefix: Path, split: str) -> Any:
    import numpy as np

    from pipelines.stats.lengths import Lengths
    from shards.dataset import TokenDataset

    with TokenDataset(prefix) as dataset:
        rows = dataset.provenance
        for start in range(0, len(dataset), _ROWS):
            some = slice(start, start + _ROWS)
            component, sizes = rows.component[some], dataset.sizes[some].astype(np.int64)
            first = rows.copy[some] == 0
            for number in np.unique(component).tolist():
                mine = component == number
                slug = rows.components[number]
                yield (slug, split), Lengths(*np.unique(sizes[mine], return_counts=True))
                yield (slug, None), Lengths(*np.unique(sizes[mine & first], return_counts=True))
