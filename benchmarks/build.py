"""`.jsonl.zst` in, shuffled `.jsonl.zst` out: the two passes beside a plain rendering in Python, and the ceiling.

    python benchmarks/build.py FOLDER [--repeat 5]
    python benchmarks/build.py --corpus benchmarks/corpus.toml --into FOLDER [--limit-mb 1000] [--memory 1GiB]

FOLDER holds `<slug>.jsonl.zst`. Its documents are taken three times: as they are, cut at line ends to less than 2,000
bytes, and to less than 400. Each document once, 30 train files, zstd level 3. A run is a process of its own that has
imported everything before its clock starts; processor time of one process counts, the order rotates, and ratios are
those of neighbouring runs, in the median. Files were read shortly before: no disk is measured.

The peers are the original builder's two passes: (1) each line through `json`, its component into its meta, into one of
30 archives at random (zstd level 1), (2) each archive shuffled in memory and written (level 3). `plain` keeps the lines
of pass 1 as they are; `plain, decoded twice` decodes and encodes them in pass 2 too, as `pile.py` does.

With --corpus: distinct text of pinned packages (repeated past its end, to fill pure I/O), as real `pile build`
processes: seconds per GB with one process and with --jobs, the peak of memory of all processes beside --memory, the
peak of disk, and how much faster --jobs processes are than one. Exit code 1 where ours is not 1.2 times as fast as
`plain` on whole documents, or memory is exceeded.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHARDS = 30
CUTS = {"as they are": None, "under 2,000 bytes": 2000, "under 400 bytes": 400}
OURS, PLAIN, TWICE = "pile-toolkit", "plain", "plain, decoded twice"
BAR = 1.2
SLUGS = ("arxiv", "books3", "enron-emails", "europarl", "freelaw", "github", "gutenberg-pg-19", "hackernews")
LOOK_S = 0.05


def main() -> int:
    """Exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="holds <slug>.jsonl.zst")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--corpus", type=Path, help="a list of pinned packages to take the text from")
    parser.add_argument("--into", type=Path, help="folder for what is fetched and written")
    parser.add_argument("--limit-mb", type=float, default=1000)
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--child", nargs=3, metavar=("NAME", "SOURCE", "ROOT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, source, root = options.child
        print(json.dumps(child(name, Path(source), Path(root))))
        return 0
    if options.corpus:
        return scale(options)
    missed = False
    with tempfile.TemporaryDirectory(prefix="pile-build-") as folder:
        for title, limit in CUTS.items():
            source, root = Path(folder) / "source", Path(folder) / "root"
            sizes = write_source(options.folder, source, limit)
            plan(source, root)
            print(f"\n{title}: {len(sizes):,} documents, {sum(sizes) / 1e6:.1f} MB of text")
            missed |= compare(source, root, sum(sizes), options.repeat) < BAR and limit is None
            if limit is None:
                whole_command(source, root, sum(sizes))
                ceiling(source, root / "corpus", sum(sizes))
            shutil.rmtree(source), shutil.rmtree(root)
    return int(missed)


# Runs


def child(name: str, source: Path, root: Path) -> dict[str, float]:
    """One run in this process: its processor time, and that of each pass of ours."""
    # What our run would import on its way; the peers need json and zstandard only.
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401

    from pipelines.corpus import write_corpus_files
    from pipelines.corpus.loading import load_kernels

    load_kernels()
    phases = Phases()
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        shutil.rmtree(root / "corpus", ignore_errors=True)
        before = time.process_time()
        if name == OURS:
            write_corpus_files(root, train_shards=SHARDS, reporter=phases)
        else:
            peer(sorted(source.glob("*.jsonl.zst")), Path(folder), twice=name == TWICE)
        return {"cpu_s": time.process_time() - before, **phases.seconds}


