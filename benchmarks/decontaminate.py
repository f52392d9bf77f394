"""Documents searched for the n-grams of evaluation sets, one core, beside a plain Python set of word tuples.

    python benchmarks/decontaminate.py FOLDER --against SETS [--rounds 5]

FOLDER holds `*.jsonl.zst` files of documents, SETS evaluation sets. Measured in CPU seconds of the process, ours and
the plain set in turn: from strings to hits, on documents in which nothing is found and on all; and from `.jsonl.zst`
files to hits, as a task of `pile dedup --against` does it. The plain set folds texts in Python as documented (NFC, case
folding, punctuation to spaces) and looks up tuples of 13 words, or of fewer where a text of the sets is shorter.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.files import hash_file
from pipelines.decontamination import Against
from pipelines.decontamination.ngrams import Ngrams, open_ngrams, write_ngrams
from pipelines.decontamination.search import CHUNK_CHARACTERS, Searcher, search_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEGA = 1e6


class PlainSet:
    """Tuples of words in a set, and documents against it: the number of hits."""

    def __init__(self, ngrams: Ngrams) -> None:
        self._known = {tuple(ngrams.ngram_text(number).split(" ")) for number in range(len(ngrams.starts))}
        self._sizes = sorted({len(ngram) for ngram in self._known})
        kinds = ((code, chr(code)) for code in range(sys.maxunicode))
        self._spaces = {code: " " for code, character in kinds if unicodedata.category(character)[0] in "PS"}

    def hits(self, texts: list[str]) -> int:
        """How many n-grams of the sets stand in texts, repeats counted."""
        found = 0
        for text in texts:
            words = unicodedata.normalize("NFC", text).casefold().translate(self._spaces).split()
            for size in self._sizes:
                found += sum(ngram in self._known for ngram in zip(*(words[at:] for at in range(size)), strict=False))
        return found


def batches(texts: list[str]) -> Iterator[list[str]]:
    """Texts, some at a time, as the stage takes them."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= CHUNK_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def seconds(call: Callable[[], int]) -> tuple[float, int]:
    """CPU seconds of a call, and what it returns."""
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def compare(name: str, texts: list[str], searcher: Searcher, plain: PlainSet, rounds: int) -> None:
    """Prints both speeds; raises SystemExit where they find different numbers of hits."""
    megabytes = sum(len(text.encode()) for text in texts) / MEGA
    ours, theirs = [], []
    for _ in range(rounds):
        spent, found = seconds(lambda: sum(len(searcher.find(batch).hits) for batch in batches(texts)))
        ours.append(spent)
        spent, expected = seconds(lambda: plain.hits(texts))
        theirs.append(spent)
        if found != expected:
            raise SystemExit(f"{name}: ours found {found:,} n-grams, the plain set {expected:,}")
    ratio = statistics.median(slow / fast for slow, fast in zip(theirs, ours, strict=True))
    speeds = [megabytes / statistics.median(some) for some in (ours, theirs)]
    print(
        f"{name:<34}{megabytes:>8.1f} MB {found:>9,} hits {speeds[0]:>8.1f} MB/s, plain set {speeds[1]:6.2f} MB/s, "
        f"{ratio:.0f} times"
    )


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--against", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    against, paths = Against(), sorted(arguments.folder.glob("*.jsonl.zst"))
    settings = msgspec.to_builtins(against)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for folder in ("warm", "table", "task"):
            (work / folder).mkdir()
        write_ngrams(work / "warm", str(arguments.against), settings)
        spent, count = seconds(lambda: write_ngrams(work / "table", str(arguments.against), settings))
        sets_bytes = sum(path.stat().st_size for path in arguments.against.rglob("*") if path.is_file())
        print(f"table of {count:,} n-grams of {sets_bytes / MEGA:.1f} MB of evaluation sets: {spent:.1f} s")
        searcher, plain = Searcher(work / "table", against), PlainSet(open_ngrams(work / "table")[1])
        texts = [document.text for path in paths for document in read_documents(path)]
        held = {number for number, text in enumerate(texts) if len(searcher.find([text]).hits)}
        clean = [text for number, text in enumerate(texts) if number not in held]
        compare("documents without hits", clean, searcher, plain, arguments.rounds)
        compare("all documents", texts, searcher, plain, arguments.rounds)
        np.save(work / "kept.npy", np.packbits(np.ones(len(texts), bool)))
        spent_all = []
        for _ in range(arguments.rounds):
            spent_all.append(0.0)
            for path in paths:
                task = (str(path), hash_file(path), str(work / "table"), str(work / "kept.npy"), 0, settings)
                spent_all[-1] += seconds(lambda task=task: search_file(work / "task", *task))[0]
        megabytes = sum(len(text.encode()) for text in texts) / MEGA
        print(f"from .jsonl.zst to hits on the disk: {megabytes / statistics.median(spent_all):.1f} MB/s")


if __name__ == "__main__":
    main()
