"""Seconds, processor time and memory of BPE training beside its peers, on the same texts, from Python strings.

    python benchmarks/train_bpe.py FOLDER [--limit-mb 60] [--vocab-size 50257] [--rounds 3]
    python benchmarks/train_bpe.py --corpus benchmarks/corpus.toml --into FOLDER [--limit-mb 1000]

FOLDER holds `*.jsonl.zst`; with --corpus the pinned packages are fetched into --into, checked against their hashes, and
every distinct text file in them is a document. Each trainer runs in a process of its own with all its threads, which
holds the texts before the clock starts: a list of strings, for gigatoken, which takes no list, one `bytes` with a
separator, so that neither its joining nor its encoding is timed. The order rotates from round to round, and the median
counts. All train the same: GPT-2's pre-tokens, two special tokens, the 256 bytes, no runs of spaces cut out. Memory is
the highest resident set while the clock runs, less that before it. It fails where our merges are not those of the
`tokenizers` library. gigatoken is left out, with a line, where it is not installed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus import fetch, texts_of_packages

from pile_toolkit.core.console import Silent
from pile_toolkit.core.documents import read_documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pile_toolkit.core.console import Advance

    # The merges, and seconds per phase.
    Trained = tuple[Callable[[], Iterable[Iterable[str]]], dict[str, float]]

SPECIAL = ["<|endoftext|>", "<|padding|>"]
BYTES = 256
OURS, LIBRARY, GIGATOKEN = "pile-toolkit", "tokenizers", "gigatoken"
# Documents lie in one file, told apart by a byte that none of them has.
SEPARATOR = b"\0"


def main() -> None:
    """Prints a Markdown table; exits with 1 where merges differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="holds *.jsonl.zst")
    parser.add_argument("--corpus", type=Path, help="a list of pinned packages to take the text from")
    parser.add_argument("--into", type=Path, help="folder for what is fetched")
    parser.add_argument("--limit-mb", type=float, default=60)
    parser.add_argument("--vocab-size", type=int, default=50257)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", nargs=3, metavar=("TRAINER", "TEXTS", "RESULT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(*arguments.worker, vocab_size=arguments.vocab_size)
    if arguments.corpus:
        fetch(arguments.corpus, arguments.into)
        texts: Iterable[str] = texts_of_packages(arguments.corpus, arguments.into)
    else:
        files = sorted(arguments.folder.glob("*.jsonl.zst"))
        texts = (document.text for path in files for document in read_documents(path))
    with tempfile.TemporaryDirectory(dir=arguments.into) as scratch:
        path = Path(scratch) / "texts"
        documents, text_bytes = store(texts, path, int(arguments.limit_mb * 1e6))
        results = measure(path, arguments.vocab_size, arguments.rounds)
    cores = len(os.sched_getaffinity(0))
    print(f"{documents:,} documents, {text_bytes:,} bytes, {arguments.vocab_size:,} ids, {cores} cores")
    print(f"{platform.machine()}, Python {platform.python_version()}, {arguments.rounds} rounds, medians\n")
    return report(results)


def store(texts: Iterable[str], path: Path, limit_bytes: int) -> tuple[int, int]:
    """Writes texts up to so many bytes; returns how many, and their bytes."""
    documents, text_bytes = 0, 0
    with path.open("wb") as stream:
        for text in texts:
            if text_bytes >= limit_bytes:
                break
            data = text.encode().replace(SEPARATOR, b" ")
            stream.write(data if documents == 0 else SEPARATOR + data)
            documents += 1
            text_bytes += len(data)
    return documents, text_bytes


