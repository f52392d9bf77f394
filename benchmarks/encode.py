"""Encoding beside the peers, on text that no cache has seen: one core, from Python strings, conversions included.

    python benchmarks/encode.py TOKENIZER.json FOLDER [--code FOLDER] [--rounds 5] [--only NAME ...]

FOLDER holds `*.jsonl.zst` files of documents; the code corpus is every `.py` file under `--code` (default: the
installed packages), 60 MB of them at most. Peers are measured where they are installed: `pip install gigatoken
fastokens tokie tiktoken`.

Every round loads every encoder anew, lets it encode one half of the documents, which fills its caches, and measures the
other half in CPU seconds of the process; the order of encoders rotates from round to round. The ids end in an array or
in what the peer returns instead. Printed is the median over the rounds, and the median of the ratio to ours within a
round. Ids are compared with those of `tokenizers` on a part of the documents (special tokens as text); a peer that
differs is marked. The slow ones encode a part of the half. At the end, ours alone: two threads
against one in wall time, from `.jsonl.zst` files to ids, texts without a space, and the start of the command.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before any of them is imported: their thread pools are made once a process.
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable

CODE_BYTES = 60e6
COMPARED_DOCUMENTS = 400
BATCH = 64
# The share of the half that an encoder of a few MB/s gets.
SLOW_SHARE = {"tokenizers": 8, "tokenizers batch_fast": 8, "tiktoken": 4}
SPACES = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def ours(path: str) -> Callable[[list[str]], Any]:
    from tokenizer.encoder import Encoder
    from tokenizer.encoding import caches

    # A new encoder of the same file would find the caches of the round before.
    caches._pool = caches.Pool()
    encoder = Encoder.load(path)
    encoder.encode("")
    return encoder.encode_batch


def gigatoken(path: str) -> Callable[[list[str]], Any]:
    import gigatoken

    encoder = gigatoken.Tokenizer(path)
    return lambda texts: encoder.encode_batch(texts, parallel=False)


def fastokens(path: str) -> Callable[[list[str]], Any]:
    import fastokens

    encoder = fastokens.Tokenizer.from_file(path)

    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        ids, offsets = encoder.encode_batch_flat(texts, split_special_tokens=True)
        return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.uint64)

    return encode


def tokie(path: str) -> Callable[[list[str]], Any]:
    import tokie

    encoder = tokie.Tokenizer.from_json(path)
    return lambda texts: [encoder.encode(text, add_special_tokens=False).ids for text in texts]


def library(path: str) -> Callable[[list[str]], Any]:
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(path)
    encoder.encode_special_tokens = True
    return lambda texts: [encoder.encode(text, add_special_tokens=False).ids for text in texts]


def library_fast(path: str) -> Callable[[list[str]], Any]:
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(path)
    encoder.encode_special_tokens = True

    def encode(texts: list[str]) -> list[list[int]]:
        return [
            encoding.ids
            for first in range(0, len(texts), BATCH)
            for encoding in encoder.encode_batch_fast(texts[first : first + BATCH], add_special_tokens=False)
        ]

    return encode


def tiktoken(path: str) -> Callable[[list[str]], Any]:
    import tiktoken

    from tokenizer.definition import parse
    from tokenizer.layout import byte_characters

    # The same merges with byte strings, numbered by rank and without runs of spaces: no ids to compare.
    byte_of = {character: byte for byte, character in enumerate(byte_characters())}
    definition = parse(Path(path).read_bytes(), name=path)
    ordered = [*byte_of, *(left + right for left, right in definition.merges)]
    ranks = {bytes(map(byte_of.__getitem__, token)): rank for rank, token in enumerate(dict.fromkeys(ordered))}
    encoder = tiktoken.Encoding("same", pat_str=SPACES, mergeable_ranks=ranks, special_tokens={})
    return lambda texts: [encoder.encode_ordinary(text) for text in texts]


ENCODERS: dict[str, Callable[[str], Callable[[list[str]], Any]]] = {
    "pile-toolkit": ours,
    "gigatoken": gigatoken,
    "fastokens": fastokens,
    "tokie": tokie,
    "tiktoken": tiktoken,
    "tokenizers": library,
    "tokenizers batch_fast": library_fast,
}


def documents_of(folder: Path) -> list[str]:
    """The texts of all `*.jsonl.zst` files."""
    texts = []
    for path in sorted(folder.glob("*.jsonl.zst")):
        data = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
        texts += [json.loads(line)["text"] for line in io.BytesIO(data) if line.strip()]
    return texts


def code_of(folder: Path) -> list[str]:
    """Python files, up to CODE_BYTES of them."""
    texts, total = [], 0.0
    paths = sorted(folder.rglob("*.py"))
    random.Random(2).shuffle(paths)
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        texts.append(text)
        total += len(text)
        if total > CODE_BYTES:
            break
    return texts


def plain(result: Any) -> list[list[int]]:
    """Ids per text, whatever an encoder returns."""
    if isinstance(result, tuple):
        ids, offsets = result
        return [ids[first:last].tolist() for first, last in itertools.pairwise(offsets)]
    return [np.asarray(ids).tolist() for ids in result]


def unseen(data: list[bytes]) -> list[str]:
    """New strings: an encoder that asks Python for their UTF-8 makes it stay with them, for whoever comes next."""
    return [one.decode() for one in data]


def measure(names: list[str], path: str, texts: list[str], rounds: int) -> dict[str, list[float]]:
    """MB/s of each encoder in each round."""
    data = [text.encode() for text in random.Random(1).sample(texts, len(texts))]
    warm, fresh = data[: len(data) // 2], data[len(data) // 2 :]
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            share = SLOW_SHARE.get(name, 1)
            if share > 1 and turn > 2:
                continue
            encode = ENCODERS[name](path)
            encode(unseen(warm[::share]))
            part = unseen(fresh[::share])
            size = sum(map(len, fresh[::share]))
            started = time.process_time()
            encode(part)
            found[name].append(size / 1e6 / (time.process_time() - started))
    return found


def report(title: str, found: dict[str, list[float]], differ: dict[str, int]) -> None:
    """One line for each encoder."""
    mine = found["pile-toolkit"]
    print(f"\n{title}")
    print(f"{'encoder':<22} {'MB/s':>7} {'lowest':>7} {'highest':>7} {'ours / it':>9}  texts with other ids")
    for name, speeds in found.items():
        ratio = statistics.median(a / b for a, b in zip(mine, speeds, strict=False))
        print(
            f"{name:<22} {statistics.median(speeds):>7.1f} {min(speeds):>7.1f} {max(speeds):>7.1f} {ratio:>9.2f}  "
            f"{'numbered otherwise' if name == 'tiktoken' else f'{differ[name]} of {COMPARED_DOCUMENTS}'}"
        )


def threads(path: str, texts: list[str]) -> None:
    """Two threads against one, in wall time, all caches warmed on the first half, each of which is a thread's own."""
    best = {}
    data = [text.encode() for text in texts]
    for count in (1, 2) * 5:
        encode: Any = ours(path)
        # Which thread encodes what is not known: after a few times all have seen nearly all.
        for _ in range(4):
            encode(unseen(data[::2]), threads=count)
        fresh = unseen(data[1::2])
        started = time.perf_counter()
        encode(fresh, threads=count)
        best[count] = min(time.perf_counter() - started, best.get(count, 1e9))
    print(f"\ntwo threads: {best[1] / best[2]:.2f} times one (needs two idle cores)")


