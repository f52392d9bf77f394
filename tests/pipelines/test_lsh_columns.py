"""Files of band hashes hold what was put in, in whatever batches, and refuse what they are not."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from pipelines.lsh.columns import BLOCK_DOCUMENTS, BandFiles, write_bands
from tests.pipelines.lsh_twin import DIGEST, write_rows


def random_rows(documents, bands, seed=1):
    return np.random.default_rng(seed).integers(0, 1 << 64, (documents, bands), dtype=np.uint64)


def random_rows_of_a_source_that_fails(writer):
    writer.add(random_rows(10, 2))
    raise OSError("no source")


def read(columns, band):
    found = [(first, hashes.copy()) for first, hashes in columns.blocks(band)]
    assert [first for first, _ in found] == np.cumsum([0, *(len(part) for _, part in found)])[:-1].tolist()
    return np.concatenate([np.empty(0, np.uint64), *(part for _, part in found)])


@given(st.lists(st.integers(0, BLOCK_DOCUMENTS + 70_000), max_size=3), st.integers(1, 3))
def test_every_band_of_all_files_is_read_as_it_was_written(tmp_path_factory, batches, bands):
    folder = tmp_path_factory.mktemp("columns")
    rows = random_rows(sum(batches), bands)
    first = 0
    with write_bands(folder / "one", bands=bands, digest=DIGEST) as writer:
        for batch in batches:
            writer.add(rows[first : first + batch])
            first += batch
    with write_bands(folder / "other", bands=bands, digest=DIGEST) as writer:
        writer.add(rows[:5])
    columns = BandFiles([folder / "one", folder / "other"])
    assert (columns.bands, columns.documents, columns.digest) == (bands, len(rows) + len(rows[:5]), DIGEST)
    for band in range(bands):
        assert np.array_equal(read(columns, band), np.concatenate([rows[:, band], rows[:5, band]]))


def test_the_layout_is_what_the_page_on_formats_says(tmp_path):
    documents = BLOCK_DOCUMENTS + 3
    rows = random_rows(documents, 2)
    [path] = write_rows(tmp_path, rows, [documents])
    data = path.read_bytes()
    assert data[:64] == struct.pack("<8sIIQQ32s", b"PILEBAND", 1, 2, documents, 2 * documents, DIGEST.encode())
    blocks = rows[:BLOCK_DOCUMENTS].T, rows[BLOCK_DOCUMENTS:].T
    assert data[64:] == b"".join(np.ascontiguousarray(block).tobytes() for block in blocks)


def test_a_writer_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(OSError, match="no source"), write_bands(tmp_path / "x", bands=2, digest=DIGEST) as writer:
        writer.add(random_rows_of_a_source_that_fails(writer))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("bands", "digest", "rows"),
    [
        (0, DIGEST, None),
        (2, "short", None),
        (2, DIGEST.upper(), None),
        (2, DIGEST, random_rows(3, 3)),
        (2, DIGEST, random_rows(3, 2).astype(np.uint32)),
        (2, DIGEST, random_rows(3, 2)[0]),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, bands, digest, rows):
    with pytest.raises(UsageError), write_bands(tmp_path / "x", bands=bands, digest=digest) as writer:
        writer.add(rows)


def test_files_of_different_settings_refuse_to_mix(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    paths = write_rows(one, random_rows(4, 2), [4])
    for rows, digest in ((random_rows(4, 3), DIGEST), (random_rows(4, 2), "f" * 32)):
        with pytest.raises(UsageError, match=r"other/0\.bands holds band hashes of other settings than .*one/0\.bands"):
            BandFiles(paths + write_rows(other, rows, [4], digest=digest))
    with pytest.raises(UsageError, match="no file of band hashes"):
        BandFiles([tmp_path / "missing"])
    with pytest.raises(UsageError, match="no file of band hashes to cluster"):
        BandFiles([])


def header(**changed):
    fields = {"magic": b"PILEBAND", "version": 1, "bands": 2, "rows": 10, "values": 20, "digest": DIGEST.encode()}
    return struct.pack("<8sIIQQ32s", *(fields | changed).values())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PILEBAND",
        header(magic=b"PILESETS") + bytes(160),
        header(version=2) + bytes(160),
        header(bands=0, values=0),
        header(bands=1 << 31, rows=1 << 62, values=0) + bytes(160),
        header(values=21) + bytes(168),
        header(rows=(1 << 63) + 10) + bytes(160),
        header(digest=b"\xff" * 32) + bytes(160),
        header(digest=b"") + bytes(160),
        header() + bytes(159),
        header() + bytes(161),
    ],
)
def test_a_hostile_file_is_refused_and_named(tmp_path, data):
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(CorruptData, match=r"bad is no file of band hashes"):
        BandFiles([tmp_path / "bad"])


def test_a_file_cut_while_it_is_read_is_named(tmp_path):
    paths = write_rows(tmp_path, random_rows(10, 2), [10])
    columns = BandFiles(paths)
    paths[0].write_bytes(paths[0].read_bytes()[:-8])
    with pytest.raises(CorruptData, match=r"0\.bands .* shorter"):
        list(columns.blocks(1))