def measure(path: Path, vocab_size: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """What each trainer took in each round, in a process of its own."""
    trainers = [OURS, LIBRARY, GIGATOKEN]
    if importlib.util.find_spec(GIGATOKEN) is None:
        trainers.remove(GIGATOKEN)
        print(f"{GIGATOKEN} is not installed: pip install {GIGATOKEN}\n", file=sys.stderr)
    results: dict[str, list[dict[str, Any]]] = {trainer: [] for trainer in trainers}
    for number in range(rounds):
        for trainer in trainers[number % len(trainers) :] + trainers[: number % len(trainers)]:
            result = path.with_name("result.json")
            worker = ["--worker", trainer, str(path), str(result), "--vocab-size", str(vocab_size)]
            subprocess.run([sys.executable, __file__, *worker], check=True)
            results[trainer].append(json.loads(result.read_bytes()))
            print(f"round {number + 1}, {trainer}: {results[trainer][-1]['wall_s']:.2f} s", file=sys.stderr)
    return results


def report(results: dict[str, list[dict[str, Any]]]) -> None:
    """The table, and whether all found the same merges."""
    ours = results[OURS][0]["merges"]

    def median(trainer: str, name: str) -> float:
        return statistics.median(result[name] for result in results[trainer])

    print("| trainer | wall s | CPU s | wall, times ours | CPU, times ours | peak MiB above the texts | same merges |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for trainer, found in results.items():
        wall, cpu, peak = (median(trainer, name) for name in ("wall_s", "cpu_s", "peak_mib"))
        ratios = f"{wall / median(OURS, 'wall_s'):.1f} | {cpu / median(OURS, 'cpu_s'):.1f}"
        same = sum(1 for left, right in zip(ours, found[0]["merges"], strict=False) if left == right)
        print(f"| {trainer} | {wall:.2f} | {cpu:.2f} | {ratios} | {peak:,.0f} | {same:,} of {len(ours):,} |")
    phases = results[OURS][0]["phases"]
    print("\nOurs, first round: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in phases.items()))
    if LIBRARY in results and results[LIBRARY][0]["merges"] != ours:
        sys.exit("our merges are not those of the tokenizers library")


def work(trainer: str, texts_path: str, result_path: str, *, vocab_size: int) -> None:
    """A process of one trainer: holds the texts, loads what the trainer needs, then looks at clocks and memory."""
    prepare, train = TRAINERS[trainer]
    train(prepare(b"Some words to load libraries and compiled code with, before the clock starts."), BYTES + 3)
    texts = prepare(Path(texts_path).read_bytes())
    # The highest resident set begins anew.
    Path("/proc/self/clear_refs").write_text("5")
    memory_before = _memory_mib("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    merges, phases = train(texts, vocab_size)
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    peak_mib = _memory_mib("VmHWM") - memory_before
    result = {"wall_s": wall_s, "cpu_s": cpu_s, "peak_mib": peak_mib, "phases": phases}
    Path(result_path).write_text(json.dumps(result | {"merges": [list(pair) for pair in merges()]}))


def _memory_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def as_strings(data: bytes) -> list[str]:
    """The documents of a file."""
    return [text.decode() for text in data.split(SEPARATOR)]


def train_ours(texts: list[str], vocab_size: int) -> Trained:
    """`pile_toolkit.train_tokenizer`."""
    import pile_toolkit

    clock = Clock()
    encoder = pile_toolkit.train_tokenizer(texts, vocab_size=vocab_size, max_space_run=1, reporter=clock)
    return lambda: encoder.definition.merges, clock.phases()


class Clock(Silent):
    """Looks at the time when merging begins and when it ends."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    @contextlib.contextmanager
    def progress(self, label: str, *, total: int, unit: str) -> Iterator[Advance]:
        self.times.append(time.perf_counter())
        with super().progress(label, total=total, unit=unit) as advance:
            yield advance
        self.times.append(time.perf_counter())

    def phases(self) -> dict[str, float]:
        """Seconds of each phase until now."""
        times = [*self.times, time.perf_counter()]
        names = ("counting", "merging", "making the tokenizer")
        return {name: after - before for name, (before, after) in zip(names, itertools.pairwise(times), strict=True)}


def train_library(texts: list[str], vocab_size: int) -> Trained:
    """`tokenizers.trainers.BpeTrainer`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return lambda: json.loads(tokenizer.to_str())["model"]["merges"], {}


def train_gigatoken(text: bytes, vocab_size: int) -> Trained:
    """`gigatoken.train_bpe`."""
    from gigatoken import train_bpe

    from tokenizer.layout import byte_characters

    _, merges = train_bpe(text, vocab_size, SPECIAL, separator=SEPARATOR)
    characters = byte_characters()
    return lambda: (("".join(characters[byte] for byte in side) for side in pair) for pair in merges), {}


# What the texts of a file are made into before the clock starts, and what is timed.
TRAINERS: dict[str, tuple[Callable, Callable]] = {
    OURS: (as_strings, train_ours),
    LIBRARY: (as_strings, train_library),
    GIGATOKEN: (bytes, train_gigatoken),
}


if __name__ == "__main__":
    main()
