"""`.jsonl.zst` in, keep-list out: the speed of the whole stage on one core, where its time goes, its peak of memory.

    python benchmarks/dedup.py FOLDER              a folder of `.jsonl.zst` files, or of folders of them
    python benchmarks/dedup.py FOLDER --repeat 5   each method so often, the best counts

Processor time, of one process (`--jobs 1`): other work on the machine costs the wall clock more than it. Every run
begins without fingerprints, but for the one that is said to add a component. A file was read shortly before: the
disk is not measured. Exit code 1 where MinHash is slower than 80 MB/s of text or more memory is used than was given.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

BAR_MB_PER_S = 80.0
MEMORY = "1GiB"
METHODS: dict[str, dict[str, Any]] = {
    "exact": {"method": "exact"},
    "minhash": {"method": "minhash"},
    "minhash --verify": {"method": "minhash", "verify": True},
}


class Phases:
    """A reporter that notes the processor time of each part of the work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        # Of the process, so far.
        self.peak_bytes: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Nothing."""

    @contextlib.contextmanager
    def progress(self, label: str, *, total: int, unit: str) -> Iterator[Any]:
        """Counts the time inside."""
        before = time.process_time()
        yield lambda units, note="": None
        self.seconds[label] = self.seconds.get(label, 0.0) + time.process_time() - before
        self.peak_bytes[label] = peak_bytes()


def peak_bytes() -> int:
    """The largest resident size that this process has had."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) << 10 if found else 0


def child(root: Path, options: dict[str, Any]) -> None:
    """One run in this process: its figures as a JSON line. Kernels are loaded before."""
    from pipelines.dedup import dedup
    from pipelines.lsh.loading import load_buckets, load_verification
    from pipelines.minhash.loading import load_kernels

    load_kernels(), load_buckets(), load_verification()
    phases = Phases()
    before = time.process_time()
    result = dedup(root, **options, memory=MEMORY, jobs=1, reporter=phases)
    elapsed_s = time.process_time() - before
    found = {"elapsed_s": elapsed_s, "phases": phases.seconds, "peaks": phases.peak_bytes, "peak_bytes": peak_bytes()}
    print(json.dumps({**found, "documents": result.documents, "kept": result.kept}))


def measure(root: Path, options: dict[str, Any], *, fresh: bool = True) -> dict[str, Any]:
    """One run in a process of its own; with `fresh` of a root that was never deduplicated."""
    if fresh:
        shutil.rmtree(root / "dedup", ignore_errors=True)
    command = [sys.executable, __file__, "--child", json.dumps(options), str(root)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def take_in(folder: Path, root: Path) -> tuple[list[str], int]:
    """The components of a folder, pointed at; their slugs and the bytes of all texts."""
    import pile_toolkit as pile

    slugs = sorted({path.name.split(".")[0] for path in folder.iterdir() if path.is_dir() or ".jsonl" in path.name})
    result = pile.download(root, components=slugs, source=str(folder), max_rejects=1 << 30)
    return slugs, result.text_bytes


def show(name: str, found: dict[str, Any], text_bytes: int) -> None:
    """A line for the run and one for each part of it."""
    speed = text_bytes / 1e6 / found["elapsed_s"]
    counts = f"{found['kept']:,} of {found['documents']:,} documents kept"
    print(f"{name}: {speed:,.0f} MB/s, {found['elapsed_s']:.2f} s, {found['peak_bytes'] / 2**20:,.0f} MiB, {counts}")
    rest = found["elapsed_s"] - sum(found["phases"].values())
    for label, elapsed_s in {**found["phases"], "tables, joining, counts": rest}.items():
        peak = found["peaks"].get(label, found["peak_bytes"]) / 2**20
        share = 100 * elapsed_s / found["elapsed_s"]
        print(f"    {label}: {elapsed_s:.2f} s, {share:.0f}%, up to here {peak:,.0f} MiB")


def main() -> int:
    """Exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.folder, json.loads(options.child))
        return 0
    missed = False
    with tempfile.TemporaryDirectory(prefix="pile-dedup-") as folder:
        root = Path(folder) / "root"
        slugs, text_bytes = take_in(options.folder.absolute(), root)
        print(f"{len(slugs)} components, {text_bytes / 1e6:,.1f} MB of text; a core, processor time, memory {MEMORY}")
        for name, parameters in METHODS.items():
            runs = [measure(root, parameters) for _ in range(options.repeat)]
            best = min(runs, key=lambda run: run["elapsed_s"])
            show(name, best, text_bytes)
            missed |= max(run["peak_bytes"] for run in runs) > 1 << 30
            missed |= name == "minhash" and text_bytes / 1e6 / best["elapsed_s"] < BAR_MB_PER_S
        if len(slugs) > 1:
            measure(root, METHODS["minhash"])
            (root / "components" / slugs[0] / "manifest.json").rename(Path(folder) / "held back")
            measure(root, METHODS["minhash"])
            (Path(folder) / "held back").rename(root / "components" / slugs[0] / "manifest.json")
            show(f"minhash, {slugs[0]} added", measure(root, METHODS["minhash"], fresh=False), text_bytes)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
