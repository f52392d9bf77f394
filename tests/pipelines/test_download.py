"""Folders of documents become components where they lie: counted to the line, nothing dropped in silence."""

from __future__ import annotations

import io
import json
import os

import msgspec
import pytest
import zstandard

from pile_toolkit.core.components import read_component
from pile_toolkit.core.errors import CorruptData, SourceUnavailable, UsageError
from pile_toolkit.core.files import hash_file
from pile_toolkit.core.manifest import MANIFEST, read_manifest
from pile_toolkit.core.tasks import WORK_PREFIX
from pipelines.catalog import components
from pipelines.download import REJECTS, DownloadConfig, download, pile_set_name, present_slugs

LINES = {
    1: b'{"text": "one", "meta": {"pile_set_name": "ArXiv"}}',
    2: b"",
    3: b"no JSON",
    4: b'{"text": "f\xc3\xbcnf"}',
    5: b'{"meta": {}}',
    6: b'{"text": null}',
    7: b'{"text": "bad \xff"}',
    8: b'{"text": "list", "meta": []}',
    9: b'{"text": "", "meta": {}, "more": 1}',
    10: b'{"text": "cut',
}
REJECTED = [2, 3, 5, 6, 7, 8, 10]


def write_lines(path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstandard.compress(b"\n".join(lines)))


def counted(path) -> tuple[int, int]:
    """(documents, UTF-8 bytes of their texts) of a good file, by zstandard's own stream and the standard library."""
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        texts = [json.loads(line)["text"] for line in io.TextIOWrapper(stream, encoding="utf-8", newline="\n")]
    return len(texts), sum(len(text.encode()) for text in texts)


@pytest.fixture
def source(tmp_path, write_source):
    """A folder with two components, one of them in two files."""
    parts = {"b.jsonl.zst": ["b1", "b2"], "a.jsonl.zst": ["ä"], "notes.txt": ["not a component's file"]}
    return write_source(tmp_path / "source", {"arxiv": ["one", "two", "three"], "github": parts})


def take(root, source, slugs=("arxiv", "github"), **options):
    return download(root, components=list(slugs), source=str(source), **options)


def test_the_files_of_a_folder_are_pointed_at_and_not_copied(source, tmp_path):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.rglob("*.*")}
    take(tmp_path / "root", source)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.rglob("*.*")} == before
    assert not list((tmp_path / "root").rglob("*.zst"))
    assert {path.name for path in (tmp_path / "root").rglob("*") if path.is_file()} == {MANIFEST, "timings.json"}
    manifest = read_manifest(tmp_path / "root" / "components" / "github")
    for output, name in zip(manifest.outputs, ["a.jsonl.zst", "b.jsonl.zst"], strict=True):
        path = source / "github" / name
        assert (output.path, output.bytes, output.hash) == (str(path), path.stat().st_size, hash_file(path))


def test_documents_and_bytes_are_those_of_a_plain_count(source, tmp_path):
    result = take(tmp_path / "root", source)
    arxiv, github = result.components
    assert (arxiv.slug, github.slug) == ("arxiv", "github")
    assert (arxiv.files, arxiv.documents, arxiv.text_bytes) == (1, *counted(source / "arxiv.jsonl.zst"))
    parts = [counted(source / "github" / name) for name in ("a.jsonl.zst", "b.jsonl.zst")]
    assert (github.files, github.documents, github.text_bytes) == (2, *map(sum, zip(*parts, strict=True)))
    assert result.documents == arxiv.documents + github.documents == 6
    assert result.text_bytes == arxiv.text_bytes + github.text_bytes
    assert (result.rejects, result.up_to_date) == (0, False)
    per_file = [(file.counts.name, file.counts.documents) for file in read_component(tmp_path / "root", "github").files]
    assert per_file == [("a.jsonl.zst", 1), ("b.jsonl.zst", 2)]


