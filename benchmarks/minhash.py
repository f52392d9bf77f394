"""MinHash signatures beside the peers: one core, from Python strings, 128 permutations, shingles of 5 words.

    python benchmarks/minhash.py FOLDER [--rounds 5] [--only NAME ...]

FOLDER holds `*.jsonl.zst` files of documents. Peers are measured where they are installed: `pip install rensa
FastSketchLSH`. Ours normalizes the text (NFC, case folding, white space) and hashes shingles by a fixed definition;
the peers get the fastest shingles that Python gives them, of words that are only split: joined into strings, or hashed
as tuples by Python's own hash, another one in each process.

rensa and FastSketchLSH compute another sketch (Fast Similarity Sketching, Dahlgaard et al., 2017), whose work for a
shingle does not grow with the number of permutations; datasketch and ours compute all 128 permutations of each.

Every round measures every sketcher on new strings, in CPU seconds of the process; the order rotates. Printed is the
median over the rounds, and the median of the ratio to ours within a round. The second table gives the peers their
shingles prepared, against ours from strings as before. At the end, ours alone: where the time goes, other settings,
what a stage asks for, from `.jsonl.zst` files to fingerprints, and one document of 10 and of 100 MB.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before any of them is imported: their thread pools are made once a process.
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable

PERMUTATIONS = 128
LOW_32 = 0xFFFFFFFF
# The share of the documents that a sketcher of a few MB/s gets.
SLOW_SHARE = 8


def joined(text: str) -> list[str]:
    words = text.split()
    return list(map(" ".join, zip(words, words[1:], words[2:], words[3:], words[4:], strict=False))) or [text]


def hashed(text: str) -> list[int]:
    words = text.split()
    return list(map(hash, zip(words, words[1:], words[2:], words[3:], words[4:], strict=False))) or [hash(text)]


def low_32(text: str) -> list[int]:
    return [value & LOW_32 for value in hashed(text)]


def flat(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all texts one after the other, and where those of each begin."""
    parts = [np.array(hashed(text), np.int64) for text in texts]
    ends = np.cumsum([0, *map(len, parts)]).astype(np.uint64)
    return np.concatenate(parts).view(np.uint64), ends


def ours() -> Callable[[list[str]], Any]:
    from pipelines.minhash import minhash

    minhash([""])
    return minhash


def datasketch_bulk() -> Callable[[Any], Any]:
    from datasketch import MinHash

    return lambda shingles: MinHash.bulk(shingles, num_perm=PERMUTATIONS, hashfunc=int)


def datasketch_update_batch() -> Callable[[Any], Any]:
    from datasketch import MinHash

    def sketch(shingles: list[list[int]]) -> list[Any]:
        first = MinHash(PERMUTATIONS, hashfunc=int)
        found = []
        for some in shingles:
            one = MinHash(PERMUTATIONS, hashfunc=int, scheme=first.scheme, permutations=first.permutations)
            one.update_batch(some)
            found.append(one)
        return found

    return sketch


def rensa_strings() -> Callable[[Any], Any]:
    import rensa

    return lambda shingles: rensa.RMinHash.digest_matrix_from_token_sets(shingles, PERMUTATIONS, 1)


def rensa_hashes() -> Callable[[Any], Any]:
    import rensa

    return lambda shingles: rensa.RMinHash.digest_matrix_from_flat_token_hashes(*shingles, PERMUTATIONS, 1)


def fast_sketch_strings() -> Callable[[Any], Any]:
    import FastSketchLSH

    sketcher = FastSketchLSH.FastSimilaritySketch(size=PERMUTATIONS, seed=1)
    return lambda shingles: sketcher.batch(shingles, num_threads=1)


def fast_sketch_hashes() -> Callable[[Any], Any]:
    import FastSketchLSH

    sketcher = FastSketchLSH.FastSimilaritySketch(size=PERMUTATIONS, seed=1)
    return lambda shingles: sketcher.batch_csr(*shingles, prehashed=True, num_threads=1)


def each(shingle: Callable[[str], Any]) -> Callable[[list[str]], list]:
    return lambda texts: list(map(shingle, texts))


# How shingles are made, and what makes sketches of them.
PEERS: dict[str, tuple[Callable[[list[str]], Any], Callable[[], Callable[[Any], Any]]]] = {
    "datasketch bulk": (each(low_32), datasketch_bulk),
    "datasketch update_batch": (each(low_32), datasketch_update_batch),
    "rensa, strings": (each(joined), rensa_strings),
    "rensa, hashes": (flat, rensa_hashes),
    "FastSketchLSH, strings": (each(joined), fast_sketch_strings),
    "FastSketchLSH, hashes": (flat, fast_sketch_hashes),
}
OURS = "pile-toolkit"


def documents_of(folder: Path) -> list[str]:
    """The texts of all `*.jsonl.zst` files."""
    texts = []
    for path in sorted(folder.glob("*.jsonl.zst")):
        data = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
        texts += [json.loads(line)["text"] for line in io.BytesIO(data) if line.strip()]
    return texts


def unseen(data: list[bytes]) -> list[str]:
    """New strings: who asks Python for their UTF-8 may make it stay with them, for whoever comes next."""
    return [one.decode() for one in data]


