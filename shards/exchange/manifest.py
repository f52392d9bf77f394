"""What was exported in, `<output>.manifest.json` beside it out: of what it was made, and what its bytes are.

It stands beside the files or the folder of a format, never inside, so that every format stays what its own library
writes. An import of what was exported here is held against it before the first id is read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import write_bytes
from pile_toolkit.core.jsonfile import MANIFEST_LIMIT_BYTES, read_json
from pile_toolkit.core.manifest import Manifest, StageKey, describe, read_manifest
from pile_toolkit.core.names import UnsafeName, safe_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shards.dataset import TokenDataset

FORMAT = 1
SUFFIX = ".manifest.json"


def export_manifest_path(path: str | Path) -> Path:
    """`<path>.manifest.json`."""
    return Path(f"{path}{SUFFIX}")


def write_export_manifest(
    output: Path, dataset: TokenDataset, files: Sequence[Path], *, to: str, keep_pointers: bool
) -> Path:
    """Hashes what was written and says of which shards it was made, last of all; returns the path of the manifest."""
    prefix = Path(dataset.prefix)
    made = read_manifest(prefix.parent)
    key = StageKey(
        stage="export",
        format=FORMAT,
        # Of shards without a manifest only sizes and pointers are known.
        inputs={"shards": dataset.hash if made is None else made.digest()},
        parameters={"split": prefix.name, "to": to, "keep_pointers": keep_pointers},
    )
    counts: dict[str, Any] = {"sequences": len(dataset), "tokens": dataset.total_tokens}
    if made is not None:
        counts |= {name: made.counts[name] for name in ("vocab_size", "tokenizer") if name in made.counts}
    outputs = sorted((describe(output.parent, path) for path in _all_files(files)), key=lambda one: one.path)
    path = export_manifest_path(output)
    manifest = Manifest(key=key, outputs=outputs, counts=counts)
    write_bytes(path, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
    return path


def _all_files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
        else:
            yield path


def check_export(path: Path) -> Manifest:
    """Reads all that a manifest beside an export names. Raises CorruptData for the first file that is not as written.

    Files that it does not name are not looked at.
    """
    hint = f"export it again, or rm {path} to import it as it is"
    manifest = read_json(path, Manifest, limit_bytes=MANIFEST_LIMIT_BYTES, what="a manifest of an export", hint=hint)
    for output in manifest.outputs:
        try:
            inside = safe_name(output.path) == output.path
        except UnsafeName:
            inside = False
        if not inside:
            raise CorruptData(f"{path} names the file {output.path!r}, which is not beside it", hint=hint)
        file = path.parent / output.path
        if not file.is_file():
            raise CorruptData(f"{file} is missing, {path} names it", hint=hint)
        found_bytes = file.stat().st_size
        if found_bytes != output.bytes:
            raise CorruptData(f"{file} has {found_bytes:,} bytes, {path} says {output.bytes:,}", hint=hint)
        if (found := describe(path.parent, file)) != output:
            raise CorruptData(f"{file} has the hash {found.hash}, {path} says {output.hash}", hint=hint)
    return manifest
