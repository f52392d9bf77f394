"""What `verify` found in, the same bytes as before out: damaged files are removed and their stages run again.

- Only files inside the root are removed or written, and only where a command is known that makes them again.
- Every command runs as a `pile` of its own, in the order of the chain, each once.
- What is still to be done stands in `.repair.json`: a repair that is killed is taken up by the next.
- A training is repeated beside the damaged run, from its last sound checkpoint, and only files whose hash is the one
  that was lost are taken from there: what is sound is never put at risk.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.chain.remedy import PARALLEL, TWIN_SUFFIX, Remedy, joined
from pile_toolkit.core.console import SILENT, Reporter, size
from pile_toolkit.core.errors import CorruptData, PileError, TryAgain
from pile_toolkit.core.files import hash_file, remove, write_bytes
from pile_toolkit.core.jsonfile import MANIFEST_LIMIT_BYTES, read_json
from pile_toolkit.core.lease import hold_root
from pile_toolkit.core.manifest import MANIFEST, TIMINGS, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pile_toolkit.chain.verify import VerifyResult

JOURNAL = ".repair.json"


def repair_all(
    root: Path, found: VerifyResult, *, jobs: int, reporter: Reporter, look: Callable[[], VerifyResult]
) -> VerifyResult:
    """Repairs what `found` names, looks again, and goes on while that brings to light what can still be done.

    A stage is stale only once the one before it has been repaired, so one look is not always enough.
    Raises TryAgain where another run holds the root, before anything is removed.
    """
    tried: list[tuple[str, ...]] = []
    ran: list[str] = []
    while todo := steps(found, unfinished(root), tried):
        with hold_root(root):
            write_bytes(root / JOURNAL, msgspec.json.encode(todo))
            for leftover in found.leftovers:
                reporter.say(f"removed {leftover.path} ({size(leftover.bytes)})")
                remove(Path(leftover.path))
            for step in todo:
                _prepare(step)
        for step in todo:
            if step.command is not None:
                tried.append(step.command)
                ran.append(step.text())
                _run(root, step, jobs=jobs, reporter=reporter)
        remove(root / JOURNAL)
        found = look()
    return msgspec.structs.replace(found, repaired=ran)


def steps(found: VerifyResult, before: Iterable[Remedy] = (), tried: Iterable[tuple[str, ...]] = ()) -> list[Remedy]:
    """What a repair does, in order: what an earlier one left undone, then faults and stale stages by the chain."""
    wanted = [*before, *(fault.remedy for fault in (*found.faults, *found.stale))]
    todo = [remedy for remedy in wanted if remedy.command is not None or remedy.remove]
    done = set(tried)
    todo = sorted((remedy for remedy in todo if remedy.command not in done), key=_place)
    return joined(todo) or ([Remedy()] if found.leftovers else [])


def unfinished(root: Path) -> list[Remedy]:
    """What a repair that was killed had still to do. Raises CorruptData where it would lead out of the root."""
    path = root / JOURNAL
    if not path.exists():
        return []
    todo: list[Remedy] = read_json(path, list[Remedy], limit_bytes=MANIFEST_LIMIT_BYTES, hint=f"rm {path}")
    for step in todo:
        touched = [*step.remove, *step.files, *step.moves, *step.moves.values()]
        if not all(Path(name).parent.resolve().is_relative_to(root.resolve()) for name in touched):
            raise CorruptData(f"{path} is of another root than {root}", hint=f"rm {path}")
    return todo


def _place(remedy: Remedy) -> int:
    order = ("download", "dedup", "build", "tokenizer", "shards", "train", "run", "stats", "report")
    words = remedy.command or ("download",)
    # A mix is made of the shards.
    return 2 * order.index(words[0]) + (words[:2] == ("shards", "mix"))


def _prepare(step: Remedy) -> None:
    for path in step.remove:
        remove(Path(path))
    for path, content in step.files.items():
        write_bytes(Path(path), content.encode())


def _run(root: Path, step: Remedy, *, jobs: int, reporter: Reporter) -> None:
    if not step.moves:
        _call(root, step, jobs=jobs, reporter=reporter)
    else:
        _train_again(root, step, jobs=jobs, reporter=reporter)
    for path in step.files:
        remove(Path(path))


def _call(root: Path, step: Remedy, *, jobs: int, reporter: Reporter) -> None:
    """One `pile` in a process of its own; what it says goes where progress goes. One that fails is said so."""
    command = [*(step.command or ())]
    if any(tuple(command[: len(words)]) == words for words in PARALLEL):
        command += ["--jobs", str(jobs)]
    reporter.say(shlex.join(("pile", *command)))
    silent = reporter is SILENT
    done = subprocess.run(
        [sys.executable, "-m", "pile_toolkit", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if silent else None,
    )
    if done.returncode == TryAgain.exit_code:
        raise TryAgain(
            f"another run took {root} while it was being repaired", hint=f"pile verify --repair --root {root}"
        )
    if done.returncode:
        reporter.say(f"that ended with exit code {done.returncode}")


def _train_again(root: Path, step: Remedy, *, jobs: int, reporter: Reporter) -> None:
    """Trains beside the run from the last checkpoint before the damage, and takes what is as its manifest says."""
    run, twin = _run_of(step)
    manifest = read_manifest(run)
    hashes = {str(run / output.path): output.hash for output in manifest.outputs} if manifest else {}
    if not (twin / "checkpoints").is_dir():
        _seed(run, twin, set(step.moves.values()))
    _call(root, step, jobs=jobs, reporter=reporter)
    try:
        with hold_root(run):
            for made, lost in step.moves.items():
                if Path(made).is_file() and hash_file(Path(made)) == hashes.get(lost):
                    Path(lost).parent.mkdir(parents=True, exist_ok=True)
                    Path(made).replace(lost)
                else:
                    reporter.say(f"{lost} came out with other bytes on this machine and stays as it is")
    except PileError as error:
        reporter.say(error.message)
    remove(twin)


def _run_of(step: Remedy) -> tuple[Path, Path]:
    command = step.command or ()
    name = command[command.index("--name") + 1]
    parts = Path(next(iter(step.moves))).parts
    twin = Path(*parts[: parts.index(name) + 1])
    return twin.with_name(name.removesuffix(TWIN_SUFFIX)), twin


def _seed(run: Path, twin: Path, damaged: set[str]) -> None:
    """What of a run is sound up to its first damage, linked where that is safe: checkpoints are never written into."""
    metrics = run / "metrics.jsonl"
    if str(metrics) in damaged:
        return
    twin.mkdir(parents=True, exist_ok=True)
    if metrics.exists():
        shutil.copy2(metrics, twin)
    for checkpoint in sorted((run / "checkpoints").glob("step-*")):
        if any(Path(path).is_relative_to(checkpoint) for path in damaged):
            return
        names = [MANIFEST, TIMINGS, *(file.name for file in checkpoint.glob("*.safetensors"))]
        target = twin / "checkpoints" / checkpoint.name
        target.mkdir(parents=True)
        for name in names:
            if (checkpoint / name).exists():
                shutil.copy2(checkpoint / name, target / name)
