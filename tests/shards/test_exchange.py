"""What goes out comes back: through every format, with copies written out, and with what is known of each document."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from shards.dataset import TokenDataset
from shards.exchange import FORMATS, export_shards, import_shards
from shards.format import data_path, index_path, write_index
from shards.provenance import provenance_path
from tests.shards.twin import twin_bytes, twin_read

END = 99
DOCUMENTS = [[5, 6, END], [END], [1, 2, 3, END], [9, END], [300, 7, 65_000, END]]
ENTRIES = [2, 0, 3, 2, 1, 4, 0]
READERS = {"neox": "megatron"}


def sequences(dataset):
    return [ids.tolist() for ids in dataset]


def joined(written):
    return [number for ids in written.sequences for number in ids]


def there_and_back(written, folder, name, **options):
    """The data set that comes back from a format."""
    out, back = folder / "out", folder / "back"
    export_shards(written.prefix, out, to=name)
    import_shards(out, back, format=name, **({"end_of_text": END} if name == "nanogpt" else {}), **options)
    return TokenDataset(back)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_back_the_sequences_in_their_order(write_documents, tmp_path, name):
    written = write_documents(DOCUMENTS, ENTRIES)
    dataset = there_and_back(written, tmp_path, name)
    assert sequences(dataset) == written.sequences
    assert dataset.dtype == np.uint16
    # Copies are written out: no two sequences share a byte.
    assert len(dataset.ids) == sum(map(len, written.sequences))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_known_of_each_document_goes_along(write_documents, tmp_path, name):
    written = write_documents(DOCUMENTS, ENTRIES)
    rows = there_and_back(written, tmp_path, name).provenance
    sources = [rows.source(row) for row in range(len(rows))]
    assert [source._asdict() for source in sources] == [
        {"component": row["slug"], "document": row["document"], "copy": row["copy"], "bytes": row["bytes"]}
        for row in written.rows
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_not_known_is_absent_and_said(write_documents, tmp_path, name):
    written = write_documents(DOCUMENTS, ENTRIES, provenance=False)
    result = export_shards(written.prefix, tmp_path / "out", to=name)
    assert any("do not say which documents" in said for said in result.said)
    options = {"end_of_text": END} if name == "nanogpt" else {}
    back = import_shards(tmp_path / "out", tmp_path / "back", format=name, **options)
    assert any("does not say which documents" in said for said in back.said)
    assert not back.pairs[0].provenance
    assert not provenance_path(tmp_path / "back").exists()


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_any_documents_come_back_through_any_format(write_documents, tmp_path_factory, data):
    name = data.draw(st.sampled_from([name for name in FORMATS if name != "huggingface"]))
    high = data.draw(st.sampled_from([98, 65_498, 65_499, 2**31 - 2] if name != "nanogpt" else [98]))
    smallest = 0 if name in ("megatron", "neox", "dolma", "litdata") else 1
    bodies = data.draw(
        st.lists(st.lists(st.integers(0, high).filter(lambda i: i != END), min_size=smallest, max_size=6), max_size=8)
    )
    documents = [[*body, END] for body in bodies] if smallest else bodies
    entries = data.draw(st.lists(st.integers(0, len(documents) - 1), max_size=12)) if documents else []
    written = write_documents(documents, entries, dtype="u2" if high <= 65_499 else "i4")
    dataset = there_and_back(written, tmp_path_factory.mktemp("any"), name)
    assert sequences(dataset) == written.sequences
    highest = max((max(ids, default=0) for ids in written.sequences), default=0)
    assert dataset.dtype == (np.uint16 if highest < 65_499 else np.int32)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "i8"])
def test_integers_of_any_type_become_two_bytes_where_they_fit(write_documents, tmp_path, dtype):
    documents = [[1, 2, 100], [], [3]]
    written = write_documents(documents, [2, 0, 1, 0], dtype=dtype)
    import_shards(written.prefix, tmp_path / "back", format="megatron")
    dataset = TokenDataset(tmp_path / "back")
    assert sequences(dataset) == written.sequences
    assert dataset.dtype == np.uint16
    # Copies stay shared: what was stored once still is.
    assert dataset.ids.tolist() == [1, 2, 100, 3]


@pytest.mark.parametrize(("high", "dtype"), [(65_498, np.uint16), (65_499, np.int32), (2**31 - 2, np.int32)])
def test_a_high_id_makes_all_ids_wide(write_documents, tmp_path, monkeypatch, high, dtype):
    monkeypatch.setattr("shards.exchange.megatron.READ_IDS", 4)
    monkeypatch.setattr("shards.exchange.idfile._COPY_IDS", 3)
    written = write_documents([list(range(11)), [4, high, 5]], dtype="i8")
    import_shards(written.prefix, tmp_path / "back", format="megatron")
    dataset = TokenDataset(tmp_path / "back")
    assert sequences(dataset) == written.sequences
    assert dataset.dtype == dtype


def test_a_vocabulary_decides_the_type_and_refuses_ids_past_it(write_documents, tmp_path):
    written = write_documents(DOCUMENTS)
    import_shards(written.prefix, tmp_path / "wide", format="megatron", vocab_size=100_000)
    assert TokenDataset(tmp_path / "wide").dtype == np.int32
    with pytest.raises(CorruptData, match=r"id 65000 as token 12, outside a vocabulary of 1,000"):
        import_shards(written.prefix, tmp_path / "small", format="megatron", vocab_size=1000)
    assert [path.name for path in tmp_path.iterdir() if "small" in path.name] == []


@pytest.mark.parametrize("ids", [[1, -1], [1, 2**31 - 1], [2**40]])
def test_ids_that_no_vocabulary_has_are_refused(write_documents, tmp_path, ids):
    written = write_documents([ids], dtype="i8")
    with pytest.raises(CorruptData, match="outside any vocabulary"):
        import_shards(written.prefix, tmp_path / "back", format="megatron")
    assert not list(tmp_path.iterdir())


def test_documents_of_several_sequences_stay_documents(write_documents, tmp_path):
    written = write_documents([[1, 2], [3], [4, 5, 6]], provenance=False)
    index = {"sizes": [2, 1, 3], "pointers": [0, 4, 6], "doc_idx": [0, 2, 3]}
    write_index(index_path(written.prefix), dtype="u2", **index)
    import_shards(written.prefix, tmp_path / "in", format="megatron")
    export_shards(tmp_path / "in", tmp_path / "out", to="neox")
    assert twin_read(index_path(tmp_path / "out").read_bytes()) == (8, *index.values())


def test_an_exported_pair_is_what_gpt_neox_would_have_written(write_documents, tmp_path):
    written = write_documents(DOCUMENTS, ENTRIES)
    result = export_shards(written.prefix, tmp_path / "out", to="neox")
    sizes = [len(ids) for ids in written.sequences]
    pointers = [2 * sum(sizes[:place]) for place in range(len(sizes))]
    expected = twin_bytes(8, sizes, pointers, range(len(sizes) + 1))
    assert index_path(tmp_path / "out").read_bytes() == expected
    assert data_path(tmp_path / "out").read_bytes() == np.array(joined(written), "<u2").tobytes()
    assert result.options == [
        '"train-data-paths": ["' + str(tmp_path / "out") + '"],',
        '"train-data-weights": [1.0],',
        '"data-impl": "mmap",',
    ]


def test_pointers_are_kept_on_demand_and_its_danger_said(write_documents, tmp_path):
    written = write_documents(DOCUMENTS, ENTRIES)
    result = export_shards(written.prefix, tmp_path / "out", to="megatron", keep_pointers=True)
    for path in (data_path, index_path):
        assert path(tmp_path / "out").read_bytes() == path(written.prefix).read_bytes()
    assert "slices" in result.said[0]
    with pytest.raises(UsageError, match="no pointers"):
        export_shards(written.prefix, tmp_path / "other", to="mds", keep_pointers=True)


def test_a_folder_of_splits_is_exported_with_the_options_of_all(write_documents, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    for number, split in enumerate(("train", "val", "test")):
        written = write_documents(DOCUMENTS[number:])
        for path in (data_path, index_path, provenance_path):
            path(shards / split).write_bytes(path(written.prefix).read_bytes())
    out = tmp_path / "out"
    result = export_shards(shards, out, to="neox")
    assert [option.split('"')[1] for option in result.options] == [
        *("train-data-paths", "train-data-weights", "valid-data-paths", "valid-data-weights"),
        *("test-data-paths", "test-data-weights", "data-impl"),
    ]
    assert json.loads("{" + " ".join(result.options).rstrip(",") + "}")["valid-data-paths"] == [str(out / "val")]
    for number, split in enumerate(("train", "val", "test")):
        assert sequences(TokenDataset(out / split)) == DOCUMENTS[number:]
    assert (
        "--valid-data-path " + str(tmp_path / "m" / "val")
        in export_shards(shards, tmp_path / "m", to="megatron").options
    )


def test_nanogpt_files_are_plain_ids_and_need_their_end_of_text(write_documents, tmp_path):
    written = write_documents(DOCUMENTS, ENTRIES)
    export_shards(written.prefix, tmp_path / "train.bin", to="nanogpt")
    assert np.fromfile(tmp_path / "train.bin", np.uint16).tolist() == joined(written)
    with pytest.raises(UsageError, match="which id is the end-of-text"):
        import_shards(tmp_path / "train.bin", tmp_path / "back", format="nanogpt")
    np.array([1, END, 2, 3], np.uint32).tofile(tmp_path / "wide.bin")
    import_shards(tmp_path / "wide.bin", tmp_path / "back", format="nanogpt", end_of_text=END, id_type="uint32")
    assert sequences(TokenDataset(tmp_path / "back")) == [[1, END], [2, 3]]
    with pytest.raises(UsageError, match="two bytes hold 0 to 65,535"):
        export_shards(write_documents([[70_000]], dtype="i4").prefix, tmp_path / "no.bin", to="nanogpt")
    assert not (tmp_path / "no.bin").exists()


def test_documents_longer_than_a_block_come_back_whole(write_documents, tmp_path, monkeypatch):
    monkeypatch.setattr("shards.exchange.blocks.blocks.__kwdefaults__", {"block_ids": 5})
    monkeypatch.setattr("shards.exchange.shapes.READ_IDS", 3)
    documents = [[*range(17), END], [1, END], [2, 3, END], [*range(40), END]]
    for name in FORMATS:
        folder = tmp_path / name
        folder.mkdir()
        written = write_documents(documents, [3, 0, 0, 2, 1])
        assert sequences(there_and_back(written, folder, name)) == written.sequences


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_written_over(write_documents, tmp_path, name):
    written = write_documents(DOCUMENTS)
    export_shards(written.prefix, tmp_path / "out", to=name)
    with pytest.raises(UsageError, match="is there already"):
        export_shards(written.prefix, tmp_path / "out", to=name)
    with pytest.raises(UsageError, match="is there already"):
        import_shards(written.prefix, written.prefix, format="megatron")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="belongs to a stage"):
        export_shards(written.prefix, tmp_path / "other", to=name)


@pytest.mark.parametrize("name", FORMATS)
def test_empty_shards_go_through(write_documents, tmp_path, name):
    dataset = there_and_back(write_documents([]), tmp_path, name)
    assert (len(dataset), dataset.total_tokens) == (0, 0)


@pytest.mark.parametrize("name", FORMATS)
def test_a_source_that_is_not_there_is_a_usage_error(tmp_path, name):
    with pytest.raises(UsageError, match="there is no"):
        import_shards(tmp_path / "none", tmp_path / "back", format=name, end_of_text=1)


@pytest.mark.parametrize("name", FORMATS)
def test_a_dry_run_looks_at_the_source_and_writes_nothing(write_documents, tmp_path, name):
    written = write_documents(DOCUMENTS)
    assert export_shards(written.prefix, tmp_path / "out", to=name, dry_run=True).would_write == [str(tmp_path / "out")]
    assert not list(tmp_path.iterdir())
    export_shards(written.prefix, tmp_path / "out", to=name)
    back = import_shards(tmp_path / "out", tmp_path / "back", format=name, end_of_text=END, dry_run=True)
    assert back.would_write == [str(tmp_path / "back.bin"), str(tmp_path / "back.idx")]
    assert not list(tmp_path.glob("back*"))
    with pytest.raises(UsageError, match="there is no"):
        export_shards(tmp_path / "none", tmp_path / "other", to=name, dry_run=True)
