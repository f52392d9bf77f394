"""`.jsonl.zst` to `.bin/.idx` beside two pipelines of the peers, on the same files, with one process and with two.

    python benchmarks/write_shards.py TOKENIZER.json FOLDER [--rounds 3] [--jobs 1 2] [--library-mb 60]
    python benchmarks/write_shards.py TOKENIZER.json FOLDER --corpus benchmarks/corpus.toml

FOLDER holds `*.jsonl.zst`, each a file of distinct documents; with --corpus they are made there first, of the packages
that benchmarks/train_bpe.py fetches. Every measurement is a command of its own, from its start to its end, on which
nothing is cached but the files; the order rotates from round to round. Printed are medians: MB of text a second of wall
time, and a second of processor time of all its processes.

ours         `pile_toolkit.write_shards` of a finished plan: every check, provenance, hashes, manifest, all on the disk
gigatoken    the best that was found of zstandard, msgspec without checks, gigatoken's encode_batch and numpy: a process
             per file and the parts joined at the end; nothing is checked, hashed or forced to the disk
tokenizers   as gpt-neox's preprocess_data: this process reads JSON lines, a pool encodes each document with the
             `tokenizers` library and this process appends the ids; on the first files only, up to --library-mb

Documents whose ids differ from ours are counted.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import multiprocessing
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS, GIGATOKEN, LIBRARY = "pile-toolkit", "gigatoken", "tokenizers"
SLUG = "github"
CORPUS_FILES = 12
BATCH_CHARACTERS = 1 << 20
BLOCK_BYTES = 1 << 20
# What gpt-neox's tool hands to a worker at a time.
LIBRARY_CHUNK = 25


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--corpus", type=Path, help="a list of pinned packages to make the files of")
    parser.add_argument("--corpus-mb", type=float, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--library-mb", type=float, default=60)
    parser.add_argument("--worker", nargs=3, metavar=("NAME", "JOBS", "TARGET"), help=argparse.SUPPRESS)
    parser.add_argument("--files", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        name, jobs, target = arguments.worker
        files = sorted(arguments.folder.glob("*.jsonl.zst"))[: arguments.files]
        return PIPELINES[name](files, arguments.tokenizer, int(jobs), Path(target))
    if arguments.corpus:
        make_corpus(arguments.corpus, arguments.folder, arguments.corpus_mb)
    return measure(arguments)


def make_corpus(corpus: Path, folder: Path, limit_mb: float) -> None:
    """Deals the texts of the pinned packages to CORPUS_FILES files."""
    from corpus import fetch, texts_of_packages

    from pile_toolkit.core.documents import DocumentWriter

    fetch(corpus, folder)
    left = limit_mb * 1e6
    with contextlib.ExitStack() as stack:
        names = [folder / f"{number:02}.jsonl.zst" for number in range(CORPUS_FILES)]
        writers = [stack.enter_context(DocumentWriter(name)) for name in names]
        for text, writer in zip(texts_of_packages(corpus, folder), itertools.cycle(writers), strict=False):
            writer.write(text, {"pile_set_name": "Github"})
            left -= len(text)
            if left < 0:
                break


def measure(arguments: argparse.Namespace) -> None:
    """Every pipeline with every number of processes, in turn."""
    names = [OURS, GIGATOKEN, LIBRARY]
    if importlib.util.find_spec(GIGATOKEN) is None:
        names.remove(GIGATOKEN)
        print(f"{GIGATOKEN} is not installed: pip install {GIGATOKEN}\n", file=sys.stderr)
    cases = [(name, jobs) for name in names for jobs in arguments.jobs]
    found: dict[tuple[str, int], list[tuple[float, float]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        text_bytes = plan_of(arguments.folder, Path(scratch) / "root")
        few = next(
            n
            for n, total in enumerate(itertools.accumulate([*text_bytes, 0]), 1)
            if total >= min(sum(text_bytes), arguments.library_mb * 1e6)
        )
        for number in range(arguments.rounds):
            for name, jobs in cases[number % len(cases) :] + cases[: number % len(cases)]:
                if name == LIBRARY and number > 0:
                    continue
                files = few if name == LIBRARY else len(text_bytes)
                mb = sum(text_bytes[:files]) / 1e6
                wall_s, cpu_s = run_one(arguments, name, jobs, files, Path(scratch))
                found[name, jobs].append((mb / wall_s, mb / cpu_s))
                print(f"round {number + 1}, {name}, {jobs} jobs: {mb / wall_s:.1f} MB/s", file=sys.stderr)
        differ = {name: other_ids(Path(scratch), name) for name in names}
    print(
        f"{sum(text_bytes) / 1e6:,.0f} MB of text in {len(text_bytes)} files, {platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}\n"
    )
    report(found, differ)


def report(found: dict[tuple[str, int], list[tuple[float, float]]], differ: dict[str, str]) -> None:
    """One line per pipeline and number of processes."""
    print("| pipeline | processes | MB/s | MB/s of processor time | ours / it | two / one | documents with other ids |")
    print("|---|---:|---:|---:|---:|---:|---|")
    speed = {case: statistics.median(wall for wall, _ in rounds) for case, rounds in found.items()}
    for (name, jobs), rounds in found.items():
        ratio, scaling = speed[OURS, jobs] / speed[name, jobs], speed[name, jobs] / speed.get((name, 1), np.nan)
        cpu = statistics.median(cpu for _, cpu in rounds)
        print(
            f"| {name} | {jobs} | {speed[name, jobs]:.1f} | {cpu:.1f} | {ratio:.2f} | {scaling:.2f} | {differ[name]} |"
        )


def plan_of(folder: Path, root: Path) -> list[int]:
    """A root with a plan of all documents of the files, once each; returns the bytes of text per file."""
    import pile_toolkit as pile
    from pile_toolkit.core.components import read_component

    (root.parent / "source").mkdir()
    (root.parent / "source" / SLUG).symlink_to(folder.resolve())
    pile.download(root, components=[SLUG], source=str(root.parent / "source"))
    pile.dedup(root, method="none")
    pile.build(root, weights={SLUG: 1.0}, val_share=0.0, test_share=0.0, write_corpus=False)
    return [file.counts.text_bytes for file in read_component(root, SLUG).files]


def run_one(arguments: argparse.Namespace, name: str, jobs: int, files: int, scratch: Path) -> tuple[float, float]:
    """Seconds of wall and of processor time of one command; what it wrote is kept as the last of its name."""
    target = scratch / name
    if name == OURS:
        shutil.rmtree(scratch / "root" / "shards", ignore_errors=True)
    target.mkdir(exist_ok=True)
    command = [sys.executable, __file__, str(arguments.tokenizer), str(arguments.folder), "--files", str(files)]
    # What the last one wrote must not go to the disk on this one's time.
    os.sync()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*command, "--worker", name, str(jobs), str(target)], check=True)
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def other_ids(scratch: Path, name: str) -> str:
    """How many documents a pipeline wrote with other ids than ours, of those that it wrote."""
    ours, its = (sequences(scratch / each / "train") for each in (OURS, name))
    differ = written = 0
    for left, right in zip(ours, its, strict=False):
        differ += not np.array_equal(left, right)
        written += 1
    return f"{differ:,} of {written:,}"


def sequences(prefix: Path) -> Iterator[np.ndarray]:
    """The documents of a `.bin` in its order: a plan without copies has each once."""
    sizes = np.load(f"{prefix}.sizes.npy", allow_pickle=False)
    ids, bounds = np.memmap(f"{prefix}.bin", np.uint16, "r"), np.cumsum([0, *sizes])
    yield from (ids[start:stop] for start, stop in itertools.pairwise(bounds))


def ours(files: list[Path], tokenizer: Path, jobs: int, target: Path) -> None:
    """The stage, and links to what it wrote."""
    import pile_toolkit as pile
    from shards.format import read_index

    root = target.parent / "root"
    pile.write_shards(root, tokenizer=tokenizer, jobs=jobs)
    (target / "train.bin").unlink(missing_ok=True)
    (target / "train.bin").hardlink_to(root / "shards" / "train.bin")
    index = read_index(root / "shards" / "train.idx")
    np.save(target / "train.sizes.npy", index.sizes[np.argsort(index.pointers)], allow_pickle=False)


def gigatoken(files: list[Path], tokenizer: Path, jobs: int, target: Path) -> None:
    """A process per file, then the parts joined."""
    tasks = [(path, tokenizer, target / f"{number}.part") for number, path in enumerate(files)]
    if jobs == 1:
        sizes = [gigatoken_file(*task) for task in tasks]
    else:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            sizes = pool.starmap(gigatoken_file, tasks, chunksize=1)
    with (target / "train.bin").open("wb", buffering=0) as joined:
        for _, _, part in tasks:
            with part.open("rb") as source:
                while os.copy_file_range(source.fileno(), joined.fileno(), 1 << 30):
                    pass
            part.unlink()
    write_index_plainly(target / "train", np.concatenate(sizes))


_gigatoken: dict[Path, Any] = {}


def gigatoken_file(path: Path, tokenizer: Path, part: Path) -> np.ndarray:
    """One file's ids; returns the sizes of its documents."""
    import gigatoken as library

    if tokenizer not in _gigatoken:
        _gigatoken[tokenizer] = library.Tokenizer(str(tokenizer))
    encoder, end = _gigatoken[tokenizer], np.uint16(0).tobytes()
    sizes = []
    with part.open("wb", buffering=1 << 20) as out:
        for texts in batches_of(path):
            ids, offsets = flat(encoder.encode_batch(texts, parallel=False))
            sizes.append(np.diff(offsets) + 1)
            data = ids.view(np.uint8).data
            for start, stop in itertools.pairwise((2 * offsets).tolist()):
                out.write(data[start:stop])
                out.write(end)
    return np.concatenate(sizes)


