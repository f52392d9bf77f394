"""Random samples of 2,049 ids out of 4 GB of memory-mapped token shards, in memory: ours beside plain numpy.

    python benchmarks/read_samples.py --into FOLDER [--gigabytes 4] [--rounds 7] [--keep] [--cold]

Writes shards of that size into FOLDER (documents of log-normal length, 1,300 ids on average), reads them once so that
they are in memory, and measures in the same process, every round with other samples and in another order: one thread,
wall time. Printed is the median over the rounds, and the median of the ratio within a round. Plain numpy is a slice per
document, `np.concatenate`, `astype(int64)`, as gpt-neox's `GPT2Dataset.__getitem__` has it, once from an `np.memmap`
and once from `np.frombuffer`; batches are `np.stack`ed. The limit copies the same bytes from one random place a batch.
Then batches over two threads against one, beside two processes, which tells what the machine has to give (both need two
idle cores), and with `--cold` batches after the system forgot the file.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import queue
import shutil
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shards.dataset import TokenDataset
from shards.format import data_path, index_path, write_index
from shards.index import SampleIndex

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH = 2048
BATCH = 32
SAMPLES = 6400
MEAN_IDS, SIGMA = 1300, 1.2
BLOCK = 1 << 24


def make_shards(prefix: Path, size_bytes: int) -> None:
    """Ids drawn evenly from 50,257; the content has no influence on reading."""
    draw = np.random.default_rng(1)
    guess = int(size_bytes / 2 / MEAN_IDS * 1.2) + 1000
    sizes = np.clip(draw.lognormal(np.log(MEAN_IDS) - SIGMA**2 / 2, SIGMA, guess), 2, 200_000).astype(np.int32)
    ends = np.cumsum(sizes, dtype=np.int64)
    count = int(np.searchsorted(ends, size_bytes // 2))
    left = int(ends[count - 1])
    with open(data_path(prefix), "wb") as file:
        while left:
            size = min(left, BLOCK)
            file.write(draw.integers(0, 50_257, size, dtype=np.uint16).data)
            left -= size
    pointers = 2 * (ends[:count] - sizes[:count])
    write_index(index_path(prefix), dtype="u2", sizes=sizes[:count], pointers=pointers, doc_idx=np.arange(count + 1))


class Numpy:
    """The obvious reader: slices of every document of a sample, joined."""

    def __init__(self, index: SampleIndex, *, mapped: bool) -> None:
        self.arrays: Any = index.arrays
        self.sizes, self.pointers = index.dataset.sizes, index.dataset.pointers
        self.ids: Any = np.memmap(data_path(index.dataset.prefix), np.uint16, mode="r")
        self.buffer = None if mapped else memoryview(self.ids)

    def get(self, number: int, offset: int = 0, length: int | None = None) -> np.ndarray:
        size, pointer = self.sizes[number], self.pointers[number]
        if length is None:
            length = size - offset
        if self.buffer is not None:
            return np.frombuffer(self.buffer, np.uint16, count=length, offset=pointer + 2 * offset)
        start = pointer // 2 + offset
        return self.ids[start : start + length]

    def sample(self, number: int) -> np.ndarray:
        doc_idx, sample_idx, shuffle_idx = self.arrays
        row = shuffle_idx[number]
        (first, start), (last, stop) = sample_idx[row], sample_idx[row + 1]
        if first == last:
            return self.get(doc_idx[first], start, stop - start + 1).astype(np.int64)
        parts = [self.get(doc_idx[first], start)]
        parts += [self.get(doc_idx[place]) for place in range(first + 1, last)]
        parts.append(self.get(doc_idx[last], length=stop + 1))
        return np.concatenate(parts).astype(np.int64)


def readers(index: SampleIndex) -> dict[str, Callable[[np.ndarray], Any]]:
    """Every way of reading the samples of these numbers [32]."""
    plain, framed = Numpy(index, mapped=True), Numpy(index, mapped=False)
    wide, narrow = (np.empty((BATCH, LENGTH + 1), kind) for kind in (np.int64, np.uint16))
    ids = index.dataset.ids
    last = len(ids) - narrow.size

    def one_by_one(read: Callable[[int], Any]) -> Callable[[np.ndarray], Any]:
        def read_all(numbers: np.ndarray) -> None:
            for number in numbers.tolist():
                read(number)

        return read_all

    def copied(target: np.ndarray) -> Callable[[np.ndarray], Any]:
        def copy(numbers: np.ndarray) -> None:
            # As many bytes, from one place of the file, which the number stands for.
            place = int(numbers[0]) * LENGTH % last
            np.copyto(target.reshape(-1), ids[place : place + target.size])

        return copy

    return {
        "one: np.memmap, concatenate, int64": one_by_one(plain.sample),
        "one: np.frombuffer, concatenate, int64": one_by_one(framed.sample),
        "one: index.tokens, then int64": one_by_one(lambda number: index.tokens(number).astype(np.int64)),
        "one: index.tokens, as stored": one_by_one(index.tokens),
        "32: np.memmap, concatenate, int64, stack": lambda numbers: np.stack([plain.sample(at) for at in numbers]),
        "32: np.frombuffer, concatenate, int64, stack": lambda numbers: np.stack([framed.sample(at) for at in numbers]),
        "32: index.batch to int64": lambda numbers: index.batch(numbers, out=wide),
        "32: index.batch as stored": lambda numbers: index.batch(numbers, out=narrow),
        "limit, 32 from one place to int64": copied(wide),
        "limit, 32 from one place as stored": copied(narrow),
    }


def check(index: SampleIndex) -> None:
    """All of them read the same."""
    numbers = np.random.default_rng(0).integers(0, len(index), BATCH)
    expected = np.stack([Numpy(index, mapped=True).sample(at) for at in numbers])
    others = [Numpy(index, mapped=False).sample(at) for at in numbers], [index.tokens(at) for at in numbers.tolist()]
    for found in (*others, index.batch(numbers), index.batch(numbers, dtype=np.int64)):
        if not np.array_equal(found, expected):
            raise SystemExit("the readers disagree")


def measure(index: SampleIndex, rounds: int) -> dict[str, list[float]]:
    """Microseconds a sample of every reader in every round."""
    ways = readers(index)
    found: dict[str, list[float]] = {name: [] for name in ways}
    draw = np.random.default_rng(2)
    for turn in range(rounds):
        names = list(ways)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            batches = draw.integers(0, len(index), (SAMPLES // BATCH, BATCH))
            started = time.perf_counter()
            for numbers in batches:
                ways[name](numbers)
            found[name].append((time.perf_counter() - started) / SAMPLES * 1e6)
    return found


def report(found: dict[str, list[float]]) -> None:
    """One line for each reader; ratios are to the first of its kind, the obvious reader."""
    print(
        f"\n{'one thread':<46} {'us/sample':>9} {'lowest':>7} {'GB/s':>6} {'memmap / it':>11} {'frombuffer / it':>15}"
    )
    for name, times in found.items():
        kind = "one:" if name.startswith("one:") else "32:"
        ratios = [
            statistics.median(a / b for a, b in zip(found[other], times, strict=True))
            for other in found
            if other.startswith(kind) and "concatenate" in other
        ]
        middle = statistics.median(times)
        speed = 2 * (LENGTH + 1) / middle / 1e3
        print(f"{name:<46} {middle:>9.2f} {min(times):>7.2f} {speed:>6.1f} {ratios[0]:>11.2f} {ratios[1]:>15.2f}")


def side_by_side(index: SampleIndex, rounds: int, *, at_once: int) -> None:
    """Random batches of 32 to int64, read by one thread and by two; by two processes, which is what the machine has.

    `at_once` batches are read by one call, as a step of several micro-batches may.
    """
    draw = np.random.default_rng(3)

    def work(numbers: np.ndarray, barrier: Any, elapsed_s: Any) -> None:
        out = np.zeros((at_once * BATCH, LENGTH + 1), np.int64)
        index.batch(numbers[0], out=out)
        barrier.wait()
        started = time.perf_counter()
        for row in numbers:
            index.batch(row, out=out)
        elapsed_s.put(time.perf_counter() - started)

    def elapsed(kind: Any, count: int) -> float:
        worker, barrier, results_of = kind
        together, results = barrier(count), results_of()
        draws = [draw.integers(0, len(index), (1000 // at_once, at_once * BATCH)) for _ in range(count)]
        workers = [worker(target=work, args=(numbers, together, results)) for numbers in draws]
        for each in workers:
            each.start()
        slowest = max(results.get() for _ in workers)
        for each in workers:
            each.join()
        return slowest

    fork = multiprocessing.get_context("fork")
    kinds = {
        "threads": (threading.Thread, threading.Barrier, queue.SimpleQueue),
        "processes": (fork.Process, fork.Barrier, fork.SimpleQueue),
    }
    print()
    for name, kind in kinds.items():
        ratios = []
        for turn in range(rounds):
            times = {count: elapsed(kind, count) for count in ((1, 2) if turn % 2 else (2, 1))}
            ratios.append(2 * times[1] / times[2])
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(
            f"batches of 32 to int64, {at_once} a call, two {name}: {statistics.median(ratios):.2f} of one ({spread})"
        )


def cold(prefix: Path, samples: int) -> None:
    """Batches after the system forgot the file: a mapping that only reads, and ours, which announces."""
    print("\nthe file not in memory, batches of 32:")
    for announced in (False, True):
        with open(data_path(prefix), "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with TokenDataset(prefix) as dataset:
            index = SampleIndex.build(dataset, sequence_length=LENGTH, samples=samples)
            plain = Numpy(index, mapped=True)
            numbers = np.random.default_rng(5 + announced).integers(0, len(index), (100, BATCH))
            index.batch(numbers[0])
            started = time.perf_counter()
            for row in numbers[1:]:
                index.batch(row) if announced else np.stack([plain.sample(at) for at in row])
            elapsed_ms = (time.perf_counter() - started) / 99 * 1e3
        print(f"  {'index.batch' if announced else 'np.memmap, concatenate'}: {elapsed_ms:.2f} ms a batch")


def warm(prefix: Path, rounds: int) -> int:
    """All that is measured in memory; returns how many samples there are."""
    with TokenDataset(prefix) as dataset:
        samples = (dataset.total_tokens - 1) // LENGTH
        index = SampleIndex.build(dataset, sequence_length=LENGTH, samples=samples)
        # All pages in memory and mapped.
        dataset.ids[:: 2048 // 2].sum()
        print(f"{dataset}; {len(index):,} samples; load {os.getloadavg()[0]:.2f}")
        check(index)
        for read in readers(index).values():
            read(np.arange(BATCH))
        report(measure(index, rounds))
        for at_once in (1, 4):
            side_by_side(index, rounds, at_once=at_once)
        print(f"load {os.getloadavg()[0]:.2f}")
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keep", action="store_true", help="keep the shards, and use those that are there")
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    prefix, size_bytes = options.into / "random", int(options.gigabytes * 1e9)
    if not index_path(prefix).exists():
        if shutil.disk_usage(options.into).free < 1.2 * size_bytes:
            sys.exit(f"{options.into} has no room for {size_bytes:,} bytes")
        make_shards(prefix, size_bytes)
    samples = warm(prefix, options.rounds)
    # What is still mapped the system does not forget.
    gc.collect()
    if options.cold:
        cold(prefix, samples)
    if not options.keep:
        data_path(prefix).unlink()
        index_path(prefix).unlink()


if __name__ == "__main__":
    main()