@pytest.mark.real_data
def test_every_component_of_the_real_documents_is_counted_right(minipile, tmp_path):
    result = download(tmp_path, source=str(minipile), jobs=2)
    assert [row.slug for row in result.components] == [component.slug for component in components()]
    for row in result.components:
        assert (row.documents, row.text_bytes) == counted(minipile / f"{row.slug}.jsonl.zst")
    # The figures of the folder's own README.
    assert (result.documents, result.text_bytes) == (8_161, 75_241_947)


def test_several_frames_and_no_last_newline_are_all_read(tmp_path):
    lines = [b'{"text": "%d"}' % number for number in range(10)]
    frames = [zstandard.compress(b"\n".join(lines[start : start + 3])) for start in range(0, 10, 3)]
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "arxiv.jsonl.zst").write_bytes(zstandard.compress(b"\n").join(frames))
    assert take(tmp_path / "root", tmp_path / "source", ["arxiv"]).documents == 10


def test_lines_that_are_no_documents_are_listed_with_file_line_and_reason(tmp_path):
    write_lines(tmp_path / "source" / "arxiv" / "good.jsonl.zst", [LINES[1]])
    write_lines(tmp_path / "source" / "arxiv" / "mixed.jsonl.zst", LINES.values())
    with pytest.raises(CorruptData, match="7 lines are no documents and at most 6 may be") as error:
        take(tmp_path / "root", tmp_path / "source", ["arxiv"], max_rejects=6)
    folder = tmp_path / "root" / "components" / "arxiv"
    rows = [json.loads(line) for line in (folder / REJECTS).read_text().splitlines()]
    assert [(row["file"], row["line"]) for row in rows] == [("mixed.jsonl.zst", line) for line in REJECTED]
    assert all(row["reason"] for row in rows)
    assert len({row["reason"] for row in rows}) > 4
    assert error.value.exit_code == 4
    assert str(folder / REJECTS) in error.value.message
    first = rows[0]
    assert f"line {first['line']} of mixed.jsonl.zst ({first['reason']})" in error.value.message
    assert "--max-rejects 7" in error.value.hint
    assert not (folder / MANIFEST).exists()


def test_rejects_that_are_allowed_are_counted_and_the_rest_is_taken(tmp_path):
    write_lines(tmp_path / "source" / "arxiv.jsonl.zst", LINES.values())
    result = take(tmp_path / "root", tmp_path / "source", ["arxiv"], max_rejects=7)
    assert (result.documents, result.text_bytes, result.rejects) == (3, len("one") + len("fünf".encode()), 7)
    assert result.components[0].rejects == 7
    # Known to be there, but nobody allows them any more.
    with pytest.raises(CorruptData, match="at most 0 may be"):
        take(tmp_path / "root", tmp_path / "source", ["arxiv"])
    assert take(tmp_path / "root", tmp_path / "source", ["arxiv"], max_rejects=8).up_to_date


def test_a_file_that_was_mended_after_its_rejects_is_read_again(tmp_path):
    path = tmp_path / "source" / "arxiv.jsonl.zst"
    write_lines(path, LINES.values())
    with pytest.raises(CorruptData):
        take(tmp_path / "root", tmp_path / "source", ["arxiv"])
    write_lines(path, [LINES[1], LINES[4], LINES[9]])
    result = take(tmp_path / "root", tmp_path / "source", ["arxiv"])
    assert (result.documents, result.rejects) == (3, 0)
    assert not (tmp_path / "root" / "components" / "arxiv" / REJECTS).exists()
    assert not list((tmp_path / "root" / "components" / "arxiv").glob(f"{WORK_PREFIX}*"))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "no zstd"])
