"""`docs/formats.md` computed again in plain Python, from that page alone: all tables, files and orders of a root."""

from __future__ import annotations

import json
import random
import struct
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
import xxhash
import zstandard

from pile_toolkit.core.manifest import read_manifest
from pipelines.build import build
from pipelines.dedup import dedup
from pipelines.download import download
from pipelines.minhash import shingle_hashes
from shards.stage import write_shards_of_plan
from tests.pipelines.formats_page import (
    NAMES,
    SEED,
    SHARDS,
    SPLITS,
    TEST,
    THRESHOLD,
    VAL,
    WEIGHTS,
    Expected,
    clusters,
    plan,
    read_source,
    shingles,
)
from tokenizer.encoder import Encoder
from tokenizer.stage import train_on_plan

if TYPE_CHECKING:
    from pathlib import Path


# The input


def compressed_lines(lines: list[bytes]) -> bytes:
    """Two frames with a skippable one between them, CRLF here and there, no newline at the end."""
    data = b"".join(line + (b"\r\n" if number % 3 else b"\n") for number, line in enumerate(lines)).rstrip(b"\r\n")
    half = len(data) // 2
    return compress(data[:half]) + b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + compress(data[half:])


def compress(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def document_line(text: str, meta: dict | None) -> bytes:
    return json.dumps({"text": text} if meta is None else {"text": text, "meta": meta}, ensure_ascii=False).encode()


def make_texts(rng: random.Random) -> list[str]:
    words = [rng.choice("bcdfgk") + rng.choice("aeiouäé") + str(number) for number in range(300)]
    texts = ["", " ", "\n\t\u3000", "one", "ONE", "caf\u00e9 Stra\u00dfe", "cafe\u0301 STRASSE", "a\x1fb", "A b"]
    texts += ["x " * 4 + "x", "line\r\nline\u2028end", "quote <|endoftext|> inside", "  " * 30 + "indented"]
    while len(texts) < 150:
        near = rng.choice(texts).split() or ["none"]
        near[rng.randrange(len(near))] = rng.choice(words)
        fresh = " ".join(rng.choices(words, k=rng.choice((3, 4, 5, 6, 40, 90))))
        texts.append(rng.choice((fresh, fresh, rng.choice(texts), rng.choice(texts).upper(), " ".join(near))))
    rng.shuffle(texts)
    return texts


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Every kind of document and line, with the same texts in several components."""
    folder, rng = tmp_path_factory.mktemp("formats") / "source", random.Random(7)
    texts = make_texts(rng)
    no_documents = [
        b"",
        b"  ",
        b"no",
        b"[1]",
        b'{"text": 1}',
        b'{"text": "\xff"}',
        b'{"meta": {}}',
        b'{"text":"","meta":1}',
    ]
    parts = {"pile-cc": texts[:50], "arxiv/b": texts[40:75], "arxiv/B": texts[70:110], "github": texts[100:115]}
    parts |= {"freelaw": [], "enron-emails": texts[105:]}
    for name, part in parts.items():
        metas = (None, {}, {"pile_set_name": NAMES[name.split("/")[0]], "n": 1}, {"n": 2.50, "s": "\u2028"})
        lines = [document_line(text, metas[number % 4]) for number, text in enumerate(part)]
        for wrong in no_documents:
            lines.insert(rng.randrange(len(lines) + 1), wrong)
        # Something must stand last, or the last newline would count for a blank line or not.
        path = folder / f"{name}.jsonl.zst"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(compressed_lines([*lines, b"the last"]))
    return folder


@pytest.fixture(scope="module", params=["none", "exact", "minhash"])
def root(request, source, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("formats") / request.param
    download(root, components=list(NAMES), source=str(source), max_rejects=99)
    dedup(root, method=request.param, threshold=THRESHOLD)
    build(root, seed=SEED, weights=WEIGHTS, val_share=VAL, test_share=TEST, train_shards=SHARDS)
    train_on_plan(root, vocab_size=320)
    write_shards_of_plan(root, Encoder.load(root / "tokenizer" / "tokenizer.json"))
    return root


@pytest.fixture(scope="module")
def expected(source, root) -> Expected:
    rows, files = read_source(source)
    kept_row = clusters(rows, method=root.name)
    return Expected(rows, files, kept_row, plan(rows, kept_row))


# What is there


def header_of(path: Path) -> object:
    return json.loads(pq.read_schema(path).metadata[b"pile_toolkit.header"])


def test_the_corpus_has_something_of_everything(expected, root):
    copies = {list(NAMES)[item.row.component]: set() for item in expected.planned}
    for item in expected.planned:
        copies[list(NAMES)[item.row.component]].add((item.split == "train", item.copies))
    assert copies["arxiv"] == {(True, 2), (True, 3), (False, 1)}
    assert copies["enron-emails"] >= {(True, 0), (True, 1)}
    assert all(amount == 0 for _, amount in copies.get("github", ()))
    assert "freelaw" not in copies
    assert {item.split for item in expected.planned} == set(SPLITS)
    assert (max(item.ordinal for item in expected.planned) > 0) == (root.name == "none")
    assert (len(expected.planned) < len(expected.rows)) == (root.name != "none")
    assert "" in {row.text for row in expected.rows}


def test_the_keep_list_is_the_pages(root, expected):
    path = root / "dedup" / "documents.parquet"
    assert header_of(path) == [
        {"slug": slug, "files": files} for slug, files in zip(NAMES, expected.files, strict=True)
    ]
    found = pq.read_table(path).to_pylist()
    first_of: dict[bytes, list[int]] = defaultdict(list)
    for number, row in enumerate(expected.rows):
        first_of[row.hash].append(number)
    for number, (row, item) in enumerate(zip(found, expected.rows, strict=True)):
        assert (row["component"], row["file"], row["line"]) == item.place
        assert row["bytes"] == len(item.text.encode())
        assert row["text_hash"] == item.hash
        assert row["normalized_hash"] == xxhash.xxh3_128_digest(item.normalized.encode())
        assert row["cluster"] == expected.kept_row[number]
        assert (row["kept"], row["similarity"]) == (row["reason"] == 0, None)
        if expected.kept_row[number] == number:
            assert row["reason"] == 0
        elif expected.rows[expected.kept_row[number]].hash == item.hash:
            assert row["reason"] == 1
        else:
            # One of equal texts that went for a third is the near duplicate, the others are its exact ones.
            twins = [found[twin]["reason"] for twin in first_of[item.hash]]
            assert sorted(twins) == [1] * (len(twins) - 1) + [2]


def test_the_table_of_clusters_is_the_pages(root, expected):
    path = root / "dedup" / "clusters.parquet"
    assert header_of(path) == header_of(root / "dedup" / "documents.parquet")
    members: dict[int, list[int]] = defaultdict(list)
    for number, top in enumerate(expected.kept_row):
        members[top].append(len(expected.rows[number].text.encode()))
    assert [tuple(row.values()) for row in pq.read_table(path).to_pylist()] == [
        (top, len(sizes), sum(sizes), 1, None) for top, sizes in sorted(members.items()) if len(sizes) > 1
    ]


def test_fingerprints_are_the_pages(root, expected):
    for file in read_manifest(root / "components" / "arxiv").outputs:
        if not file.path.endswith(".jsonl.zst"):
            continue
        data = (root / "components" / "arxiv" / file.path).read_bytes()
        name = file.path.rpartition("/")[2]
        (folder,) = (root / "dedup" / "fingerprints").glob(f"arxiv-{name}-{xxhash.xxh3_128_hexdigest(data)}-*")
        number = expected.files[list(NAMES).index("arxiv")].index(name)
        rows = [row for row in expected.rows if row.place[:2] == (list(NAMES).index("arxiv"), number)]
        assert (folder / "rows").read_bytes() == b"".join(
            struct.pack("<QQ", row.line, len(row.text.encode()))
            + row.hash
            + xxhash.xxh3_128_digest(row.normalized.encode())
            for row in rows
        )
        result = json.loads((folder / "result.json").read_bytes())
        assert result["documents"] == len(rows)
        hashes = {file: xxhash.xxh3_128_hexdigest((folder / file).read_bytes()) for file in result["hashes"]}
        assert result["hashes"] == hashes
        if root.name != "none":
            written = (folder / "exact.bands").read_bytes()
            assert struct.unpack("<8sIIQQ", written[:32]) == (b"PILEBAND", 1, 2, len(rows), 2 * len(rows))
            assert written[32:48].decode() == folder.name[-16:]
            halves = [row.hash[:8] for row in rows] + [row.hash[8:] for row in rows]
            assert written[64:] == b"".join(halves)


def test_shingle_hashes_are_the_pages(source):
    rows, _ = read_source(source)
    for row in rows:
        assert set(shingle_hashes(row.text).tolist()) == shingles(row.normalized)


def test_the_plan_is_the_pages(root, expected):
    path = root / "plan" / "plan.parquet"
    header = header_of(path)
    assert header["seed"] == SEED
    assert [(item["slug"], item["files"]) for item in header["components"]] == list(
        zip(NAMES, expected.files, strict=True)
    )
    for row, item in zip(pq.read_table(path).to_pylist(), expected.planned, strict=True):
        assert (row["component"], row["file"], row["line"]) == item.row.place
        assert (row["piece_start"], row["piece_end"]) == (None, None)
        assert (SPLITS[row["split"]], row["copies"], row["ordinal"]) == (item.split, item.copies, item.ordinal)
        assert (row["bytes"], row["text_hash"]) == (len(item.row.text.encode()), item.row.hash)


def test_the_corpus_files_are_the_pages(root, expected):
    train = expected.corpus("train")
    files = {
        f"train/{shard:02d}": [entry for entry in train if entry[0] * SHARDS >> 64 == shard] for shard in range(SHARDS)
    }
    files |= {split: expected.corpus(split) for split in ("val", "test")}
    for name, entries in files.items():
        frame = (root / "corpus" / f"{name}.jsonl.zst").read_bytes()
        inflate = zstandard.ZstdDecompressor().decompressobj()
        lines = inflate.decompress(frame).decode().split("\n")
        assert (inflate.eof, inflate.unused_data, lines.pop()) == (True, b"", "")
        assert zstandard.get_frame_parameters(frame).has_checksum
        assert [json.loads(line) for line in lines] == [
            {
                "text": item.row.text,
                "meta": {"pile_set_name": list(NAMES.values())[item.row.component], **item.row.meta},
            }
            for _, _, item in entries
        ]


def test_the_shards_are_the_pages(root, expected):
    library = tokenizers.Tokenizer.from_file(str(root / "tokenizer" / "tokenizer.json"))
    library.encode_special_tokens = True
    for split in SPLITS:
        stored = expected.stored(split)
        ids = [[*library.encode(item.row.text).ids, library.token_to_id("<|endoftext|>")] for item in stored]
        starts = dict(zip([item.row.place for item in stored], np.cumsum([0, *map(len, ids)]).tolist(), strict=False))
        size_of = {item.row.place: len(document) for item, document in zip(stored, ids, strict=True)}
        written = np.fromfile(root / "shards" / f"{split}.bin", "<u2").tolist()
        assert written == [token for document in ids for token in document]
        order = [item.row.place for _, _, item in expected.corpus(split)]
        index = (root / "shards" / f"{split}.idx").read_bytes()
        count = len(order)
        assert index == b"".join(
            (
                struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, 8, count, count + 1),
                struct.pack(f"<{count}i", *(size_of[place] for place in order)),
                struct.pack(f"<{count}q", *(2 * starts[place] for place in order)),
                struct.pack(f"<{count + 1}q", *range(count + 1)),
            )
        )


def test_the_rows_of_sequences_are_the_pages(root, expected):
    for split in SPLITS:
        with pa.ipc.open_file(root / "shards" / f"{split}.docs.arrow") as reader:
            table = reader.read_all()
        assert json.loads(table.schema.metadata[b"components"]) == list(NAMES)
        assert json.loads(table.schema.metadata[b"files"]) == dict(zip(NAMES, expected.files, strict=True))
        assert [str(field.type) for field in table.schema] == ["uint8", "uint32", "uint64", "uint16", "uint64"]
        assert [tuple(row.values()) for row in table.to_pylist()] == [
            (*item.row.place, copy, len(item.row.text.encode())) for _, copy, item in expected.corpus(split)
        ]


def test_manifests_name_outputs_by_the_hash_of_their_bytes(root):
    for folder in ("components/arxiv", "dedup", "plan", "corpus", "tokenizer", "shards"):
        manifest = read_manifest(root / folder)
        assert manifest.outputs
        for output in manifest.outputs:
            data = (root / folder / output.path).read_bytes()
            assert (output.bytes, output.hash) == (len(data), xxhash.xxh3_128_hexdigest(data))
