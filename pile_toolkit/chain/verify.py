"""A root folder in, all that is not as its manifests say out, each with the command that repairs it.

Damaged files are faults. Stages that were made of something else than what is there now, and leftovers of killed
writers, are named too and are no damage.
"""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import xxhash

from pile_toolkit.chain.leftovers import Leftover, find_leftovers
from pile_toolkit.chain.remedy import TWIN_SUFFIX, Remedy, name_in, owner_of, remedy_of, remedy_without_manifest
from pile_toolkit.chain.stale import other_source, staleness
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import HASH_BLOCK_BYTES, hash_file
from pile_toolkit.core.manifest import MANIFEST, TIMINGS, Manifest, OutputFile, read_manifest, read_timings
from pile_toolkit.core.runners import available_jobs
from pipelines.filters.stage import SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pile_toolkit.core.console import Reporter

# Where the stages keep their manifests, in the order of the chain.
FOLDERS = ("components/*", "dedup", "plan", "corpus", "tokenizer", "shards", "mixes/*", "runs/*", "stats", "reports")
# What the sources of filtered components brought, or where it lies: stages of their own, but no outputs of the chain.
SOURCE_FOLDERS = (f"components/*/{SOURCE}",)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One output that is not as it should be: `repair` is what to type, `remedy` the same in parts."""

    stage: str
    path: str
    fact: str
    repair: str
    remedy: Remedy


class VerifyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was read again, what is damaged, what is stale or left over, and the commands that `repair` has run."""

    root: str
    stages: int
    files: int
    bytes: int
    faults: list[Fault]
    stale: list[Fault] = []
    leftovers: list[Leftover] = []
    repaired: list[str] = []


class Stages(NamedTuple):
    """The finished stages of a root, and those whose manifest cannot be read."""

    known: dict[str, Manifest]
    unreadable: list[Fault]


class _Output(NamedTuple):
    folder: Path
    manifest: Manifest
    file: OutputFile


def verify(
    root: str | Path, *, repair: bool = False, jobs: int | None = None, reporter: Reporter = SILENT
) -> VerifyResult:
    """Re-hashes every file that a manifest under `root` names, `jobs` at a time (None: one per processor).

    With `repair`, damaged files inside the root are removed, the commands that make them are run, and the result is
    that of a second look. Raises UsageError where there is no manifest, TryAgain where a repair finds the root in use.
    """
    root, jobs = Path(root), jobs or available_jobs()
    found = _verify(root, jobs, reporter)
    if not repair:
        return found
    from pile_toolkit.chain.repair import repair_all

    return repair_all(root, found, jobs=jobs, reporter=reporter, look=lambda: _verify(root, jobs, reporter))


def _verify(root: Path, jobs: int, reporter: Reporter) -> VerifyResult:
    known, unreadable = read_stages(root)
    sources = read_stages(root, SOURCE_FOLDERS)
    unreadable = [*unreadable, *sources.unreadable]
    every = known | sources.known
    if not every and not unreadable and not any(_cut_off(root)):
        hint = f"pile run pile.toml, or pile download --all --root {root}"
        raise UsageError(f"{root} holds no finished output", hint=hint)
    outputs = [
        _Output(root / name, manifest, file)
        for name, manifest in every.items()
        for file in manifest.outputs
        # Whose source was removed to save its room has all that comes after it.
        if name in known or not _is_gone(root / name / file.path)
    ]
    total = sum(output.file.bytes for output in outputs)
    faults = [*_cut_off(root), *unreadable]
    with reporter.progress("verify", total=total, unit="bytes") as advance:
        for output, fact in zip(outputs, _facts(outputs, jobs, advance), strict=True):
            if fact is not None:
                faults.append(_fault(root, output, fact, known))
    return VerifyResult(
        root=str(root),
        stages=len(every) + sum(fault.path.endswith(MANIFEST) for fault in unreadable),
        files=len(outputs),
        bytes=total,
        faults=sorted(faults, key=lambda fault: _place(root, fault.path)),
        stale=list(_stale(root, known, sources.known, unreadable)),
        leftovers=find_leftovers(root, damaged=[fault.path for fault in faults]),
    )


def _cut_off(root: Path) -> Iterator[Fault]:
    """A repair that was killed has removed what it had not yet made again, and its stage's manifest may be gone."""
    from pile_toolkit.chain.repair import JOURNAL

    if (root / JOURNAL).exists():
        note = f"pile verify --repair --root {root}"
        yield _fault_of(root, root / JOURNAL, "is of a repair that was cut off", Remedy(note=note), "verify")


def refuse_faults(result: VerifyResult) -> None:
    """Raises CorruptData that names the first fault and how many there are."""
    if result.faults:
        first = result.faults[0]
        others = f" (and {len(result.faults) - 1} more)" if len(result.faults) > 1 else ""
        still = " after the repair" if result.repaired else ""
        whole = others and not result.repaired
        hint = f"pile verify --repair --root {result.root}" if whole else first.repair
        raise CorruptData(f"{first.path} {first.fact}{still}{others}", hint=hint)


def find_manifests(root: Path) -> Iterator[tuple[Path, Manifest]]:
    """(folder, manifest) of every finished stage, in the order of the chain. Raises CorruptData for an unreadable."""
    for folder in _folders(root):
        manifest = read_manifest(folder)
        if manifest is not None:
            yield folder, manifest


