"""Published sets with known near-duplicates: how many of the pairs are found, and how many that are found are known.

    python benchmarks/dedup_published.py FILE [--thresholds 0.2 0.5 0.8]

FILE is one of two kinds, which are not shipped here:

- `articles_N.train`, beside it `articles_N.truth` (github.com/chrisjmccormick/MinHash, MIT): N news articles, a line
  each that begins with its name, and N / 125 pairs of names whose texts are nearly the same.
- `train.jsonl` of the CORE deduplication set (pinecone/core-2020-05-10-deduplication, MIT): 100,000 scholarly records
  with `labelled_duplicates`; titles and abstracts are compared, in lower case, as text-dedup does.

Printed per threshold, of pairs of documents in one cluster: precision and recall; and the same as text-dedup counts
documents (its figures for CORE are .9587 and .9416): right is one that has duplicates of which all are found, wrong any
other for which some are found, missed one that has some and for which none are found.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pile_toolkit.core.documents import DocumentWriter
from pipelines.dedup import dedup
from pipelines.download import download
from pipelines.keep_list import read_keep_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SLUG = "pile-cc"
# As text-dedup has them for CORE.
CORE_SETTINGS = {"num_perm": 200, "shingle_size": 2, "bands": 50, "rows": 4}


class Published(NamedTuple):
    """Names, texts, and of every name the names that are known to be its duplicates."""

    names: list[str]
    texts: list[str]
    known: dict[str, set[str]]
    settings: dict[str, Any]


class Figures(NamedTuple):
    """Pairs, and documents as text-dedup counts them."""

    found_pairs: int
    pair_precision: float
    pair_recall: float
    precision: float
    recall: float


def read_published(path: Path) -> Published:
    """Either kind of file. Raises ValueError for another."""
    if path.suffix == ".train":
        return _articles(path)
    if path.suffix == ".jsonl":
        return _core(path)
    raise ValueError(f"{path} is neither articles_N.train nor train.jsonl")


def _articles(path: Path) -> Published:
    lines = [line.partition(" ") for line in path.read_text(encoding="latin-1").splitlines() if line]
    known: dict[str, set[str]] = defaultdict(set)
    for line in path.with_suffix(".truth").read_text().splitlines():
        one, other = line.split()
        known[one].add(other)
        known[other].add(one)
    return Published([name for name, _, _ in lines], [text for _, _, text in lines], dict(known), {})


def _core(path: Path) -> Published:
    with path.open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    texts = [f"{record['processed_title']} {record['processed_abstract']}".lower() for record in records]
    known = {str(record["core_id"]): set(map(str, record["labelled_duplicates"])) for record in records}
    return Published(list(known), texts, known, CORE_SETTINGS)


def clusters(published: Published, *, threshold: float, verify: bool) -> dict[str, set[str]]:
    """Of every name the others in its cluster."""
    with tempfile.TemporaryDirectory(prefix="pile-published-") as folder:
        source, root = Path(folder, "source"), Path(folder, "root")
        with DocumentWriter(source / f"{SLUG}.jsonl.zst") as writer:
            for text in published.texts:
                writer.write(text, b"{}")
        download(root, components=[SLUG], source=str(source))
        dedup(root, method="minhash", threshold=threshold, verify=verify, **published.settings)
        cluster = read_keep_list(root)[1].column("cluster").to_pylist()
    members: dict[int, set[str]] = defaultdict(set)
    for name, number in zip(published.names, cluster, strict=True):
        members[number].add(name)
    return {name: members[number] - {name} for name, number in zip(published.names, cluster, strict=True)}


def figures(known: Mapping[str, set[str]], found: Mapping[str, set[str]]) -> Figures:
    """What was found beside what is known."""
    known_pairs, found_pairs = _pairs(known), _pairs(found)
    both = len(known_pairs & found_pairs)
    right = sum(bool(known.get(name)) and known[name] <= others for name, others in found.items() if others)
    claimed = sum(bool(others) for others in found.values())
    missed = sum(bool(known.get(name)) for name, others in found.items() if not others)
    return Figures(
        len(found_pairs),
        both / max(1, len(found_pairs)),
        both / max(1, len(known_pairs)),
        right / max(1, claimed),
        right / max(1, right + missed),
    )


def _pairs(duplicates: Mapping[str, set[str]]) -> set[tuple[str, str]]:
    return {(min(name, other), max(name, other)) for name, others in duplicates.items() for other in others}


def similarities(published: Published, *, words: int) -> Sequence[float]:
    """Exact similarities of the known pairs, the highest first: what no method that estimates them can better."""
    texts = dict(zip(published.names, published.texts, strict=True))
    pairs = [pair for pair in _pairs(published.known) if texts.keys() >= set(pair)]
    sets = {}
    for name in {name for pair in pairs for name in pair}:
        parts = texts[name].casefold().split()
        sets[name] = {tuple(parts[start : start + words]) for start in range(max(1, len(parts) - words + 1))}
    return sorted((len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in pairs), reverse=True)


def main() -> None:
    """Prints Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.5, 0.6, 0.7, 0.8])
    options = parser.parse_args()
    published = read_published(options.file)
    exact = similarities(published, words=published.settings.get("shingle_size", 5))
    middle = exact[len(exact) // 2]
    print(f"{len(published.texts):,} documents, {len(exact):,} known pairs; their exact similarity: ", end="")
    print(f"{exact[-1]:.2f} the least, {middle:.2f} the middle, {exact[0]:.2f} the most\n")
    print("| threshold | verified | pairs found | precision | recall | as text-dedup: precision | recall |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for threshold in options.thresholds:
        for verify in (False, True):
            row = figures(published.known, clusters(published, threshold=threshold, verify=verify))
            cells = " | ".join(f"{value:.4f}" for value in row[1:])
            print(f"| {threshold} | {'yes' if verify else 'no'} | {row.found_pairs:,} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
