"""A root folder in, every file that no longer is what its manifest says out, each with the command that repairs it."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.chain.config import RESOLVED
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import hash_file
from pile_toolkit.core.manifest import MANIFEST, Manifest, OutputFile, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pile_toolkit.core.console import Reporter

# Where the stages keep their manifests, in the order of the chain.
FOLDERS = ("components/*", "dedup", "plan", "corpus", "tokenizer", "shards", "mixes/*", "runs/*", "reports")
READERS = 2


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One damaged output: `repair` are the commands that make it anew."""

    stage: str
    path: str
    fact: str
    repair: str


class VerifyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was read again, and what is wrong."""

    root: str
    stages: int
    files: int
    bytes: int
    faults: list[Fault]


def verify(root: str | Path, *, reporter: Reporter = SILENT) -> VerifyResult:
    """Re-hashes every file that a manifest under `root` names. Raises UsageError where there is no manifest."""
    root = Path(root)
    manifests = list(find_manifests(root))
    if not manifests:
        raise UsageError(f"{root} holds no finished output", hint=f"pile run pile.toml, or pile download --root {root}")
    files = [(folder, manifest, output) for folder, manifest in manifests for output in manifest.outputs]
    faults = []
    with (
        reporter.progress("verify", total=sum(output.bytes for *_, output in files), unit="bytes") as advance,
        ThreadPoolExecutor(READERS) as pool,
    ):
        for (folder, manifest, output), fact in zip(files, pool.map(_fact, files), strict=True):
            advance(output.bytes)
            if fact is not None:
                faults.append(_fault(root, folder, manifest, output, fact))
    return VerifyResult(
        root=str(root),
        stages=len(manifests),
        files=len(files),
        bytes=sum(output.bytes for *_, output in files),
        faults=faults,
    )


def refuse_faults(result: VerifyResult) -> None:
    """Raises CorruptData that names the first fault and how many there are."""
    if result.faults:
        first = result.faults[0]
        others = f" (and {len(result.faults) - 1} more)" if len(result.faults) > 1 else ""
        raise CorruptData(f"{first.path} {first.fact}{others}", hint=first.repair)


def find_manifests(root: Path) -> Iterator[tuple[Path, Manifest]]:
    """(folder, manifest) of every finished stage, in the order of the chain."""
    for pattern in FOLDERS:
        for path in sorted(root.glob(f"{pattern}/{MANIFEST}")):
            manifest = read_manifest(path.parent)
            if manifest is not None:
                yield path.parent, manifest


def _fact(item: tuple[Path, Manifest, OutputFile]) -> str | None:
    folder, _, output = item
    path = folder / output.path
    try:
        found_bytes = path.stat().st_size
        if found_bytes != output.bytes:
            return f"has {found_bytes:,} bytes, its manifest says {output.bytes:,}"
        if (found := hash_file(path)) != output.hash:
            return f"has the hash {found}, its manifest says {output.hash}"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def _fault(root: Path, folder: Path, manifest: Manifest, output: OutputFile, fact: str) -> Fault:
    path = folder / output.path
    return Fault(stage=manifest.key.stage, path=str(path), fact=fact, repair=_repair(root, folder, path, manifest))


def _repair(root: Path, folder: Path, path: Path, manifest: Manifest) -> str:
    """The file is removed first: a stage takes one whose size and time are right for unchanged."""
    if not path.is_relative_to(root):
        return f"restore {path} from where it came; it lies outside {root} and is never written"
    options = {key: value for key, value in manifest.key.parameters.items() if isinstance(value, str | int | float)}
    command = {
        "download": f"pile download {folder.name} --from {options.get('from', 'sample:')}",
        "dedup": _with_options("pile dedup", options, ("method", "threshold", "num_perm")),
        "build": _with_options("pile build", options, ("seed", "val_share", "test_share")),
        "corpus": _with_options("pile build", options, ("train_shards",)),
        "tokenizer": _with_options("pile tokenizer train", options, ("vocab_size", "max_space_run")),
        "shards": "pile shards write",
        "mix": f"pile shards mix {folder.name}",
        "train": f"pile train {manifest.counts.get('recipe')} --steps {options.get('steps')} --name {folder.name}",
        "report": "pile report",
    }.get(manifest.key.stage, "pile run pile.toml")
    # The resolved file knows every parameter of a chain; single commands are for roots made stage by stage.
    if (root / RESOLVED).exists():
        return f"rm {shlex.quote(str(path))} && pile run {shlex.quote(str(root / RESOLVED))}"
    return f"rm {shlex.quote(str(path))} && {command} --root {shlex.quote(str(root))}"


def _with_options(command: str, options: dict, names: tuple[str, ...]) -> str:
    return " ".join([command, *(f"--{name.replace('_', '-')} {options[name]}" for name in names if name in options)])
