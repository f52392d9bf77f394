"""Seconds and memory of the sample index, beside gpt-neox's C++ helper and numpy's shuffle, on synthetic sizes.

    python benchmarks/index.py [--documents 10000000] [--tokens 13600000000] [--length 2048] [--rounds 5] [--peer FILE]

--peer is gpt-neox's compiled `megatron/data/helpers.cpp`, which needs pybind11:

    g++ -O3 -shared -std=c++17 -fPIC $(python -m pybind11 --includes) helpers.cpp -o helpers.so

Sizes are log-normal with the mean that the two totals give, and copied nowhere; no tokens are needed. Every line runs
in a process of its own that has its kernels loaded and its inputs in memory before the clock starts; the median of the
rounds counts. Memory is the highest resident set while the clock runs, less that before it, over the bytes of the
result. It fails where the peer's arrays are not ours.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
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

import numpy as np

from shards.index import IndexArrays, neox_arrays, sample_dtype
from shards.index.arrays import load_kernels, places
from shards.index.blending import blend
from shards.index.cache import cached_arrays
from shards.index.shuffling import LegacyRandom
from shards.index.stateless import StatelessOrder, epoch_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

SEED = 1234
STARTS = 1_000_000


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--tokens", type=int, default=13_600_000_000)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", type=Path, help="gpt-neox's compiled helpers")
    parser.add_argument("--only", nargs="*", help="names of lines")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure(arguments)))
        return
    print(f"{arguments.documents:,} documents, {arguments.tokens:,} tokens, length {arguments.length:,}")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {arguments.rounds} rounds\n"
    )
    print("| | seconds | slowest | result MB | peak memory / result |\n|---|---:|---:|---:|---:|")
    for name, (title, needs_peer, _) in LINES.items():
        if (arguments.only and name not in arguments.only) or (needs_peer and not arguments.peer):
            continue
        command = [sys.executable, __file__, *sys.argv[1:], "--worker", name]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
        seconds, slowest = statistics.median(found["seconds"]), max(found["seconds"])
        print(
            f"| {title} | {seconds:.3f} | {slowest:.3f} | {found['result_bytes'] / 1e6:,.0f} "
            f"| {found['peak_bytes'] / found['result_bytes']:.2f} |",
            flush=True,
        )


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs one line: seconds of each round, bytes of its result and the most memory that the first round took."""
    load_kernels()
    sizes = synthetic_sizes(arguments.documents, arguments.tokens)
    _, _, prepare = LINES[arguments.worker]
    with tempfile.TemporaryDirectory() as scratch, prepare(sizes, arguments, Path(scratch)) as line:
        seconds, peak_bytes, result_bytes = [], 0, 0
        for number in range(arguments.rounds):
            before_bytes = resident_bytes(reset=True)
            started_s = time.perf_counter()
            result = line()
            seconds.append(time.perf_counter() - started_s)
            if number == 0:
                peak_bytes = resident_bytes(peak=True) - before_bytes
                result_bytes = sum(array.nbytes for array in result)
            del result
    return {"seconds": seconds, "peak_bytes": max(peak_bytes, 0), "result_bytes": result_bytes}


def synthetic_sizes(documents: int, tokens: int) -> NDArray[np.int32]:
    """Log-normal sizes, at least 1 each, that add up to `tokens`."""
    sizes = np.exp(np.random.RandomState(0).standard_normal(documents).astype(np.float32))
    sizes *= tokens / sizes.sum(dtype=np.float64)
    row = np.maximum(sizes, 1).astype(np.int32)
    # What rounding left over, one token each.
    missing = tokens - int(row.sum(dtype=np.int64))
    row[: abs(missing) % documents] += 1 if missing > 0 else 0
    return row


def resident_bytes(*, reset: bool = False, peak: bool = False) -> int:
    """The resident set of this process, or the highest since it was last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    field = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def shuffled_documents(sizes: NDArray) -> NDArray[np.int32]:
    """One epoch's doc_idx."""
    doc_idx = np.arange(len(sizes), dtype=np.int32)
    LegacyRandom(SEED).shuffle(doc_idx)
    return doc_idx


def rows_of(sizes: NDArray, length: int) -> int:
    """The samples of one epoch."""
    return (int(sizes.sum(dtype=np.int64)) - 1) // length