def test_a_damaged_file_is_corrupt_data_that_names_it(tmp_path, write_source, damage):
    write_source(tmp_path / "source", {"arxiv": [f"text {number}" for number in range(500)]})
    path = tmp_path / "source" / "arxiv.jsonl.zst"
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {
            "truncated": data[:-5],
            "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            "empty": b"",
            "no zstd": b'{"text": "plain"}\n',
        }[damage]
    )
    with pytest.raises(CorruptData, match=r"arxiv\.jsonl\.zst") as error:
        take(tmp_path / "root", tmp_path / "source", ["arxiv"])
    assert error.value.exit_code == 4
    assert error.value.hint
    with pytest.raises(UsageError, match="'arxiv' is not in"):
        read_component(tmp_path / "root", "arxiv")
    path.write_bytes(data)
    assert take(tmp_path / "root", tmp_path / "source", ["arxiv"]).documents == 500


def test_components_that_cannot_be_had_are_all_named_and_the_others_are_taken(source, tmp_path):
    with pytest.raises(SourceUnavailable, match="2 of 4 components could not be had") as error:
        take(tmp_path / "root", source, ["arxiv", "books3", "github", "europarl"])
    assert error.value.exit_code == 3
    assert "could not be had: books3, europarl; books3 because " in error.value.message
    assert str(source) in error.value.message
    assert present_slugs(tmp_path / "root") == ["arxiv", "github"]
    assert take(tmp_path / "root", source).up_to_date


def test_a_second_download_is_up_to_date_and_says_the_same(source, tmp_path):
    first = take(tmp_path / "root", source)
    manifests = {path: path.stat().st_mtime_ns for path in (tmp_path / "root").rglob(MANIFEST)}
    again = take(tmp_path / "root", source)
    assert again.up_to_date
    assert all(row.up_to_date for row in again.components)
    assert (again.documents, again.text_bytes) == (first.documents, first.text_bytes)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "root").rglob(MANIFEST)} == manifests


def test_a_source_file_that_changed_is_noticed_and_one_that_was_touched_is_not(source, tmp_path):
    take(tmp_path / "root", source)
    path = source / "arxiv.jsonl.zst"
    os.utime(path, ns=(1, 1))
    assert take(tmp_path / "root", source).up_to_date
    # Two contents of one size: only the hash tells them apart.
    write_lines(path, [b'{"text": "abc"}'])
    take(tmp_path / "root", source)
    digest = read_component(tmp_path / "root", "arxiv").digest
    size = path.stat().st_size
    write_lines(path, [b'{"text": "xyz"}'])
    assert path.stat().st_size == size
    result = take(tmp_path / "root", source)
    assert [row.up_to_date for row in result.components] == [False, True]
    assert read_component(tmp_path / "root", "arxiv").digest != digest


def test_a_file_that_is_added_or_taken_away_is_noticed(source, tmp_path, write_source):
    take(tmp_path / "root", source)
    write_source(source, {"github": {"c.jsonl.zst": ["c"]}})
    assert take(tmp_path / "root", source).documents == 7
    (source / "github" / "a.jsonl.zst").unlink()
    assert take(tmp_path / "root", source).documents == 6
    assert [file.counts.name for file in read_component(tmp_path / "root", "github").files] == [
        "b.jsonl.zst",
        "c.jsonl.zst",
    ]


def test_the_same_files_elsewhere_are_the_same_content(source, tmp_path):
    take(tmp_path / "root", source)
    digests = [read_component(tmp_path / "root", slug).digest for slug in ("arxiv", "github")]
    source.rename(tmp_path / "moved")
    take(tmp_path / "root", tmp_path / "moved")
    take(tmp_path / "other", tmp_path / "moved", jobs=2)
    for root in (tmp_path / "root", tmp_path / "other"):
        assert [read_component(root, slug).digest for slug in ("arxiv", "github")] == digests
        assert read_component(root, "arxiv").files[0].path == tmp_path / "moved" / "arxiv.jsonl.zst"


