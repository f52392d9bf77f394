"""What we write, the libraries of these formats read, and the other way round; skipped where they are not installed.

`python -m tests.shards.exchange_libraries` installs them and skips nothing.
"""

from __future__ import annotations

import gzip
import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
import tokenizers

from pile_toolkit.core.errors import UsageError
from shards.dataset import TokenDataset
from shards.exchange import export_shards, import_shards

END = 99
DOCUMENTS = [[5, 6, END], [END], [1, 2, 3, END], [9, END], [*range(700), END], [300, 7, 65_000, END]]
ENTRIES = [2, 0, 3, 2, 1, 4, 5, 0]


def library(name):
    """A library that is not among our requirements, and may be present in part only."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"the library {name} is not installed here: {error}")


def sequences(dataset):
    return [ids.tolist() for ids in dataset]


@pytest.mark.parametrize("files", ["one", "several"])
def test_datasets_reads_what_we_write_with_a_row_per_sequence(write_documents, tmp_path, monkeypatch, files):
    datasets = library("datasets")
    if files == "several":
        monkeypatch.setattr("shards.exchange.huggingface.FILE_BYTES", 1)
        monkeypatch.setattr("shards.exchange.blocks.blocks.__kwdefaults__", {"block_ids": 5})
    written = write_documents(DOCUMENTS, ENTRIES)
    export_shards(written.prefix, tmp_path / "out", to="huggingface")
    rows = datasets.load_from_disk(str(tmp_path / "out"))
    assert rows["input_ids"][:] == written.sequences
    assert rows["document"][:] == [row["document"] for row in written.rows]
    assert rows["bytes"][:] == [row["bytes"] for row in written.rows]
    assert len(list((tmp_path / "out").glob("*.arrow"))) == (1 if files == "one" else 6)
    assert rows.with_format("torch")[0]["input_ids"].tolist() == written.sequences[0]


def test_we_read_what_datasets_writes_shuffled_and_cut_too(tmp_path):
    datasets = library("datasets")
    rows = datasets.Dataset.from_dict({"input_ids": DOCUMENTS, "attention_mask": [[1] * len(ids) for ids in DOCUMENTS]})
    rows.shuffle(seed=1).select(range(1, 5)).save_to_disk(str(tmp_path / "rows"))
    import_shards(tmp_path / "rows", tmp_path / "back", format="huggingface")
    assert sequences(TokenDataset(tmp_path / "back")) == rows.shuffle(seed=1).select(range(1, 5))["input_ids"][:]


def test_a_folder_of_splits_is_a_dictionary_of_data_sets(write_documents, tmp_path):
    datasets = library("datasets")
    shards = tmp_path / "shards"
    shards.mkdir()
    written = write_documents(DOCUMENTS, provenance=False)
    for split in ("train", "val"):
        for ending in (".bin", ".idx"):
            (shards / f"{split}{ending}").write_bytes(written.prefix.with_name(f"train{ending}").read_bytes())
    export_shards(shards, tmp_path / "out", to="huggingface")
    splits = datasets.load_from_disk(str(tmp_path / "out"))
    assert splits["val"]["input_ids"][:] == DOCUMENTS
    with pytest.raises(UsageError, match="holds 2 data sets: train, val"):
        import_shards(tmp_path / "out", tmp_path / "back", format="huggingface")


def test_mds_files_are_byte_for_byte_those_of_the_library(write_documents, tmp_path):
    streaming = library("streaming")
    written = write_documents(DOCUMENTS, ENTRIES)
    export_shards(written.prefix, tmp_path / "ours", to="mds")
    columns = {"tokens": "ndarray:uint16", "component": "str", "document": "str", "copy": "int", "bytes": "int"}
    with streaming.MDSWriter(out=str(tmp_path / "theirs"), columns=columns) as writer:
        for ids, row in zip(written.sequences, written.rows, strict=True):
            sample = {"tokens": np.array(ids, np.uint16), "component": row["slug"], "document": row["document"]}
            writer.write({**sample, "copy": row["copy"], "bytes": row["bytes"]})
    names = sorted(path.name for path in (tmp_path / "theirs").iterdir())
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == names
    for name in names:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


@pytest.mark.parametrize("encoding", ["ndarray", "ndarray:uint32", "ndarray:int64", "bytes", "ndarray:int32:3"])
def test_mds_of_the_library_is_read_in_several_files_and_encodings(tmp_path, encoding):
    streaming = library("streaming")
    documents = [[1, 2, 3]] * 20 if encoding.endswith(":3") else [*DOCUMENTS, [70_000]]
    kind = encoding.split(":")[1] if ":" in encoding else "int64"
    options = {"out": str(tmp_path / "in"), "columns": {"tokens": encoding, "text": "str"}, "size_limit": 300}
    with streaming.MDSWriter(**options) as writer:
        for ids in documents:
            array = np.array(ids, kind)
            writer.write({"tokens": array.tobytes() if encoding == "bytes" else array, "text": "x" * len(ids)})
    assert len(list((tmp_path / "in").glob("*.mds"))) > 1
    import_shards(tmp_path / "in", tmp_path / "back", format="mds")
    assert sequences(TokenDataset(tmp_path / "back")) == documents


def test_litdata_reads_our_tokens_as_one_stream(write_documents, tmp_path, monkeypatch):
    litdata = library("litdata")
    monkeypatch.setattr("shards.exchange.litdata.CHUNK_BYTES", 600)
    written = write_documents(DOCUMENTS, ENTRIES)
    export_shards(written.prefix, tmp_path / "out", to="litdata")
    loader = litdata.TokensLoader(block_size=1)
    stream = litdata.StreamingDataset(str(tmp_path / "out"), item_loader=loader, shuffle=False)
    read = [int(stream[number][0]) for number in range(len(stream))]
    assert read == [token for ids in written.sequences for token in ids]
    assert len(json.loads((tmp_path / "out" / "index.json").read_text())["chunks"]) > 1


def test_we_read_what_litdata_writes(tmp_path):
    library("litdata")
    torch = library("torch")
    writer_of = library("litdata.streaming.writer").BinaryWriter
    loader = library("litdata.streaming.item_loader").TokensLoader()
    writer = writer_of(str(tmp_path / "in"), chunk_bytes=200, item_loader=loader)
    for number, ids in enumerate(DOCUMENTS):
        writer[number] = torch.tensor(ids, dtype=torch.int32)
    writer.done()
    writer.merge()
    import_shards(tmp_path / "in", tmp_path / "back", format="litdata")
    assert sequences(TokenDataset(tmp_path / "back")) == DOCUMENTS


def test_mds_of_ours_is_read_by_the_library(write_documents, tmp_path, monkeypatch):
    streaming = library("streaming")
    monkeypatch.setattr("shards.exchange.mds.CHUNK_BYTES", 600)
    written = write_documents(DOCUMENTS, ENTRIES)
    export_shards(written.prefix, tmp_path / "out", to="mds")
    samples = streaming.LocalDataset(str(tmp_path / "out"))
    assert [samples[number]["tokens"].tolist() for number in range(samples.num_samples)] == written.sequences
    assert [samples[number]["document"] for number in range(samples.num_samples)] == [
        row["document"] for row in written.rows
    ]
    assert len(list((tmp_path / "out").glob("*.mds"))) > 1


def as_tensor(ids):
    """What a user's function hands to litdata, one document at a time; in a process of its own."""
    import torch

    yield torch.tensor(ids, dtype=torch.int64)


