"""A dataset as a source: streamed, filtered by component, refused with what remains."""

from __future__ import annotations

import json

import pytest
import zstandard

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import CorruptData, SourceUnavailable, UsageError
from pipelines.catalog import component
from pipelines.sources import (
    HubSource,
)
from tests.pipelines.test_sources import ARXIV, GITHUB, NIH, row, rows_of, write_rows


@pytest.fixture
def hub_folder(tmp_path):
    """A dataset as `datasets` reads it from a disk: two files of one split, components mixed."""
    names = ["ArXiv", "Github", "NIH ExPORTER", "NIH ExPorter", "Books3"]
    rows = [row(f"text {number}\u2028", names[number % 5], number=number) for number in range(50)]
    write_rows(tmp_path / "hub" / "train-00.jsonl.zst", rows[:30])
    write_rows(tmp_path / "hub" / "train-01.jsonl.zst", rows[30:])
    return tmp_path / "hub", rows


def test_a_dataset_is_streamed_and_filtered_by_component(hub_folder, tmp_path):
    folder, rows = hub_folder
    paths = HubSource(name=str(folder)).fetch(ARXIV, tmp_path / "arxiv", SILENT)
    assert paths == [tmp_path / "arxiv" / "00.jsonl.zst"]
    assert rows_of(paths) == [known for known in rows if known["meta"]["pile_set_name"] == "ArXiv"]


def test_other_spellings_of_a_name_in_a_dataset_are_the_same_component(hub_folder, tmp_path):
    folder, rows = hub_folder
    written = rows_of(HubSource(name=str(folder)).fetch(NIH, tmp_path / "nih", SILENT))
    assert written == [known for known in rows if known["meta"]["pile_set_name"].upper() == "NIH EXPORTER"]
    assert len(written) == 20


def test_a_dataset_in_parquet_gives_the_same_documents(hub_folder, tmp_path):
    import pyarrow
    import pyarrow.parquet

    _, rows = hub_folder
    (tmp_path / "parquet").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "parquet" / "train.parquet")
    written = rows_of(HubSource(name=str(tmp_path / "parquet")).fetch(GITHUB, tmp_path / "github", SILENT))
    assert written == [known for known in rows if known["meta"]["pile_set_name"] == "Github"]


def test_a_dataset_without_the_component_leaves_no_file(hub_folder, tmp_path):
    folder, _ = hub_folder
    with pytest.raises(SourceUnavailable, match=r"none of the 50 rows of .* has meta.pile_set_name 'EuroParl'"):
        HubSource(name=str(folder)).fetch(component("europarl"), tmp_path / "europarl", SILENT)
    assert list((tmp_path / "europarl").iterdir()) == []


def test_a_dataset_without_names_of_components_is_refused_with_its_columns(tmp_path):
    write_rows(tmp_path / "hub" / "train.jsonl.zst", [{"text": "a", "source": "web"}])
    with pytest.raises(CorruptData, match=r"row 1 .* its columns are text \(str\), source \(str\)"):
        HubSource(name=str(tmp_path / "hub")).fetch(ARXIV, tmp_path / "arxiv", SILENT)


LINE = json.dumps(row("a" * 100)).encode() + b"\n"


@pytest.mark.parametrize(
    "damaged",
    [
        zstandard.compress(LINE + b'{"text": "b", "meta"\n'),
        zstandard.compress(LINE + LINE.replace(b"aa", b"a\xff")),
        zstandard.compress(LINE * 100)[:40],
        LINE,
    ],
    ids=["bad JSON", "bad UTF-8", "cut short", "no zstd"],
)
def test_a_damaged_dataset_is_corrupt_data_and_no_file(tmp_path, damaged):
    path = write_rows(tmp_path / "hub" / "train.jsonl.zst", [])
    path.write_bytes(damaged)
    with pytest.raises(CorruptData, match="holds a damaged file"):
        HubSource(name=str(tmp_path / "hub")).fetch(ARXIV, tmp_path / "arxiv", SILENT)
    assert not (tmp_path / "arxiv" / "00.jsonl.zst").exists()


def test_a_dataset_that_is_not_there_says_what_remains(tmp_path):
    with pytest.raises(SourceUnavailable, match="rebuildable"):
        HubSource(name=str(tmp_path / "none")).fetch(ARXIV, tmp_path / "arxiv", SILENT)


def test_a_split_that_is_not_there_is_a_usage_error(hub_folder, tmp_path):
    with pytest.raises(UsageError, match="Available splits"):
        HubSource(name=str(hub_folder[0]), split="nope").fetch(ARXIV, tmp_path / "arxiv", SILENT)
