"""`pile build` on 1 GB and on 8 GB of distinct text: seconds per GB, and the peak of memory beside the budget.

    python benchmarks/build_scale.py --corpus benchmarks/corpus.toml --into FOLDER
        [--limit-mb 1000 8000] [--memory 2GiB] [--jobs 1 2] [--rounds 1]

The pinned packages are fetched into FOLDER/packages, and their text is dealt once to FOLDER/source1 and source8:
several `.jsonl.zst` for each of eight components. A text is in the corpus once, exact copies are left out, and nothing
is repeated. The smaller input is every eighth of the larger one's bytes, spread over all packages, so that both have
the same kinds and sizes of documents and what differs is their number alone.

Then each input is planned and written, every command a real `pile` process. Processor seconds per GB of text count,
since the clock also sees what else runs; a round takes the sizes in the other order than the one before it. Memory is
the proportional set size of all processes together (benchmarks/memory.py). Exit code 1 where a GB of the largest input
takes over 1.1 times as long as one of the smallest, or where writing holds more than --memory.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from build import SLUGS, build_command, watched
from corpus import fetch, named_texts

from pile_toolkit.core.documents import DocumentWriter
from pile_toolkit.core.memory import parse_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

# Text in one file of a component.
FILE_BYTES = 128e6
SLOWER = 1.1
PLAN, WRITE = "plan", "corpus files"


class Input(NamedTuple):
    """A folder of components, and what is in it."""

    folder: str
    documents: int
    text_bytes: int


class Run(NamedTuple):
    """What one command on one input took, of all its processes."""

    wall_s: float
    cpu_s: float
    memory_bytes: float
    disk_bytes: float


def main() -> int:
    """Exit code 1 where time per byte grows, or memory is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="a list of pinned packages to take the text from")
    parser.add_argument("--into", type=Path, required=True, help="folder for what is fetched and written")
    parser.add_argument("--limit-mb", type=int, nargs="+", default=[1000, 8000], help="text of each input")
    parser.add_argument("--memory", default="2GiB", help="of all processes together")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--write-only", action="store_true", help="make the inputs and end")
    options = parser.parse_args()
    inputs = make_inputs(options.corpus, options.into, sorted(options.limit_mb))
    if options.write_only:
        return 0
    found: dict[tuple[str, int], dict[Input, list[Run]]] = {}
    for number in range(options.rounds):
        for source in inputs[:: -1 if number % 2 else 1]:
            for case, run in build(source, options.into, options.memory, options.jobs):
                found.setdefault(case, {}).setdefault(source, []).append(run)
    return show(found, inputs, options.memory)


# Inputs


def make_inputs(corpus: Path, into: Path, limits_mb: Sequence[int]) -> list[Input]:
    """The inputs, smallest first; those of an earlier call where list and sizes are the same."""
    note = into / "sources.json"
    made_of = {"corpus": hashlib.sha256(corpus.read_bytes()).hexdigest(), "limits_mb": list(limits_mb)}
    if note.exists() and (known := json.loads(note.read_bytes()))["made_of"] == made_of:
        return [Input(*each) for each in known["inputs"]]
    note.unlink(missing_ok=True)
    fetch(corpus, into / "packages")
    inputs = deal(corpus, into, limits_mb)
    note.write_text(json.dumps({"made_of": made_of, "inputs": inputs}))
    return inputs


def deal(corpus: Path, into: Path, limits_mb: Sequence[int]) -> list[Input]:
    """Every text goes to the last input, and to one before it where that has less than its share of the last."""
    folders = [into / f"source{limit_mb / 1000:g}" for limit_mb in limits_mb]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    sizes, counts = [0] * len(folders), [0] * len(folders)
    text_bytes, texts = Counter[str](), Counter[str]()
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(contextlib.closing(Components(folder))) for folder in folders]
        for package, text in named_texts(corpus, into / "packages"):
            added_bytes = len(text.encode())
            text_bytes[package] += added_bytes
            texts[package] += 1
            for number, limit_mb in enumerate(limits_mb):
                share = limit_mb / limits_mb[-1]
                if limit_mb == limits_mb[-1] or sizes[number] < share * sizes[-1]:
                    writers[number].write(text, package)
                    sizes[number] += added_bytes
                    counts[number] += 1
            if sizes[-1] >= limits_mb[-1] * 1e6:
                break
    for package, package_bytes in text_bytes.items():
        print(f"{package}: {package_bytes / 1e6:,.1f} MB of text, {texts[package]:,} documents")
    return [Input(str(folder), *each) for folder, each in zip(folders, zip(counts, sizes, strict=True), strict=True)]