def test_we_read_what_optimize_of_litdata_makes(tmp_path):
    litdata = library("litdata")
    options = {"num_workers": 1, "chunk_size": 40, "item_loader": litdata.TokensLoader()}
    litdata.optimize(fn=as_tensor, inputs=DOCUMENTS, output_dir=str(tmp_path / "in"), verbose=False, **options)
    import_shards(tmp_path / "in", tmp_path / "back", format="litdata")
    assert sequences(TokenDataset(tmp_path / "back")) == DOCUMENTS


@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
def test_we_read_what_dolma_writes(tmp_path, kind):
    writer_of = library("dolma.tokenizer.memmap_writer").MemmapWriter
    output_of = library("dolma.tokenizer.data_types").TokenizerOutput
    with writer_of(path=str(tmp_path / "part-0-00000"), dtype=np.dtype(kind), max_tokens=4096) as writer:
        for number, ids in enumerate(DOCUMENTS):
            assert writer.write(output_of.from_tokens(str(number), "/data/one.jsonl.gz", number + 1, ids))
    import_shards(tmp_path / "part-0-00000.npy", tmp_path / "back", format="dolma")
    assert sequences(TokenDataset(tmp_path / "back")) == DOCUMENTS


def test_we_read_what_the_tokens_command_of_dolma_makes(tmp_path):
    library("dolma.tokenizer")
    # Of fewer than 256 it would write bytes.
    names = ["<end>", "<pad>", "one", "two", "three", *(f"word{number}" for number in range(300))]
    words = {word: number for number, word in enumerate(names)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    texts = ["one two", "three", "two two one three"]
    with gzip.open(tmp_path / "texts.jsonl.gz", "wt") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"id": str(number), "text": text, "source": "s"}) + "\n")
    command = ["tokens", "--documents", tmp_path / "texts.jsonl.gz", "--destination", tmp_path / "out"]
    command += ["--tokenizer.name_or_path", tmp_path / "tokenizer.json", "--tokenizer.eos_token_id", 0]
    command += ["--tokenizer.pad_token_id", 1, "--processes", 1, "--seed", 3, "--max_size", 1_000_000]
    code = "import sys; from dolma.cli.__main__ import main; main(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (tmp_path / "out").rglob("*.npy")
    import_shards(made, tmp_path / "back", format="dolma")
    expected = [[*(words[word] for word in text.split()), 0] for text in texts]
    assert sorted(sequences(TokenDataset(tmp_path / "back"))) == sorted(expected)


@pytest.mark.parametrize("provenance", [True, False])
def test_dolma_merges_what_we_write(write_documents, tmp_path, provenance):
    reshard = library("dolma.tokenizer.reshard")
    written = write_documents(DOCUMENTS, ENTRIES, provenance=provenance)
    paths = []
    for name in ("a", "b"):
        export_shards(written.prefix, tmp_path / name, to="dolma")
        paths.append(reshard.TokensMetadataPaths(str(tmp_path / f"{name}.npy"), str(tmp_path / f"{name}.csv.gz")))
    reshard.merge_group(paths, tmp_path / "merged.npy", np.dtype(np.uint16))
    import_shards(tmp_path / "merged", tmp_path / "back", format="dolma")
    assert sequences(TokenDataset(tmp_path / "back")) == written.sequences * 2