def read_stages(root: Path, folders: Sequence[str] = FOLDERS) -> Stages:
    """Every finished stage by its folder's name, in the order of the chain, and a fault for each unreadable file."""
    known: dict[str, Manifest] = {}
    unreadable = []
    for folder in _folders(root, folders):
        try:
            manifest = read_manifest(folder)
        except CorruptData:
            path, remedy = folder / MANIFEST, remedy_without_manifest(root, owner_of(folder))
            unreadable.append(_fault_of(root, path, "is not a manifest that can be read", remedy, folder.name))
            continue
        if manifest is None:
            continue
        known[name_in(root, folder)] = manifest
        try:
            timings = read_timings(folder)
            if timings is not None and timings.manifest not in ("", hash_file(folder / MANIFEST)):
                fact = "is not the manifest that its stage wrote"
                remedy = remedy_without_manifest(root, owner_of(folder))
                unreadable.append(_fault_of(root, folder / MANIFEST, fact, remedy, folder.name))
                del known[name_in(root, folder)]
        except CorruptData:
            # Times are outside every hash: without them the next command hashes the files once more.
            path = folder / TIMINGS
            unreadable.append(_fault_of(root, path, "cannot be read", Remedy(remove=(str(path),)), manifest.key.stage))
    return Stages(known, unreadable)


def _folders(root: Path, patterns: Sequence[str] = FOLDERS) -> Iterator[Path]:
    for pattern in patterns:
        for path in sorted(root.glob(f"{pattern}/{MANIFEST}")):
            if not path.parent.name.endswith(TWIN_SUFFIX):
                yield path.parent


def _place(root: Path, path: str) -> int:
    """Where in the chain a file stands; files from outside come first, as all else is made of them."""
    inside = Path(path).is_relative_to(root)
    top = Path(path).relative_to(root).parts[0] if inside else ""
    return next((number for number, name in enumerate(FOLDERS) if name.split("/")[0] == top), -1)


def _is_gone(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


def _facts(outputs: list[_Output], jobs: int, advance: Callable[[int], None]) -> Iterator[str | None]:
    """What is wrong with each, in their order; an interruption ends the readers within one block."""
    stop, lock = threading.Event(), threading.Lock()

    def advance_together(read_bytes: int) -> None:
        with lock:
            advance(read_bytes)

    def fact(output: _Output) -> str | None:
        return None if stop.is_set() else _fact(output, advance_together, stop)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield from pool.map(fact, outputs)
        finally:
            stop.set()


def _fact(output: _Output, advance: Callable[[int], None], stop: threading.Event) -> str | None:
    path, wanted = output.folder / output.file.path, output.file
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "is not a regular file"
        found_bytes = status.st_size
        if found_bytes != wanted.bytes:
            advance(wanted.bytes)
            return f"has {found_bytes:,} bytes, its manifest says {wanted.bytes:,}"
        found = _hash(path, advance, stop)
    except PermissionError as error:
        # Who may not read a file cannot say that it is damaged, and must not have it made anew.
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            hint=f"ls -l {path}, then chmod or chown it, or run as its owner",
        ) from error
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return None if found == wanted.hash else f"has the hash {found}, its manifest says {wanted.hash}"


def _hash(path: Path, advance: Callable[[int], None], stop: threading.Event) -> str:
    # As core.files.hash_file does it, and counting: one file may be hundreds of gigabytes.
    hasher = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        while not stop.is_set() and (block := file.read(HASH_BLOCK_BYTES)):
            hasher.update(block)
            advance(len(block))
    return hasher.hexdigest()


def _fault(root: Path, output: _Output, fact: str, known: dict[str, Manifest]) -> Fault:
    path, stage = output.folder / output.file.path, output.manifest.key.stage
    if not is_inside(root, output.folder, output.file.path):
        note = f"restore {path} from where it came; it lies outside {root} and is never written"
        return _fault_of(root, path, fact, Remedy(note=note), stage)
    owner = owner_of(output.folder)
    # A component whose filters did not finish has no manifest yet, which would say how it is made.
    is_known = name_in(root, owner) in known
    remedy = remedy_of(root, owner, known) if is_known else remedy_without_manifest(root, owner)
    if stage == "train" and remedy.command is not None:
        twin = output.folder.with_name(output.folder.name + TWIN_SUFFIX) / output.file.path
        return _fault_of(root, path, fact, msgspec.structs.replace(remedy, moves={str(twin): str(path)}), stage)
    return _fault_of(root, path, fact, remedy, stage)


def _fault_of(root: Path, path: Path, fact: str, remedy: Remedy, stage: str) -> Fault:
    if remedy.command is not None and not remedy.moves:
        # A stage takes a file whose size and time are right for unchanged, so it goes first.
        remedy = msgspec.structs.replace(remedy, remove=(str(path),))
    return Fault(stage=stage, path=str(path), fact=fact, repair=remedy.text(), remedy=remedy)


def is_inside(root: Path, folder: Path, name: str) -> bool:
    """Whether an output is a stage's own file: named relative to its folder, and by no `..` or link led outside."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        return False
    return (folder / name).parent.resolve().is_relative_to(root.resolve())


def _stale(
    root: Path, known: dict[str, Manifest], sources: dict[str, Manifest], unreadable: list[Fault]
) -> Iterator[Fault]:
    lost = {name_in(root, Path(fault.path).parent) for fault in unreadable}
    for name, manifest in known.items():
        source = sources.get(f"{name}/{SOURCE}")
        fact = staleness(root, name, known, lost) or other_source(manifest, source)
        if fact is not None:
            folder = root / name
            # A run is a result of its own: it is not trained again because the data have moved on.
            is_run = manifest.key.stage == "train"
            remedy = Remedy(note="kept: pile train with another --name") if is_run else remedy_of(root, folder, known)
            yield Fault(stage=manifest.key.stage, path=str(folder), fact=fact, repair=remedy.text(), remedy=remedy)