def end_to_end(path: str, folder: Path) -> None:
    """Files to ids in one array per file: decompression, JSON with all checks of the reader, UTF-8, encoding."""
    from pile_toolkit.core.documents import read_documents

    files = sorted(folder.glob("*.jsonl.zst"))
    size = sum(len(document.text.encode()) for file in files for document in read_documents(file))
    speeds = []
    for _ in range(3):
        encode: Any = ours(path)
        started = time.process_time()
        for file in files:
            encode([document.text for document in read_documents(file)])
        speeds.append(size / 1e6 / (time.process_time() - started))
    print(f"\n.jsonl.zst to ids, one core, caches empty at first: {statistics.median(speeds):.1f} MB/s of text")


def without_spaces(path: str) -> None:
    """A megabyte each that is one pre-token or millions of combining marks."""
    draw = random.Random(4)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    texts = {
        "one letter": "a" * 1_000_000,
        "base64": "".join(draw.choices(letters, k=1_000_000)),
        "Chinese": "".join(map(chr, draw.choices(range(0x4E00, 0x9FA5), k=333_333))),
        "digits": "".join(draw.choices("0123456789", k=1_000_000)),
        "zero bytes": "\0" * 1_000_000,
        "combining marks": "".join(map(chr, draw.choices(range(0x300, 0x370), k=500_000))),
    }
    encode: Any = ours(path)
    print("\n1 MB without a space, s of CPU:", end=" ")
    for name, text in texts.items():
        started = time.process_time()
        encode([text])
        print(f"{name} {time.process_time() - started:.2f}", end="; ")
    print()


def starts(path: str) -> None:
    """The whole command for one line, three times: the kernels were compiled before."""
    command = [sys.executable, "-m", "pile_toolkit", "tokenizer", "encode", "one line", "--tokenizer", path]
    found = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - started)
    print(f"\npile tokenizer encode of one line, wall: {statistics.median(found):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--code", type=Path, default=Path(sysconfig.get_path("purelib")))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    names = []
    for name in options.only or ENCODERS:
        try:
            ENCODERS[name](options.tokenizer)
            names.append(name)
        except Exception as error:  # a peer that is not installed, or cannot load this file
            print(f"{name}: not measured: {error}", file=sys.stderr)
    for title, texts in (("documents", documents_of(options.folder)), ("code", code_of(options.code))):
        sample = random.Random(3).sample(texts, min(COMPARED_DOCUMENTS, len(texts)))
        expected = library(options.tokenizer)(sample)
        differ = {}
        for name in names:
            got = plain(ENCODERS[name](options.tokenizer)(sample))
            differ[name] = sum(a != b for a, b in zip(got, expected, strict=True))
        size = sum(len(text.encode()) for text in texts) / 2e6
        found = measure(names, options.tokenizer, texts, options.rounds)
        report(f"{title}: {size:.0f} MB fresh after as much seen", found, differ)
        threads(options.tokenizer, texts)
    end_to_end(options.tokenizer, options.folder)
    without_spaces(options.tokenizer)
    starts(options.tokenizer)


if __name__ == "__main__":
    main()
