"""Planted near-duplicates of real documents: how many are found at each exact similarity, and whether others are.

    python benchmarks/dedup_quality.py FOLDER [--pairs 500] [--threshold 0.8]

FOLDER holds `.jsonl.zst` files of real documents. Of each pair the one is a piece of a document, the other the
same with its last words replaced by words that are nowhere else, so that the Jaccard similarity of their sets of 5-word
shingles is exactly .5, .55 ... 1.0. A pair is found where both are in one cluster. Without verification the share found
must be the S-curve's, within four standard deviations of the sampling; with it, the same share from the threshold on,
and none below (precision 1). Exit code 1 where one is not.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pile_toolkit.core.documents import DocumentWriter, read_documents
from pipelines.dedup import dedup
from pipelines.download import download
from pipelines.keep_list import read_keep_list
from pipelines.lsh.quality import s_curve
from pipelines.minhash import bands

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STEPS = [Fraction(step, 20) for step in range(10, 21)]
SHINGLE = 5
LEAST_SHINGLES, MOST_SHINGLES = 80, 400
_PIECE_WORDS = MOST_SHINGLES + SHINGLE - 1
DEVIATIONS = 4.0
SLUG = "pile-cc"


class Pair(NamedTuple):
    """Two texts and the exact similarity of their sets of shingles."""

    similarity: Fraction
    one: str
    other: str


class Found(NamedTuple):
    """Of the pairs of one similarity, how many are in one cluster, and how many the S-curve expects."""

    similarity: Fraction
    pairs: int
    found: int
    expected: float

    @property
    def deviation(self) -> float:
        """How far that is from what was expected, in standard deviations of the sampling."""
        variance = self.expected * (1 - self.expected / self.pairs)
        difference = abs(self.found - self.expected)
        return difference / max(variance, 1.0) ** 0.5


def planted(texts: Iterator[str], pairs: int) -> Iterator[Pair]:
    """So many pairs for every step, each of a text of its own. Raises ValueError where these are too few."""
    numbers = itertools.count()
    for step in itertools.islice(itertools.cycle(STEPS), pairs * len(STEPS)):
        # Replacing the last k of n + 4 words replaces k of n shingles: (n - k) / (n + k) is the similarity.
        ratio = (1 - step) / (1 + step)
        for text in texts:
            words = _distinct(text.casefold().split())
            shingles = (len(words) - SHINGLE + 1) // ratio.denominator * ratio.denominator
            if shingles >= LEAST_SHINGLES:
                break
        else:
            raise ValueError(f"there are not {pairs} long texts for each of {len(STEPS)} steps")
        words = words[: shingles + SHINGLE - 1]
        changed = int(shingles * ratio)
        fresh = [f"fresh{next(numbers)}" for _ in range(changed)]
        yield Pair(step, " ".join(words), " ".join([*words[: len(words) - changed], *fresh]))


def _distinct(words: Sequence[str]) -> Sequence[str]:
    """The longest beginning, up to a limit, in which no shingle occurs twice."""
    seen = set()
    for start in range(min(len(words) - SHINGLE + 1, MOST_SHINGLES)):
        shingle = tuple(words[start : start + SHINGLE])
        if shingle in seen:
            return words[: start + SHINGLE - 1]
        seen.add(shingle)
    return words[:_PIECE_WORDS]


def real_texts(folder: Path) -> Iterator[str]:
    """Pieces of the documents of all files in turn that share no shingle: what is planted must stand alone."""
    seen: set[int] = set()
    files = [read_documents(path) for path in sorted(folder.glob("*.jsonl.zst"))]
    for document in itertools.chain.from_iterable(itertools.zip_longest(*files)):
        if document is None:
            continue
        words = document.text.casefold().split()
        for first in range(0, len(words), _PIECE_WORDS):
            piece = _distinct(words[first : first + _PIECE_WORDS])
            shingles = {hash(tuple(piece[start : start + SHINGLE])) for start in range(len(piece) - SHINGLE + 1)}
            if seen.isdisjoint(shingles):
                seen |= shingles
                yield " ".join(piece)


def measure(pairs: Sequence[Pair], *, threshold: float, verify: bool, folder: Path) -> list[Found]:
    """What deduplication finds of pairs, per similarity."""
    source, root = folder / "source", folder / f"root-{verify}"
    with DocumentWriter(source / f"{SLUG}.jsonl.zst") as writer:
        for text in itertools.chain.from_iterable((pair.one, pair.other) for pair in pairs):
            writer.write(text, b"{}")
    download(root, components=[SLUG], source=str(source))
    dedup(root, method="minhash", threshold=threshold, verify=verify)
    cluster = read_keep_list(root)[1].column("cluster").to_pylist()
    together = [one == other for one, other in zip(cluster[::2], cluster[1::2], strict=True)]
    if sum(together) != len(cluster) - len(set(cluster)):
        raise ValueError("documents of different pairs are in one cluster: the texts are near duplicates themselves")
    chosen = bands(num_perm=128, threshold=threshold)
    rows = []
    for step in STEPS:
        mine = [hit for hit, pair in zip(together, pairs, strict=True) if pair.similarity == step]
        stands = not verify or step >= Fraction(str(threshold))
        share = s_curve(bands=chosen.bands, rows=chosen.rows, similarity=float(step)) if stands else 0.0
        rows.append(Found(step, len(mine), sum(mine), share * len(mine)))
    return rows


def main() -> int:
    """Prints a Markdown table; exit code 1 where a step is off the curve or precision is not 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--threshold", type=float, default=0.8)
    options = parser.parse_args()
    pairs = list(planted(real_texts(options.folder), options.pairs))
    missed = False
    print("| verified | similarity | pairs | found | recall | S-curve | deviations |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for verify in (False, True):
        with tempfile.TemporaryDirectory(prefix="pile-quality-") as folder:
            rows = measure(pairs, threshold=options.threshold, verify=verify, folder=Path(folder))
        for row in rows:
            figures = f"{row.pairs} | {row.found} | {row.found / row.pairs:.3f} | {row.expected / row.pairs:.3f}"
            print(f"| {'yes' if verify else 'no'} | {float(row.similarity):.2f} | {figures} | {row.deviation:.1f} |")
            missed |= row.deviation > DEVIATIONS
        right = sum(row.found for row in rows if row.similarity >= Fraction(str(options.threshold)))
        precision = right / sum(row.found for row in rows)
        print(f"\nprecision at {options.threshold}{', verified' if verify else ''}: {precision:.4f}\n")
        missed |= verify and precision < 1
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
