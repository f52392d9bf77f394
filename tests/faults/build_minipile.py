"""A folder of real documents in; its corpus of 30 train shards by one process, two, and a cluster that loses a worker.

    python -m tests.faults.build_minipile [--source ../shared/data/minipile]

All files of the three roots must be equal, and of every document as many copies in the files as in the plan.
"""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.files import hash_file
from pile_toolkit.core.manifest import TIMINGS
from pile_toolkit.core.plan import SPLITS, Plan
from pipelines.catalog import components
from tests.chain.small_chain import process_environment
from tests.faults.cluster import cluster
from tests.faults.commands import death_in, died
from tests.faults.ground import RunningPile
from tests.faults.outcome import demand

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TRAIN_SHARDS = 30
WORKERS = 3
# A phase of the build by a part of the paths it opens.
PHASES = {"pass 1": "/deal-", "pass 2": "/sort-"}


def build_corpus(source: Path, root: Path, *options: str) -> None:
    """Components, keep-list, plan and corpus of `root`, each as a command."""
    for command in _commands(source, root):
        _finish([*command, "--root", str(root), *options])


def _commands(source: Path, root: Path) -> list[list[str]]:
    shares = ["--val-share", "0.02", "--test-share", "0.02"]
    return [
        ["download", "--all", "--from", str(source)],
        ["dedup"],
        ["build", "--train-shards", str(TRAIN_SHARDS), *shares],
    ]


def _finish(words: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    run = RunningPile(words, environment or {})
    demand(run.ends() and run.process.returncode == 0, f"{' '.join(words)} ended badly: {run.said()}")
    demand(not run.left_alive(), f"alive after {words[0]}: {run.left_alive()}")


def build_on_cluster(source: Path, root: Path, phase: str) -> None:
    """The same on a Dask cluster of which one worker dies in the middle of a task of `phase`."""
    folder = root.parent / f"{root.name}.cluster"
    folder.mkdir()
    environment = {**process_environment(), **death_in(PHASES[phase], folder), "FAULT_FIRST": "0"}
    with cluster(folder, WORKERS, environment=environment) as there:
        build_corpus(source, root, "--scheduler", there.address, "--jobs", str(WORKERS))
        dead = [worker for worker in there.workers if worker.poll() == -signal.SIGKILL]
        demand(died(folder) and len(dead) == 1, f"{len(dead)} workers died in {phase}")


def hashes(root: Path) -> dict[str, str]:
    """Of every file but times and leases, by its name."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name not in (TIMINGS, ".lease.json")]
    return {path.relative_to(root).as_posix(): hash_file(path) for path in files}


def count_copies(root: Path) -> int:
    """Counts the copies of every document, by split, in the corpus and in the plan; the number of documents.

    Documents are told apart by component and text: those of one text in one component are counted together.
    """
    plan = Plan.read(root)
    planned: Counter[tuple[str, str, str]] = Counter()
    texts: dict[str, str] = {}
    slugs = {component.slug: component.name for component in components()}
    for row in range(len(plan)):
        slug, _, place = plan.document_id(row).partition("/")
        name, _, line = place.rpartition(":")
        if f"{slug}/{name}" not in texts.get("", ""):
            path = plan.path(int(plan.column("component")[row]), int(plan.column("file")[row]))
            texts = {"": f"{slug}/{name}", **{str(item.line): item.text for item in read_documents(path)}}
        split = SPLITS[int(plan.column("split")[row])]
        planned[split, slugs[slug], texts[line]] += int(plan.column("copies")[row])
    written: Counter[tuple[str, str, str]] = Counter()
    for path in sorted((root / "corpus").rglob("*.jsonl.zst")):
        split = path.relative_to(root / "corpus").parts[0].partition(".")[0]
        for record in _records(path):
            written[split, record["meta"]["pile_set_name"], record["text"]] += 1
    different = sum(1 for key in {*planned, *written} if planned[key] != written[key])
    demand(not different, f"of {different:,} documents the files have other copies than the plan")
    demand(len({name for _, name, _ in written}) == len(slugs), "components are missing in the files")
    return len(plan)


def _records(path: Path) -> list[dict[str, Any]]:
    data = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def compare_all(source: Path, folder: Path) -> None:
    """Builds, compares and counts, and prints how long each took."""
    ways = {
        "1 process": lambda root: build_corpus(source, root, "--jobs", "1"),
        "2 processes": lambda root: build_corpus(source, root, "--jobs", "2"),
        **{
            f"{WORKERS} workers, one killed in {phase}": lambda root, phase=phase: build_on_cluster(source, root, phase)
            for phase in PHASES
        },
    }
    expected: dict[str, str] | None = None
    for number, (name, build) in enumerate(ways.items()):
        started = time.monotonic()
        root = folder / f"root-{number}"
        build(root)
        found = hashes(root)
        expected = found if expected is None else expected
        different = sorted({path for path, _ in found.items() ^ expected.items()})
        demand(not different, f"{name}: other bytes or files than with 1 process: {', '.join(different)}")
        print(f"{name}: {len(found)} files, the same bytes, {time.monotonic() - started:.1f} s", flush=True)
    started = time.monotonic()
    documents = count_copies(folder / "root-0")
    print(f"copies of {documents:,} documents counted in all files: as planned, {time.monotonic() - started:.1f} s")


def main() -> None:
    """Raises Lost where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=Path("../shared/data/minipile"))
    source = parser.parse_args().source.resolve()
    if not source.is_dir():
        print(f"skipped: the real documents are not there, {source}")
        return
    with tempfile.TemporaryDirectory(prefix="pile-minipile-") as folder:
        compare_all(source, Path(folder))


if __name__ == "__main__":
    main()