def test_a_link_is_named_as_itself_and_noticed_once_it_leads_elsewhere(tmp_path):
    folder, data = tmp_path / "source" / "arxiv", tmp_path / "data"
    folder.mkdir(parents=True)
    for number in (1, 2):
        write_lines(data / str(number) / "part.jsonl.zst", [b'{"text": "%d"}' % number])
        (folder / f"{number}.jsonl.zst").symlink_to(data / str(number) / "part.jsonl.zst")
    (tmp_path / "latest").symlink_to(tmp_path / "source")
    take(tmp_path / "root", tmp_path / "latest", ["arxiv"])
    files = read_component(tmp_path / "root", "arxiv").files
    assert [file.path for file in files] == [tmp_path / "latest" / "arxiv" / f"{n}.jsonl.zst" for n in (1, 2)]
    assert [file.counts.name for file in files] == ["1.jsonl.zst", "2.jsonl.zst"]
    assert take(tmp_path / "root", tmp_path / "latest", ["arxiv"]).up_to_date
    before = [file.hash for file in files]
    (folder / "2.jsonl.zst").unlink()
    (folder / "2.jsonl.zst").symlink_to(data / "1" / "part.jsonl.zst")
    assert not take(tmp_path / "root", tmp_path / "latest", ["arxiv"]).up_to_date
    assert [file.hash for file in read_component(tmp_path / "root", "arxiv").files] == [before[0], before[0]]
    (tmp_path / "newer" / "arxiv").mkdir(parents=True)
    for number in (1, 2):
        write_lines(tmp_path / "newer" / "arxiv" / f"{number}.jsonl.zst", [b'{"text": "new %d"}' % number])
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").symlink_to(tmp_path / "newer")
    assert take(tmp_path / "root", tmp_path / "latest", ["arxiv"]).text_bytes == 10


def test_folders_with_the_name_of_a_file_are_no_files(source, tmp_path):
    (source / "github" / "c.jsonl.zst").mkdir()
    take(tmp_path / "root", source)
    names = [file.counts.name for file in read_component(tmp_path / "root", "github").files]
    assert names == ["a.jsonl.zst", "b.jsonl.zst"]


def test_a_name_that_is_no_text_is_refused(source, tmp_path):
    odd = os.fsencode(source / "github") + b"/\xff.jsonl.zst"
    (source / "github" / "a.jsonl.zst").rename(os.fsdecode(odd))
    for way_in in (source, os.fsdecode(odd)):
        with pytest.raises(UsageError, match=r"github/\\udcff\.jsonl\.zst' is no UTF-8"):
            take(tmp_path / "root", way_in, ["github"])


def test_a_source_that_has_nothing_leaves_what_was_there(source, tmp_path):
    take(tmp_path / "root", source)
    before = [read_component(tmp_path / "root", slug) for slug in ("arxiv", "github")]
    write_lines(tmp_path / "less" / "github.jsonl.zst", [b'{"text": "other"}'])
    with pytest.raises(SourceUnavailable, match="component 'arxiv' could not be had"):
        take(tmp_path / "root", tmp_path / "less")
    assert read_component(tmp_path / "root", "arxiv") == before[0]
    assert read_component(tmp_path / "root", "github") != before[1]
    # What was there is of another source, and is never taken for this one.
    with pytest.raises(SourceUnavailable):
        take(tmp_path / "root", tmp_path / "less")
    assert {row.slug: row.up_to_date for row in take(tmp_path / "root", source).components}["arxiv"]


def test_components_are_numbered_in_the_order_of_the_catalog_then_ones_own(source, tmp_path):
    take(tmp_path / "root", source)
    own = tmp_path / "root" / "components" / "a-notebook"
    own.mkdir()
    (own / MANIFEST).write_bytes((tmp_path / "root" / "components" / "arxiv" / MANIFEST).read_bytes())
    assert present_slugs(tmp_path / "root") == ["arxiv", "github", "a-notebook"]
    assert [pile_set_name(slug) for slug in ("arxiv", "pile-cc", "a-notebook")] == ["ArXiv", "Pile-CC", "a-notebook"]


def test_the_table_of_a_configuration_spells_the_source_from():
    config = msgspec.toml.decode(b'components = ["arxiv"]\nfrom = { default = "sample:" }', type=DownloadConfig)
    assert (config.components, config.source) == (["arxiv"], {"default": "sample:"})
