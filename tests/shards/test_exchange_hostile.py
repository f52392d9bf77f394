"""Files from outside that are not what they claim: one sentence each, nothing left behind, nothing unpickled."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest

from pile_toolkit.core.errors import CorruptData, PileError, UsageError
from shards.exchange import export_shards, import_shards
from shards.exchange.manifest import export_manifest_path
from shards.exchange.origins import origins_path
from tests.shards.twin import twin_bytes

DOCUMENTS = [[5, 6, 99], [99], [1, 2, 3, 99]]


def export_plainly(prefix, output, *, to):
    """An export as another program would have left it: nothing beside it says what its bytes are."""
    export_shards(prefix, output, to=to)
    export_manifest_path(output).unlink()


def refused(source, folder, name, kind=CorruptData, **options):
    """What is said of a source; no file of the output may be left."""
    with pytest.raises(kind) as error:
        import_shards(source, folder / "back" / "train", format=name, **options)
    assert not list((folder / "back").glob("*"))
    return str(error.value)


@pytest.mark.parametrize(
    ("index", "says"),
    [
        (twin_bytes(6, [3], [0], [0, 1]), "dtype code 6"),
        (twin_bytes(7, [3], [0], [0, 1]), "dtype code 7"),
        (twin_bytes(9, [3], [0], [0, 1]), "dtype code 9"),
        (twin_bytes(8, [3], [0], [0, 1], sequences=2**60), "need"),
        (twin_bytes(8, [3], [0], [0, 1], documents=2**63), "need"),
        (twin_bytes(8, [3], [-2], [0, 1]), "starts at byte -2"),
        (twin_bytes(8, [3], [1], [0, 1]), "starts at byte 1"),
        (twin_bytes(8, [9], [0], [0, 1]), "9 ids of 2 bytes are not inside its 6"),
        (twin_bytes(8, [-1], [0], [0, 1]), "has -1 ids"),
        (twin_bytes(8, [3], [0], [0, 7]), "starts at sequence 7"),
        (twin_bytes(8, [3], [0], [0, 1], version=2), "version 2"),
        (b"\x93NUMPY", "does not start with"),
        (b"", "does not start with"),
    ],
)
def test_indices_that_lead_outside_are_refused(tmp_path, index, says):
    (tmp_path / "in.bin").write_bytes(bytes(6))
    (tmp_path / "in.idx").write_bytes(index)
    for name in ("megatron", "neox"):
        assert says in refused(tmp_path / "in", tmp_path, name)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"123", "no multiple of the 2"),
        (b"\x93NUMPY\x01\x00", "begins with a header"),
        (b"MMIDIDX\0\0\0", "begins with a header"),
        (struct.pack("<3i", 20240520, 1, 4), "begins with a header"),
    ],
)
def test_ids_with_a_header_are_not_taken_for_ids(tmp_path, content, says):
    (tmp_path / "in.bin").write_bytes(content)
    assert says in refused(tmp_path / "in.bin", tmp_path, "nanogpt", end_of_text=1)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (gzip.compress(b"0,2,a,b,1\n2,9,a,b,2\n", mtime=0), "has ids up to 9"),
        (gzip.compress(b"2,1,a,b,1\n", mtime=0), "line 1 has ids 2 to 1"),
        (gzip.compress(b"-1,1,a,b,1\n", mtime=0), "line 1 has ids -1 to 1"),
        (gzip.compress(b"0,99999999999999999999999999,a\n", mtime=0), "line 1 has ids 0 to"),
        (gzip.compress(b"0,1,a\nx,y\n", mtime=0), "no table of documents after line 2"),
        (gzip.compress(b"0\n", mtime=0), "no table of documents"),
        (gzip.compress(b'"' + b"x" * 200_000, mtime=0), "no table of documents"),
        (gzip.compress(b"0,1,a\n" * 500, mtime=0)[:-9], "no table of documents"),
        (b"no gzip", "no table of documents"),
    ],
)
def test_tables_of_documents_that_do_not_fit_are_refused(tmp_path, table, says):
    np.arange(3, dtype="<u2").tofile(tmp_path / "in.npy")
    (tmp_path / "in.csv.gz").write_bytes(table)
    assert says in refused(tmp_path / "in", tmp_path, "dolma")


def test_a_real_npy_file_is_not_dolmas(tmp_path):
    np.save(tmp_path / "in.npy", np.arange(3, dtype="<u2"))
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(b"0,3,a,b,1\n", mtime=0))
    assert "numpy's header" in refused(tmp_path / "in", tmp_path, "dolma")


@pytest.mark.parametrize("name", ["mds", "litdata"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[:-1], "out of order"),
        (lambda data: data[:3], "items, its index says 3"),
        (lambda data: b"", "cannot be read"),
        (lambda data: struct.pack("<I", 2**32 - 1) + data[4:], "items, its index says 3"),
        (lambda data: data[:4] + struct.pack("<I", 2**32 - 1) + data[8:], "out of order"),
        (lambda data: data[:4] + struct.pack("<I", 0) + data[8:], "out of order"),
        (lambda data: data[:8] + struct.pack("<I", 2) + data[12:], "out of order"),
        (lambda data: data[:16] + struct.pack("<I", 2**31) + data[20:], "out of order"),
    ],
)
def test_chunks_whose_offsets_lead_outside_are_refused(write_documents, tmp_path, name, damage, says):
    export_plainly(write_documents(DOCUMENTS, provenance=False).prefix, tmp_path / "in", to=name)
    (chunk,) = (path for path in (tmp_path / "in").iterdir() if path.name != "index.json")
    chunk.write_bytes(damage(chunk.read_bytes()))
    assert says in refused(tmp_path / "in", tmp_path, name)


@pytest.mark.parametrize("name", ["mds", "litdata"])
def test_any_flipped_byte_is_read_or_refused_and_never_a_crash(write_documents, tmp_path, name):
    export_plainly(write_documents(DOCUMENTS).prefix, tmp_path / "in", to=name)
    (chunk,) = (path for path in (tmp_path / "in").iterdir() if path.name != "index.json")
    for path in (chunk, tmp_path / "in" / "index.json"):
        whole = path.read_bytes()
        # Each byte of what leads elsewhere, some of all that follows.
        for place in [*range(min(len(whole), 24)), *range(24, len(whole), 5)]:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x81]) + whole[place + 1 :])
            out = tmp_path / f"back-{path.name}-{place}"
            try:
                import_shards(tmp_path / "in", out / "train", format=name)
            except PileError:
                assert not out.exists() or not list(out.iterdir())
        path.write_bytes(whole)


def change_index(path, **changes):
    index = json.loads(path.read_text())
    (index.get("shards") or index["chunks"])[0].update(changes)
    path.write_text(json.dumps(index))


@pytest.mark.parametrize("leads", ["../in2/shard.00000.mds", "/etc/passwd", "a\\b", ""])
def test_files_outside_the_folder_are_not_opened(write_documents, tmp_path, leads):
    written = write_documents(DOCUMENTS)
    export_plainly(written.prefix, tmp_path / "in", to="mds")
    export_plainly(written.prefix, tmp_path / "in2", to="mds")
    change_index(tmp_path / "in" / "index.json", raw_data={"basename": leads, "bytes": 1, "hashes": {}})
    assert "names the file" in refused(tmp_path / "in", tmp_path, "mds")
    export_plainly(written.prefix, tmp_path / "lit", to="litdata")
    change_index(tmp_path / "lit" / "index.json", filename=leads)
    assert "names the file" in refused(tmp_path / "lit", tmp_path, "litdata")


def test_what_would_be_unpickled_or_unpacked_is_refused(write_documents, tmp_path):
    export_plainly(write_documents(DOCUMENTS, provenance=False).prefix, tmp_path / "in", to="mds")
    index = tmp_path / "in" / "index.json"
    change_index(index, column_encodings=["pkl"])
    assert "ids are read as ndarray or bytes" in refused(tmp_path / "in", tmp_path, "mds", UsageError)
    change_index(index, column_encodings=["ndarray:uint16"], compression="zstd")
    assert "only plain MDS" in refused(tmp_path / "in", tmp_path, "mds", UsageError)
    change_index(index, compression=None, column_sizes=[-5])
    assert "is damaged" in refused(tmp_path / "in", tmp_path, "mds")
    change_index(index, column_sizes=[])
    assert "without an encoding or a size" in refused(tmp_path / "in", tmp_path, "mds")
    index.write_text('{"shards": [')
    assert "is not an index of MDS" in refused(tmp_path / "in", tmp_path, "mds")


@pytest.mark.parametrize(
    "data_format", [["pickle"], ["no_header_tensor:0"], ["no_header_tensor:x"], ["str", "int"], []]
)
def test_items_of_litdata_that_are_no_ids_are_refused(write_documents, tmp_path, data_format):
    export_plainly(write_documents(DOCUMENTS).prefix, tmp_path / "in", to="litdata")
    path = tmp_path / "in" / "index.json"
    index = json.loads(path.read_text())
    index["config"]["data_format"] = data_format
    path.write_text(json.dumps(index))
    assert "ids are one array of integers" in refused(tmp_path / "in", tmp_path, "litdata", UsageError)


def test_a_folder_that_is_no_data_set_is_refused(write_documents, tmp_path):
    export_plainly(write_documents(DOCUMENTS).prefix, tmp_path / "in", to="huggingface")
    (arrow,) = (tmp_path / "in").glob("*.arrow")
    whole = arrow.read_bytes()
    for content in (b"", b"nothing of the kind", whole[: len(whole) // 2]):
        arrow.write_bytes(content)
        refused(tmp_path / "in", tmp_path, "huggingface")
    (tmp_path / "empty").mkdir()
    assert "no data set" in refused(tmp_path / "empty", tmp_path, "huggingface")


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("document", "no place", "is no document id"),
        ("document", "github/a:1", "is no document id"),
        ("document", "arxiv/a:١", "is no document id"),
        ("copy", 70_000, "column copy does not hold"),
        ("bytes", -1, "column bytes does not hold"),
    ],
)
def test_columns_that_are_no_provenance_of_ours_are_named(tmp_path, column, value, says):
    datasets = pytest.importorskip("datasets")
    row = {"component": "arxiv", "document": "arxiv/a.jsonl:1", "copy": 0, "bytes": 3} | {column: value}
    rows = datasets.Dataset.from_list([{"input_ids": [1, 2]} | row])
    rows.save_to_disk(str(tmp_path / "in"))
    assert says in refused(tmp_path / "in", tmp_path, "huggingface")


def test_a_table_beside_that_does_not_fit_is_refused(write_documents, tmp_path):
    export_plainly(write_documents(DOCUMENTS).prefix, tmp_path / "in", to="neox")
    export_plainly(write_documents(DOCUMENTS[:1]).prefix, tmp_path / "other", to="neox")
    origins_path(tmp_path / "other").replace(origins_path(tmp_path / "in"))
    assert "has 3 sequences and describes 1" in refused(tmp_path / "in", tmp_path, "neox")
    origins_path(tmp_path / "in").write_bytes(b"PAR1 nothing of the kind")
    assert "is no table of documents" in refused(tmp_path / "in", tmp_path, "neox")