def our_places(sizes: NDArray, doc_idx: NDArray | None, length: int) -> NDArray:
    """sample_idx of one epoch."""
    tokens = int(sizes.sum(dtype=np.int64))
    kind = sample_dtype(tokens=tokens, sequence_length=length, entries=len(sizes))
    return places(sizes, doc_idx, sequence_length=length, rows=(tokens - 1) // length + 1, dtype=kind)


def peers_places(helpers: Any, sizes: NDArray, doc_idx: NDArray, length: int) -> NDArray:
    """sample_idx of one epoch by gpt-neox's helper, which prints to the standard output."""
    tokens = int(sizes.sum(dtype=np.int64))
    with silence():
        return helpers.build_sample_idx_int32(sizes, doc_idx, length, 1, tokens)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """C++ prints past Python."""
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


def load_peer(path: Path) -> Any:
    """The compiled module, whatever its file is called."""
    spec = importlib.util.spec_from_file_location("helpers", path)
    if spec is None or spec.loader is None:
        sys.exit(f"{path} is no compiled module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def sample_idx(sizes: NDArray, arguments: argparse.Namespace, scratch: Path) -> Iterator[Callable]:
    doc_idx = shuffled_documents(sizes)
    yield lambda: [our_places(sizes, doc_idx, arguments.length)]


@contextlib.contextmanager
def sample_idx_peer(sizes: NDArray, arguments: argparse.Namespace, scratch: Path) -> Iterator[Callable]:
    helpers, doc_idx = load_peer(arguments.peer), shuffled_documents(sizes)
    if not np.array_equal(
        peers_places(helpers, sizes, doc_idx, arguments.length), our_places(sizes, doc_idx, arguments.length)
    ):
        sys.exit("the peer's sample_idx is another one")
    yield lambda: [peers_places(helpers, sizes, doc_idx, arguments.length)]


@contextlib.contextmanager
def table(sizes: NDArray, arguments: argparse.Namespace, scratch: Path) -> Iterator[Callable]:
    yield lambda: [epoch_table(sizes, sequence_length=arguments.length)]


@contextlib.contextmanager
def whole(sizes: NDArray, arguments: argparse.Namespace, scratch: Path) -> Iterator[Callable]:
    samples = rows_of(sizes, arguments.length)
    yield lambda: neox_arrays(sizes, sequence_length=arguments.length, samples=samples, seed=SEED)


@contextlib.contextmanager
def whole_peer(sizes: NDArray, arguments: argparse.Namespace, scratch: Path) -> Iterator[Callable]:
    helpers, samples = load_peer(arguments.peer), rows_of(sizes, arguments.length)

    def build() -> IndexArrays:
        # The steps of its gpt2_dataset.py.
        random = np.random.RandomState(SEED)
        doc_idx = np.mgrid[0:1, 0 : len(sizes)][1].reshape(-1).astype(np.int32)
        random.shuffle(doc_idx)
        starts = peers_places(helpers, sizes, doc_idx, arguments.length)
        shuffle_idx = np.arange(samples, dtype=np.uint32)
        random.shuffle(shuffle_idx)
        return IndexArrays(doc_idx, starts, shuffle_idx)

    ours = neox_arrays(sizes, sequence_length=arguments.length, samples=samples, seed=SEED)
    if not all(map(np.array_equal, build(), ours)):
        sys.exit("the peer's arrays are others")
    del ours
    yield build


@contextlib.contextmanager
def shuffle(sizes: NDArray, arguments: argparse.Namespace, scratch: Path) -> Iterator[Callable]:
    yield lambda: [shuffled_documents(sizes)]


@contextlib.contextmanager
def shuffle_numpy(sizes: NDArray, arguments: argparse.Namespace, scratch: Path) -> Iterator[Callable]:
    def shuffled() -> list[NDArray]:
        doc_idx = np.arange(len(sizes), dtype=np.int32)
        np.random.RandomState(SEED).shuffle(doc_idx)
        return [doc_idx]

    yield shuffled


@contextlib.contextmanager
def reopened(sizes: NDArray, arguments: argparse.Namespace, scratch: Path) -> Iterator[Callable]:
    samples = rows_of(sizes, arguments.length)

    def opened() -> tuple:
        return cached_arrays(
            "0" * 32,
            lambda: neox_arrays(sizes, sequence_length=arguments.length, samples=samples, seed=SEED),
            expected_bytes=0,
            cache_dir=scratch,
        )[0]

    opened()
    yield opened


@contextlib.contextmanager
def starts(sizes: NDArray, arguments: argparse.Namespace, scratch: Path) -> Iterator[Callable]:
    order = StatelessOrder(
        epoch_table(sizes, sequence_length=arguments.length),
        sizes=sizes,
        sequence_length=arguments.length,
        key="0" * 32,
        seed=SEED,
    )
    yield lambda: [order.starts(np.arange(STARTS, dtype=np.int64))]


@contextlib.contextmanager
def blended(sizes: NDArray, arguments: argparse.Namespace, scratch: Path) -> Iterator[Callable]:
    samples = rows_of(sizes, arguments.length)
    yield lambda: blend([1.0 / (rank + 1) for rank in range(22)], samples=samples)


# By name: the title, whether it needs the peer, and what prepares it and yields what is timed.
LINES: dict[str, tuple[str, bool, Callable]] = {
    "sample_idx": ("sample_idx, pile-toolkit", False, sample_idx),
    "sample_idx_peer": ("sample_idx, gpt-neox's C++", True, sample_idx_peer),
    "table": ("sample_idx of documents in order (stateless)", False, table),
    "shuffle": ("shuffled doc_idx, pile-toolkit", False, shuffle),
    "shuffle_numpy": ("shuffled doc_idx, numpy", False, shuffle_numpy),
    "whole": ("all three arrays, pile-toolkit", False, whole),
    "whole_peer": ("all three arrays, gpt-neox", True, whole_peer),
    "reopened": ("all three arrays from the cache, every byte checked", False, reopened),
    "starts": (f"where {STARTS:,} stateless samples start", False, starts),
    "blended": ("a blend of 22 data sets, as many samples", False, blended),
}

if __name__ == "__main__":
    main()