def measure(names: list[str], data: list[bytes], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Of each sketcher in each round the MB/s with shingling and without."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            part = data[:: SLOW_SHARE if name.startswith("datasketch") else 1]
            texts, megabytes = unseen(part), sum(map(len, part)) / 1e6
            shingle, make = PEERS.get(name, (lambda given: given, ours))
            sketch = make()
            started = time.process_time()
            shingles = shingle(texts)
            shingled = time.process_time()
            sketch(shingles)
            done = time.process_time()
            found[name].append((megabytes / (done - started), megabytes / (done - shingled)))
    return found


def report(title: str, found: dict[str, list[tuple[float, float]]], place: int) -> None:
    """One line for each sketcher."""
    mine = [speeds[0] for speeds in found[OURS]]
    print(f"\n{title}")
    print(f"{'sketcher':<26} {'MB/s':>8} {'lowest':>8} {'highest':>8} {'ours / it':>10}")
    for name, pairs in found.items():
        speeds = [pair[place] for pair in pairs]
        ratio = statistics.median(a / b for a, b in zip(mine, speeds, strict=True))
        print(f"{name:<26} {statistics.median(speeds):>8.1f} {min(speeds):>8.1f} {max(speeds):>8.1f} {ratio:>10.2f}")


def seconds(work: Callable[[], Any], times: int = 3) -> float:
    best = float("inf")
    for _ in range(times):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def inside(texts: list[str], megabytes: float) -> None:
    """The parts one by one, each over chunks as the real thing has them."""
    from pipelines.minhash import kernels
    from pipelines.minhash.fingerprint import _chunks
    from pipelines.minhash.folded import TextFolder
    from pipelines.minhash.settings import NORMALIZED, SignatureSettings
    from pipelines.minhash.signer import Signer

    spent = dict.fromkeys(("UTF-8", "folding", "words and shingles", "permutations"), 0.0)
    folder, result = TextFolder(NORMALIZED), np.empty(1 << 22, np.uint32)
    signer, room = Signer(SignatureSettings(), kernels), kernels.make_room(5)
    for _, chunk in _chunks(texts):
        marks = [time.process_time()]
        data = [text.encode() for text in chunk]
        marks.append(time.process_time())
        folder.fold(chunk, data)
        marks.append(time.process_time())
        # All of the chunk as one text.
        kernels.write_shingles(folder.text, int(folder.ends[-1]), True, 5, False, room, result)
        marks.append(time.process_time())
        signer.sign(folder, bands=None, signatures=True)
        marks.append(time.process_time())
        for number, name in enumerate(spent):
            spent[name] += marks[number + 1] - marks[number]
    spent["permutations"] -= spent["words and shingles"]
    print("\nwhere the time goes, ns a byte: ", end="")
    print(", ".join(f"{name} {1e3 * spent_s / megabytes:.2f}" for name, spent_s in spent.items()))


def others(texts: list[str], megabytes: float) -> None:
    """Further settings, and what a stage asks for."""
    from pipelines.minhash import SignatureSettings, fingerprint_texts, minhash

    chosen = SignatureSettings()
    works: dict[str, Callable[[], Any]] = {
        "signatures": lambda: minhash(texts),
        "256 permutations": lambda: minhash(texts, num_perm=256),
        "legacy": lambda: minhash(texts, scheme="legacy"),
        "sha1": lambda: minhash(texts, hash="sha1"),
        "24 characters": lambda: minhash(texts, unit="characters", size=24),
        "without punctuation": lambda: minhash(texts, remove_punctuation=True),
        "sizes and two hashes": lambda: fingerprint_texts(texts),
        "the same and 9 band hashes": lambda: fingerprint_texts(texts, chosen, bands=(9, 13)),
    }
    print("\nours, MB/s: ", end="")
    print(", ".join(f"{name} {megabytes / seconds(work):.0f}" for name, work in works.items()))


def from_files(folder: Path, megabytes: float) -> None:
    """Files to files: rows and band hashes, as the stage's tasks write them."""
    import msgspec

    from pile_toolkit.core.documents import read_documents
    from pile_toolkit.core.files import hash_file
    from pipelines.dedup.fingerprints import fingerprint_file, recipe_of
    from pipelines.dedup.settings import dedup_config, resolve

    files = sorted(folder.glob("*.jsonl.zst"))
    with tempfile.TemporaryDirectory() as output:

        def work(method: str) -> None:
            recipe = msgspec.to_builtins(recipe_of(resolve(dedup_config({"method": method}))))
            for file in files:
                fingerprint_file(Path(output), str(file), hash_file(file), recipe)

        signed, hashed_only = (seconds(lambda method=method: work(method)) for method in ("minhash", "exact"))
    read = seconds(lambda: [None for file in files for _ in read_documents(file)])
    print(
        f".jsonl.zst to rows and band hashes, one core: {megabytes / signed:.0f} MB/s of text; without band hashes "
        f"{megabytes / hashed_only:.0f}, reading alone {megabytes / read:.0f}"
    )


def long_documents() -> None:
    from pipelines.minhash import SignatureSettings, fingerprint_texts

    line = "One document of a hundred megabytes, café and Größe included, is as long as many: 1234567.\n"
    found = []
    for megabytes in (10, 100):
        text = line * (megabytes * 1_000_000 // len(line.encode()))
        taken = seconds(lambda text=text: fingerprint_texts([text], SignatureSettings(), bands=(9, 13)), 1)
        found.append(f"{megabytes} MB {taken:.2f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"one document: {', '.join(found)}; peak of this whole run {peak} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    names = [OURS]
    for name in options.only or PEERS:
        try:
            PEERS[name][1]()
            names.append(name)
        except ImportError as error:
            print(f"{name}: not measured: {error}", file=sys.stderr)
    texts = documents_of(options.folder)
    random.Random(1).shuffle(texts)
    data = [text.encode() for text in texts]
    megabytes = sum(map(len, data)) / 1e6
    found = measure(names, data, options.rounds)
    report(f"from strings, shingling included: {megabytes:.0f} MB", found, 0)
    report("the peers' shingles prepared in advance, ours from strings", found, 1)
    inside(texts, megabytes)
    others(texts, megabytes)
    from_files(options.folder, megabytes)
    long_documents()


if __name__ == "__main__":
    main()