class Components:
    """A folder of components to which documents are dealt in turn, each component in files of some FILE_BYTES."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._documents = folder, 0
        self._writers: dict[str, DocumentWriter] = {}
        self._files = Counter[str]()

    def write(self, text: str, package: str) -> None:
        """Adds a document to the component whose turn it is."""
        slug = SLUGS[self._documents % len(SLUGS)]
        if slug in self._writers and self._writers[slug].text_bytes >= FILE_BYTES:
            self._writers.pop(slug).__exit__(None, None, None)
        if slug not in self._writers:
            path = self._folder / slug / f"{self._files[slug]:02}.jsonl.zst"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writers[slug] = DocumentWriter(path)
            self._files[slug] += 1
        self._writers[slug].write(text, {"package": package})
        self._documents += 1

    def close(self) -> None:
        """Ends the last file of each component."""
        for writer in self._writers.values():
            writer.__exit__(None, None, None)


# Runs


def build(source: Input, into: Path, memory: str, jobs: Sequence[int]) -> list[tuple[tuple[str, int], Run]]:
    """((what was done, processes), what it took): the plan, then the corpus files with each number of processes."""
    root = into / "scale" / "root"
    shutil.rmtree(root.parent, ignore_errors=True)
    root.mkdir(parents=True)
    for command in (["download", *SLUGS, "--from", source.folder], ["dedup", "--method", "none"]):
        whole = [sys.executable, "-m", "pile_toolkit", *command, "--root", str(root)]
        subprocess.run(whole, stdout=subprocess.DEVNULL, check=True)
    plain = build_command(root, [Path(f"{slug}.jsonl.zst") for slug in SLUGS])
    planned = watched([*plain, "--no-write-corpus"], root)
    # In the order of what `watched` names.
    runs = [((PLAN, 1), Run(planned["wall_s"], planned["cpu_s"], planned["memory"], planned["disk"]))]
    for number in jobs:
        shutil.rmtree(root / "corpus", ignore_errors=True)
        took = watched([*plain, "--memory", memory, "--jobs", str(number)], root / "corpus")
        runs.append(((WRITE, number), Run(took["wall_s"], took["cpu_s"], took["memory"], took["disk"])))
    for (name, number), run in runs:
        figures = f"{run.cpu_s:.1f} s of processor time, {run.wall_s:.1f} s by the clock"
        print(f"{source.text_bytes / 1e9:.2f} GB, {name}, {number} processes: {figures}", file=sys.stderr, flush=True)
    shutil.rmtree(root.parent)
    return runs


def show(found: dict[tuple[str, int], dict[Input, list[Run]]], inputs: Sequence[Input], memory: str) -> int:
    """Prints a Markdown table; 1 where a bar is missed."""
    smallest, largest = inputs[0], inputs[-1]
    budget_bytes, missed = parse_memory(memory), False
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, --memory {memory}")
    for source in inputs:
        print(f"{Path(source.folder).name}: {source.documents:,} documents, {source.text_bytes:,} bytes of text")
    print("\n| | processes | text, GB | s of processor time | s per GB | s by the clock | peak MiB | disk, GB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for (name, number), source in itertools.product(found, inputs):
        runs = found[name, number][source]
        cpu_s, wall_s = (
            statistics.median(each) for each in ([run.cpu_s for run in runs], [run.wall_s for run in runs])
        )
        peak = max(run.memory_bytes for run in runs)
        missed |= name == WRITE and peak > budget_bytes
        gigabytes = source.text_bytes / 1e9
        figures = [f"{gigabytes:.2f}", f"{cpu_s:.1f}", f"{cpu_s / gigabytes:.2f}", f"{wall_s:.1f}"]
        figures += [f"{peak / 2**20:,.0f}", f"{max(run.disk_bytes for run in runs) / 1e9:.2f}"]
        print("| " + " | ".join([name, str(number), *figures]) + " |")
    print()
    for number in [number for name, number in found if name == WRITE]:
        together = [_seconds_per_gb(found, source, number) for source in (smallest, largest)]
        ratio = together[1] / together[0]
        missed |= ratio > SLOWER
        told = f"{together[0]:.2f} s per GB of the smallest input, {together[1]:.2f} s of the largest"
        print(f"Plan and corpus files, {number} processes: {told}, {ratio:.3f} times")
    return int(missed)


def _seconds_per_gb(found: dict[tuple[str, int], dict[Input, list[Run]]], source: Input, number: int) -> float:
    cases = [found[PLAN, 1][source], found[WRITE, number][source]]
    return sum(statistics.median(run.cpu_s for run in runs) for runs in cases) / source.text_bytes * 1e9


if __name__ == "__main__":
    # As a script it would only find what lies beside it.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.exit(main())
