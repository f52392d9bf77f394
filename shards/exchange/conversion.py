"""A data set of another program in, a `.bin/.idx` pair out; a pair in, a data set of another program out.

Everything goes through in blocks, and a name appears only when what it names is whole. Where documents are known, what
they are goes along. An export has a manifest beside it, against which an import of it is held.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import atomic_path, write_bytes
from pile_toolkit.core.manifest import MANIFEST
from shards.dataset import TokenDataset
from shards.exchange import dolma, huggingface, litdata, mds, megatron, nanogpt
from shards.exchange.idfile import IdFile
from shards.exchange.manifest import check_export, export_manifest_path, write_export_manifest
from shards.exchange.origins import OriginsCollector, origins_path, read_origins, write_origins
from shards.exchange.shapes import Incoming, Layout, Reading, Writing, Written
from shards.format import data_path, index_path, write_index
from shards.provenance import provenance_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pile_toolkit.core.console import Advance, Reporter
    from shards.exchange.origins import Origins


class _Format(Protocol):
    def read(self, source: Path, reading: Reading) -> Incoming: ...
    def write(
        self, dataset: TokenDataset, output: Path, writing: Writing, advance: Callable[[int], None]
    ) -> Written: ...


_MODULES: dict[str, Any] = {
    "megatron": megatron,
    "neox": megatron,
    "nanogpt": nanogpt,
    "dolma": dolma,
    "huggingface": huggingface,
    "mds": mds,
    "litdata": litdata,
}
FORMATS = tuple(_MODULES)
# Of a whole folder of splits the name of each, and what must not be there yet.
_NAME = {"nanogpt": "{}.bin", "dolma": "{}.npy"}
_TARGETS = {"megatron": (".bin", ".idx"), "neox": (".bin", ".idx"), "dolma": ("", ".npy", ".csv.gz")}
_WITH_COLUMNS = ("huggingface", "mds")
SPLITS = ("train", "val", "test")


class ExchangedSplit(msgspec.Struct, frozen=True, kw_only=True):
    """One pair: from where, which files were written, and what is in them."""

    source: str
    files: list[str]
    sequences: int
    documents: int
    tokens: int
    dtype: str
    provenance: bool


class Exchanged(msgspec.Struct, frozen=True, kw_only=True):
    """What went through; `options` are lines to type or paste for the other program, `said` facts to know.

    Of a dry run there are no pairs, but the files that `would_write` names.
    """

    format: str
    pairs: list[ExchangedSplit]
    said: list[str]
    options: list[str]
    would_write: list[str] = []


def import_shards(
    source: str | Path,
    output: str | Path,
    *,
    format: str,
    end_of_text: int | None = None,
    vocab_size: int | None = None,
    id_type: str | None = None,
    dry_run: bool = False,
    reporter: Reporter = SILENT,
) -> Exchanged:
    """Writes the pair `<output>.bin/.idx`, with `.docs.arrow` where the source says which documents it holds.

    Ids are checked against `vocab_size` and stored as uint16 where they allow it, else int32. `end_of_text` cuts ids
    that came without documents, `id_type` is the type of ids in files that do not say it. Raises UsageError where the
    source is absent or the output there, CorruptData where the source is not what it claims to be, or was exported here
    and is not any more what its manifest says.
    """
    source, output = Path(source), Path(output)
    module = _module(format)
    _refuse_existing(output, [index_path(output)])
    base = _base(format, source)
    recorded = export_manifest_path(base)
    checked = check_export(recorded) if recorded.exists() and not dry_run else None
    incoming = module.read(source, Reading(end_of_text=end_of_text, id_type=id_type))
    if dry_run:
        return _dry_run(format, [data_path(output), index_path(output)])
    collector = OriginsCollector(str(source))
    with (
        reporter.progress(f"import {source.name}", total=incoming.tokens, unit="tokens") as advance,
        atomic_path(data_path(output), needs_bytes=2 * incoming.tokens) as temporary,
    ):
        file = IdFile(temporary, name=str(source), vocab_size=vocab_size)
        layout, described = _take(incoming, file, collector, advance)
        if not described and (rows := incoming.origins or _beside(base)) is not None:
            described = True
            for origins in rows:
                collector.add(origins)
        if described:
            collector.refuse_other_count(len(layout.sizes))
        file.close()
    if described:
        collector.write(provenance_path(output))
    write_index(
        index_path(output),
        dtype=file.dtype,
        sizes=layout.sizes,
        pointers=layout.starts * file.dtype.itemsize,
        doc_idx=layout.doc_idx,
    )
    with TokenDataset(output) as dataset:
        files = [data_path(output), index_path(output)] + ([provenance_path(output)] if described else [])
        pair = _pair(source, dataset, Written(files=files))
    said = [f"all {len(checked.outputs)} files are as they were exported"] if checked else []
    if not described:
        said.append("it does not say which documents these are: there is no .docs.arrow")
    if pair.sequences and vocab_size is None:
        said.append("ids were not checked against a vocabulary: --vocab-size does")
    return Exchanged(format=format, pairs=[pair], said=said, options=[])


def _take(incoming: Incoming, file: IdFile, collector: OriginsCollector, advance: Advance) -> tuple[Layout, bool]:
    """Writes all ids; returns where sequences are, and whether their documents came with them."""
    ends, described = [np.zeros(1, np.int64)], False
    for part in incoming.parts:
        ends.append(part.ends + file.written)
        file.write(part.ids)
        if part.origins is not None:
            collector.add(part.origins)
            described = True
        advance(len(part.ids))
    if incoming.layout is not None:
        return incoming.layout(), described
    bounds = np.concatenate(ends)
    if bounds[-1] < file.written:
        # The last document came without its end.
        bounds = np.append(bounds, file.written)
    return Layout(bounds[:-1], np.diff(bounds), np.arange(len(bounds))), described


def _base(format: str, path: Path) -> Path:
    """What stands beside an export is named after this: where a format has two files, what they have in common."""
    return dolma.base(path) if format == "dolma" else path


def _beside(base: Path) -> Iterator[Origins] | None:
    path = origins_path(base)
    return read_origins(path) if path.exists() else None


def export_shards(
    prefix: str | Path,
    output: str | Path,
    *,
    to: str,
    keep_pointers: bool = False,
    dry_run: bool = False,
    reporter: Reporter = SILENT,
) -> Exchanged:
    """Writes the pair `prefix` in another program's format; of a folder each of its train, val and test.

    Copies are written out, in the order of the index; `keep_pointers` leaves them shared, where the format has an
    index. Raises UsageError where the pair is absent, the output there, or the format cannot hold the ids.
    """
    prefix, output = Path(prefix), Path(output)
    module = _module(to)
    if keep_pointers and module is not megatron:
        raise UsageError(f"{to} has no pointers that could be kept", hint="--to megatron, or without --keep-pointers")
    pairs = _pairs(prefix, output, to)
    for target in pairs.values():
        _refuse_existing(target, [Path(f"{target}{ending}") for ending in _TARGETS.get(to, ("",))])
    if dry_run:
        for source in pairs:
            TokenDataset(source).close()
        return _dry_run(to, list(pairs.values()))
    done: list[ExchangedSplit] = []
    said: dict[str, None] = {}
    for source, target in pairs.items():
        base = _base(to, target)
        # That of files which somebody has removed since.
        export_manifest_path(base).unlink(missing_ok=True)
        with (
            TokenDataset(source) as dataset,
            reporter.progress(f"export {source.name}", total=dataset.total_tokens, unit="tokens") as advance,
        ):
            written = module.write(dataset, target, Writing(keep_pointers=keep_pointers), advance)
            if dataset.has_provenance and to not in _WITH_COLUMNS:
                written.files.append(origins_path(base))
                write_origins(written.files[-1], dataset.provenance)
            elif not dataset.has_provenance:
                written.said.append("the shards do not say which documents they hold, nor does the copy")
            manifest = write_export_manifest(base, dataset, written.files, to=to, keep_pointers=keep_pointers)
            written.files.append(manifest)
            done.append(_pair(source, dataset, written))
            said |= dict.fromkeys(written.said)
    if to == "huggingface" and prefix.is_dir():
        write_bytes(output / "dataset_dict.json", msgspec.json.encode({"splits": [path.name for path in pairs]}))
    return Exchanged(format=to, pairs=done, said=list(said), options=_options(to, pairs, whole=prefix.is_dir()))


def _dry_run(format: str, paths: list[Path]) -> Exchanged:
    return Exchanged(format=format, pairs=[], said=[], options=[], would_write=[str(path) for path in paths])


def _pairs(prefix: Path, output: Path, to: str) -> dict[Path, Path]:
    """From which prefix to which name."""
    if not prefix.is_dir():
        return {prefix: output}
    splits = [split for split in SPLITS if index_path(prefix / split).exists()]
    if not splits:
        raise UsageError(f"the folder {prefix} holds no shards", hint="a prefix such as shards/train, or its folder")
    return {prefix / split: output / _NAME.get(to, "{}").format(split) for split in splits}


def _options(to: str, pairs: dict[Path, Path], *, whole: bool) -> list[str]:
    if to not in ("neox", "megatron"):
        return []
    # Of one pair nobody knows which split it is, but for its name.
    outputs = {source.name: target for source, target in pairs.items() if whole or source.name in SPLITS}
    return megatron.neox_options(outputs) if to == "neox" else megatron.megatron_options(outputs)


def _module(name: str) -> _Format:
    if name not in _MODULES:
        raise UsageError(f"there is no format {name!r}", hint=f"one of {', '.join(FORMATS)}")
    return _MODULES[name]


def _refuse_existing(target: Path, files: list[Path]) -> None:
    if (target.parent / MANIFEST).exists():
        # Its next reader would find a file that no stage has written.
        raise UsageError(f"{target.parent} belongs to a stage, which has a manifest of its files", hint="another -o")
    for path in files:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} is there already and is not written over", hint="another -o, or remove it")


def _pair(source: Path, dataset: TokenDataset, written: Written) -> ExchangedSplit:
    return ExchangedSplit(
        source=str(source),
        files=[str(path) for path in written.files],
        sequences=len(dataset),
        documents=max(len(dataset.doc_idx) - 1, 0),
        tokens=dataset.total_tokens,
        dtype=dataset.dtype.name,
        provenance=dataset.has_provenance,
    )
