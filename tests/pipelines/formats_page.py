"""A twin of `docs/formats.md` in plain Python, from that page alone: source files in, what must be there out."""

from __future__ import annotations

import json
import math
import struct
import unicodedata
from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import xxhash
import zstandard
from datasketch import MinHash, MinHashLSH

from tests.core.separation_twin import Copy, halves, in_order, mixed

if TYPE_CHECKING:
    from pathlib import Path

SEED, VAL, TEST, SHARDS = 20_250, 0.15, 0.1, 3
# In catalog order; of github nothing is wanted, and nothing of freelaw, which has no documents.
NAMES = {
    "pile-cc": "Pile-CC",
    "arxiv": "ArXiv",
    "github": "Github",
    "freelaw": "FreeLaw",
    "enron-emails": "Enron Emails",
}
WEIGHTS = {"pile-cc": 1.0, "arxiv": 2.7, "github": 0, "freelaw": 0, "enron-emails": 0.3}
SPLITS = ("train", "val", "test")
EVERYTHING = 1 << 64
THRESHOLD = 0.7


class Row(NamedTuple):
    """What the page says of one document before anything is decided on it."""

    component: int
    file: int
    line: int
    text: str
    meta: dict

    @property
    def place(self) -> tuple[int, int, int]:
        return self.component, self.file, self.line

    @property
    def hash(self) -> bytes:
        return xxhash.xxh3_128_digest(self.text.encode())

    @property
    def normalized(self) -> str:
        return " ".join(unicodedata.normalize("NFC", self.text).casefold().split())


def read_source(source: Path) -> tuple[list[Row], list[list[str]]]:
    """The documents in the order (component, file, line), and the files of each component."""
    rows, files = [], []
    for component, slug in enumerate(NAMES):
        one = source / f"{slug}.jsonl.zst"
        paths = [one] if one.exists() else sorted((source / slug).iterdir(), key=lambda path: path.name)
        files.append([path.name for path in paths])
        for file, path in enumerate(paths):
            with path.open("rb") as stream:
                data = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True).read()
            for line, content in enumerate(data.split(b"\n"), start=1):
                if (document := as_document(content)) is not None:
                    rows.append(Row(component, file, line, *document))
    return rows, files


def as_document(line: bytes) -> tuple[str, dict] | None:
    try:
        record = json.loads(line.decode())
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        return None
    meta = record.get("meta", {})
    return (record["text"], meta) if isinstance(meta, dict) else None


def keyed(seed: int, purpose: str) -> int:
    return xxhash.xxh3_64_intdigest(struct.pack("<Q", len(purpose)) + purpose.encode(), seed=seed)


def column_key(purpose: str, *columns: int) -> int:
    return mixed(keyed(SEED, purpose), *columns)


def shingles(text: str) -> set[int]:
    words = [xxhash.xxh64_intdigest(word.encode()) for word in text.split()]
    found = set()
    for start in range(max(1, len(words) - 4) if words else 0):
        value = 0
        for word in words[start : start + 5]:
            value = (value * 0xD6E8FEB86659FD93 + word) % EVERYTHING
        value ^= value >> 29
        value = value * 0xBF58476D1CE4E5B9 % EVERYTHING
        value ^= value >> 32
        found.add(value % 2**32)
    return found


def band_buckets(rows: list[Row]) -> list[set[tuple]]:
    """The LSH buckets that each document lies in."""
    lsh = MinHashLSH(threshold=THRESHOLD, num_perm=128)
    buckets = []
    for row in rows:
        sketch = MinHash(num_perm=128, seed=1, scheme="affine32", hashfunc=lambda value: value)
        for value in shingles(row.normalized):
            sketch.update(value)
        values = sketch.hashvalues.tolist()
        buckets.append({(band, *values[band * lsh.r : (band + 1) * lsh.r]) for band in range(lsh.b)})
    return buckets


def clusters(rows: list[Row], *, method: str) -> list[int]:
    """The kept row of each row."""
    if method == "none":
        return list(range(len(rows)))
    buckets: list[set] = [{row.hash} for row in rows]
    if method == "minhash":
        buckets = [first | second for first, second in zip(buckets, band_buckets(rows), strict=True)]
    groups = [{number} for number in range(len(rows))]
    seen: dict = {}
    for number, mine in enumerate(buckets):
        for bucket in mine:
            joined = groups[number] | groups[seen.setdefault(bucket, number)]
            for member in joined:
                groups[member] = joined

    def rank(number: int) -> tuple:
        row = rows[number]
        return row.component, -len(row.text.encode()), row.file, row.line

    return [min(group, key=rank) for group in groups]


class Planned(NamedTuple):
    row: Row
    split: str
    copies: int
    ordinal: int

    def entries(self) -> list[tuple[int, int]]:
        """(key, number) of each copy."""
        return [(column_key("order", *halves(self.row.hash), self.ordinal, copy), copy) for copy in range(self.copies)]


def deciding_hashes(rows: list[Row], kept_row: list[int]) -> list[tuple[int, int]]:
    """Of each row the smallest hash of a normalized text among all that it is joined to, through any others."""
    names = [halves(xxhash.xxh3_128_digest(row.normalized.encode())) for row in rows]
    least, before = list(names), None
    while least != before:
        before = list(least)
        of_text, of_cluster = {}, {}
        for name, cluster, value in zip(names, kept_row, least, strict=True):
            of_text[name] = min(of_text.get(name, value), value)
            of_cluster[cluster] = min(of_cluster.get(cluster, value), value)
        least = [min(of_text[name], of_cluster[cluster]) for name, cluster in zip(names, kept_row, strict=True)]
    return least


def plan(rows: list[Row], kept_row: list[int]) -> list[Planned]:
    """The rows of kept documents as the page plans them."""
    ordinals: Counter[bytes] = Counter()
    planned = []
    for number, (row, deciding) in enumerate(zip(rows, deciding_hashes(rows, kept_row), strict=True)):
        if kept_row[number] != number:
            continue
        key = column_key("split", *deciding)
        split = "val" if key < VAL * EVERYTHING else "test" if key < (VAL + TEST) * EVERYTHING else "train"
        planned.append([row, split, int(WEIGHTS[list(NAMES)[row.component]] > 0), ordinals[row.hash]])
        ordinals[row.hash] += 1
    for component, slug in enumerate(NAMES):
        train = [item for item in planned if item[0].component == component and item[1] == "train"]
        train.sort(key=lambda item: column_key("copies", *halves(item[0].hash), item[3]))
        weight = Fraction(str(WEIGHTS[slug]))
        more = round((weight - math.floor(weight)) * len(train))
        for place, item in enumerate(train):
            item[2] = math.floor(weight) + (place < more)
    return [Planned(*item) for item in planned]


class Expected(NamedTuple):
    rows: list[Row]
    files: list[list[str]]
    kept_row: list[int]
    planned: list[Planned]

    def corpus(self, split: str) -> list[tuple[int, int, Planned]]:
        """(key, copy, document) of a split, in the order of the corpus."""
        entries = [
            Copy(key, number, copy, item.row.hash)
            for number, item in enumerate(self.planned)
            if item.split == split
            for key, copy in item.entries()
        ]
        return [(copy.key, copy.copy, self.planned[copy.row]) for copy in in_order(entries, SEED)]

    def stored(self, split: str) -> list[Planned]:
        return [item for item in self.planned if item.split == split and item.copies]