def flat(result: Any) -> tuple[np.ndarray, np.ndarray]:
    """(ids, offsets) of what gigatoken returns: an awkward array, or where that is not installed a list of arrays."""
    if isinstance(result, list):
        return np.concatenate(result).astype(np.uint16), np.cumsum([0, *map(len, result)])
    layout = result.layout
    return np.asarray(layout.content.data).astype(np.uint16), np.asarray(layout.offsets.data).astype(np.int64)


def batches_of(path: Path) -> Iterator[list[str]]:
    """The texts of a file, a batch at a time, as fast as the libraries give them."""
    texts, characters = [], 0
    for text in texts_of(path):
        texts.append(text)
        characters += len(text)
        if characters > BATCH_CHARACTERS:
            yield texts
            texts, characters = [], 0
    if texts:
        yield texts


def texts_of(path: Path) -> Iterator[str]:
    """The texts of one file: zstandard's stream, split into lines, one field decoded of each."""
    import msgspec
    import zstandard

    decode = msgspec.json.Decoder(msgspec.defstruct("Line", [("text", str)])).decode
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_size=BLOCK_BYTES, read_across_frames=True)
        rest = b""
        while block := stream.read(BLOCK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield decode(line).text


_library: list[Any] = []


def load_library(tokenizer: Path) -> None:
    """In each worker of the pool."""
    from tokenizers import Tokenizer

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _library[:] = [Tokenizer.from_file(str(tokenizer))]
    _library[0].encode_special_tokens = True


def encode_with_library(text: str) -> list[int]:
    """The ids of one document and its end, as a list, which is what travels back."""
    return [*_library[0].encode(text, add_special_tokens=False).ids, 0]


def library(files: list[Path], tokenizer: Path, jobs: int, target: Path) -> None:
    """gpt-neox's loop: one reader, a pool of encoders, one writer."""
    texts, sizes = itertools.chain.from_iterable(map(texts_of, files)), []
    with contextlib.ExitStack() as stack:
        out = stack.enter_context((target / "train.bin").open("wb"))
        if jobs == 1:
            load_library(tokenizer)
            encoded: Any = map(encode_with_library, texts)
        else:
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(context.Pool(jobs, initializer=load_library, initargs=(tokenizer,)))
            encoded = pool.imap(encode_with_library, texts, chunksize=LIBRARY_CHUNK)
        for ids in encoded:
            array = np.array(ids, np.uint16)
            out.write(array.tobytes(order="C"))
            sizes.append(array.size)
    write_index_plainly(target / "train", np.array(sizes))


def write_index_plainly(prefix: Path, sizes: np.ndarray) -> None:
    """The `.idx`, and the sizes for the comparison."""
    from shards.format import write_index

    pointers = 2 * (np.cumsum(sizes) - sizes)
    write_index(Path(f"{prefix}.idx"), dtype="u2", sizes=sizes, pointers=pointers, doc_idx=np.arange(len(sizes) + 1))
    np.save(f"{prefix}.sizes.npy", sizes, allow_pickle=False)


PIPELINES: dict[str, Callable[[list[Path], Path, int, Path], None]] = {
    OURS: ours,
    GIGATOKEN: gigatoken,
    LIBRARY: library,
}


if __name__ == "__main__":
    main()