class Phases:
    """A reporter that notes the processor time of each part of the work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def say(self, text: str) -> None:
        """Nothing."""

    @contextlib.contextmanager
    def progress(self, label: str, *, total: int, unit: str) -> Iterator[Any]:
        """Counts the time inside."""
        before = time.process_time()
        yield lambda units, note="": None
        self.seconds[label] = time.process_time() - before


def peer(sources: list[Path], folder: Path, *, twice: bool) -> None:
    """The two passes in plain Python."""
    rng = random.Random(42)
    archives = [(folder / f"{number}.pass1").open("wb") for number in range(SHARDS)]
    writers = [zstandard.ZstdCompressor(level=1).stream_writer(archive) for archive in archives]
    for path in sources:
        with path.open("rb") as file:
            stream = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True))
            for line in io.TextIOWrapper(stream, encoding="utf-8", newline="\n"):
                document = json.loads(line)
                document["meta"]["pile_set_name"] = path.name
                writers[rng.randrange(SHARDS)].write(json.dumps(document).encode() + b"\n")
    for writer in writers:
        writer.close()
    for number in range(SHARDS):
        with (folder / f"{number}.pass1").open("rb") as file:
            lines = zstandard.ZstdDecompressor().stream_reader(file).read().splitlines(keepends=True)
        rng.shuffle(lines)
        compressor = zstandard.ZstdCompressor(level=3)
        with (folder / f"{number}.jsonl.zst").open("wb") as file, compressor.stream_writer(file) as writer:
            for line in lines:
                writer.write(json.dumps(json.loads(line)).encode() + b"\n" if twice else line)
        (folder / f"{number}.pass1").unlink()


def compare(source: Path, root: Path, text_bytes: int, repeat: int) -> float:
    """Prints a table; the ratio of `plain` to ours."""
    names = [OURS, PLAIN, TWICE]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(repeat):
        for name in names[number % 3 :] + names[: number % 3]:
            command = [sys.executable, __file__, "--child", name, str(source), str(root)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
            found[name].append(json.loads(done.stdout))
    print("| | s | MB/s | times its s by ours |\n|---|---:|---:|---:|")
    ratios = {}
    for name in names:
        best = min(run["cpu_s"] for run in found[name])
        pairs = [run["cpu_s"] / ours["cpu_s"] for run, ours in zip(found[name], found[OURS], strict=True)]
        ratios[name] = statistics.median(pairs)
        print(f"| {name} | {best:.2f} | {text_bytes / 1e6 / best:.0f} | {ratios[name]:.2f} |")
    best_run = min(found[OURS], key=lambda run: run["cpu_s"])
    print(", ".join(f"{label} {seconds:.2f} s" for label, seconds in best_run.items()))
    return ratios[PLAIN]


def whole_command(source: Path, root: Path, text_bytes: int) -> None:
    """Prints what `pile build` takes, from the start of Python on, with the plan."""
    shutil.rmtree(root / "corpus", ignore_errors=True)
    shutil.rmtree(root / "plan")
    before = os.times()
    subprocess.run(build_command(root, sorted(source.glob("*.jsonl.zst"))), stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"`pile build` with the plan and its imports: {cpu_s:.2f} s, {text_bytes / 1e6 / cpu_s:.0f} MB/s")


def ceiling(source: Path, corpus: Path, text_bytes: int) -> None:
    """Prints what the steps that cannot be left out take alone, on the same bytes."""
    from pile_toolkit.core.frames import TextBlocks

    paths = sorted(corpus.rglob("*.jsonl.zst"))
    outputs = [zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read() for path in paths]
    steps = {
        "read": lambda: [len(block) for path in sorted(source.glob("*.jsonl.zst")) for block in TextBlocks(path)],
        "zstd level 3 out": lambda: [len(zstandard.ZstdCompressor(level=3).compress(text)) for text in outputs],
    }
    found = {name: min(clocked(step) for _ in range(3)) for name, step in steps.items()}
    told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.items())
    print(f"the ceiling: {told}: {text_bytes / 1e6 / sum(found.values()):.0f} MB/s")


def clocked(step: Any) -> float:
    """Processor time of a call."""
    before = time.process_time()
    step()
    return time.process_time() - before


# Inputs


def write_source(folder: Path, target: Path, limit: int | None) -> list[int]:
    """`<slug>.jsonl.zst` of documents shorter than `limit` bytes; the bytes of each."""
    from pile_toolkit.core.documents import DocumentWriter, read_documents

    sizes = []
    target.mkdir()
    for path in sorted(folder.glob("*.jsonl.zst")):
        if limit is None:
            # As its writer wrote it.
            shutil.copyfile(path, target / path.name)
            sizes += [len(document.text.encode()) for document in read_documents(path)]
            continue
        with DocumentWriter(target / path.name) as writer:
            for document in read_documents(path):
                for text in cut(document.text.encode(), limit):
                    writer.write(text.decode(), document.meta)
                    sizes.append(len(text))
    return sizes


def cut(data: bytes, limit: int) -> Iterator[bytes]:
    """Pieces shorter than `limit`, which end at the last line end before it where there is one."""
    at = 0
    while at < len(data):
        end = data.rfind(b"\n", at, at + limit - 1) + 1 or min(at + limit - 1, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        yield data[at:end]
        at = end


def plan(source: Path, root: Path) -> None:
    """A root with every document of `source` planned once."""
    import pile_toolkit as pile

    slugs = [path.name.split(".")[0] for path in sorted(source.glob("*.jsonl.zst"))]
    pile.download(root, components=slugs, source=str(source))
    pile.dedup(root, method="none")
    pile.build(root, weights=dict.fromkeys(slugs, 1.0), val_share=0.01, test_share=0.01, write_corpus=False)


def build_command(root: Path, sources: Iterable[Path], *more: str) -> list[str]:
    """`pile build` of every document once."""
    weights = root.with_name("weights.toml")
    weights.write_text("".join(f'"{path.name.split(".")[0]}" = 1.0\n' for path in sources))
    shares = ("--val-share", "0.01", "--test-share", "0.01", "--train-shards", str(SHARDS))
    return [
        sys.executable,
        "-m",
        "pile_toolkit",
        "build",
        "--weights",
        str(weights),
        *shares,
        "--root",
        str(root),
        *more,
    ]


# Scale


def scale(options: argparse.Namespace) -> int:
    """Seconds per GB and peaks, of one process and of several."""
    from benchmarks.train_bpe import fetch
    from pile_toolkit.core.memory import parse_memory

    fetch(options.corpus, options.into)
    missed = False
    with tempfile.TemporaryDirectory(dir=options.into) as folder:
        source, root = Path(folder) / "source", Path(folder) / "root"
        documents, text_bytes = write_large(options, source)
        print(f"{documents:,} documents, {text_bytes / 1e9:.2f} GB of text, --memory {options.memory}")
        plan(source, root)
        rates: dict[int, float] = {}
        for jobs in dict.fromkeys((1, options.jobs)):
            shutil.rmtree(root / "corpus", ignore_errors=True)
            command = build_command(root, source.glob("*.jsonl.zst"), "--memory", options.memory, "--jobs", str(jobs))
            found = watched(command, root / "corpus")
            stored = sum(path.stat().st_size for path in source.iterdir())
            print(
                f"{jobs} jobs: {found['wall_s']:.1f} s, processor {found['cpu_s']:.1f} s, "
                f"{found['cpu_s'] / text_bytes * 1e9:.2f} s per GB, {text_bytes / 1e6 / found['wall_s']:.0f} MB/s, "
                f"peak {found['memory'] / 2**20:,.0f} MiB, disk {found['disk'] / 1e9:.2f} GB at most: "
                f"{found['disk'] / text_bytes:.2f} of the text, {found['disk'] / stored:.2f} of its files"
            )
            missed |= found["memory"] > parse_memory(options.memory)
            rates[jobs] = text_bytes / found["wall_s"]
        print(f"{options.jobs} processes: {rates[options.jobs] / rates[1]:.2f} times as fast as one, by the clock")
    return int(missed)


def write_large(options: argparse.Namespace, source: Path) -> tuple[int, int]:
    """Texts dealt to components in turn; past the last of them all over again, each with the number of the turn."""
    from benchmarks.train_bpe import texts_of_packages
    from pile_toolkit.core.documents import DocumentWriter

    source.mkdir()
    writers = [DocumentWriter(source / f"{slug}.jsonl.zst") for slug in SLUGS]
    documents = text_bytes = 0
    for turn in itertools.count():
        for text in texts_of_packages(options.corpus, options.into):
            if text_bytes >= options.limit_mb * 1e6:
                for writer in writers:
                    writer.__exit__(None, None, None)
                return documents, text_bytes
            writer = writers[documents % len(writers)]
            writer.write(f"{turn} {text}" if turn else text, {"n": documents})
            documents, text_bytes = documents + 1, sum(each.text_bytes for each in writers)
    raise AssertionError


def watched(command: list[str], folder: Path) -> dict[str, float]:
    """Wall and processor time of a command, the peaks of its processes' memory and of a folder."""
    from benchmarks.memory import measure
    from pile_toolkit.core.files import tree_bytes

    peak, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_S):
            try:
                peak[0] = max(peak[0], tree_bytes(folder))
            except OSError:
                continue

    thread = threading.Thread(target=look)
    thread.start()
    before, started_s = os.times(), time.monotonic()
    memory = measure(command)
    wall_s, after = time.monotonic() - started_s, os.times()
    ended.set()
    thread.join()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall_s": wall_s, "cpu_s": cpu_s, "memory": memory, "disk": peak[0]}


if __name__ == "__main__":
    # As a script it would only find what lies beside it.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.exit(main())
