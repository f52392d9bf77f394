"""The parts of deduplication one by one, each against plain Python."""

from __future__ import annotations

import errno
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.cli.dedup import dedup as command
from pile_toolkit.core.documents import DocumentWriter
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import hash_file
from pile_toolkit.core.seeds import normalized, text_hash
from pipelines.dedup.clusters import same_in_both
from pipelines.dedup.documents import Documents
from pipelines.dedup.fingerprints import (
    BATCH_CHARACTERS,
    BATCH_DOCUMENTS,
    NEAR_FILE,
    Recipe,
    Stored,
    fingerprint_file,
)
from pipelines.dedup.kernels import count_shared, measure, number_clusters, tally
from pipelines.dedup.settings import DedupConfig, check_priority, command_options, dedup_config, parse_memory, resolve
from pipelines.keep_list import GROUP_ROWS, _groups
from pipelines.lsh.arrays import save_array
from pipelines.lsh.columns import BandFiles
from pipelines.minhash import SignatureSettings, band_hashes, minhash
from tests.pipelines.lsh_twin import similarity

FILES = {
    "many": [f"Text  {number} of a few more words than five É" for number in range(2 * BATCH_DOCUMENTS + 3)],
    "none": [],
    "one": ["x"],
    "long": ["a b c d e f g " * (BATCH_CHARACTERS // 14 + 1), "after it", "and one more"],
}
SIGNATURE = SignatureSettings(num_perm=16, seed=3)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The fingerprints of all files, in another order than their names'."""
    base, found = tmp_path_factory.mktemp("tasks"), []
    recipe = {"exact_on": "normalized", "signature": {"num_perm": 16, "seed": 3}, "bands": (4, 4)}
    for number, (name, texts) in enumerate(FILES.items()):
        path = base / f"{name}.jsonl.zst"
        with DocumentWriter(path) as writer:
            for text in texts:
                writer.write(text, b"{}")
        (base / name).mkdir()
        result = fingerprint_file(base / name, str(path), hash_file(path), recipe)
        assert result["documents"] == len(texts)
        found.append(Stored(base / name, 7, number, len(texts)))
    return found


def test_fingerprints_are_those_of_every_document_in_order(stored):
    documents, found = Documents(stored), []
    for piece in documents.pieces(rows=500):
        assert piece.first == len(found)
        assert len(piece.rows) <= 500
        for row in piece.rows:
            hashes = row["text_hash"].tobytes(), row["normalized_hash"].tobytes()
            found.append((piece.component, piece.file, int(row["line"]), int(row["bytes"]), *hashes))
    assert found == [
        (7, number, line, len(text.encode()), text_hash(text), xxhash.xxh3_128_digest(normalized(text).encode()))
        for number, texts in enumerate(FILES.values())
        for line, text in enumerate(texts, start=1)
    ]
    assert len(documents) == len(found)


def test_columns_are_the_hashes_that_decide(stored):
    documents = Documents(stored)
    texts = [text for texts in FILES.values() for text in texts]
    near, exact = BandFiles(documents.near), BandFiles(documents.exact)
    expected = band_hashes(minhash(texts, num_perm=16, seed=3), bands=(4, 4))
    for band in range(4):
        assert np.concatenate([block.copy() for _, block in near.blocks(band)]).tolist() == expected[:, band].tolist()
    halves = np.array([np.frombuffer(xxhash.xxh3_128_digest(normalized(text).encode()), np.uint64) for text in texts])
    for half in range(2):
        assert np.concatenate([block.copy() for _, block in exact.blocks(half)]).tolist() == halves[:, half].tolist()


def test_ranks_put_components_first_then_the_longest(stored):
    sizes = [len(text.encode()) for texts in FILES.values() for text in texts]
    moved = [entry._replace(component=number % 2) for number, entry in enumerate(stored)]
    places = [number % 2 for number, texts in enumerate(FILES.values()) for _ in texts]
    for priority in ([0, 1], [1, 0]):
        rank = Documents(moved).ranks(priority)
        keys = [(priority[place], -size) for place, size in zip(places, sizes, strict=True)]
        assert sorted(range(len(keys)), key=lambda row: (rank[row], row)) == sorted(
            range(len(keys)), key=lambda row: (keys[row], row)
        )


def test_a_recipe_of_other_settings_has_another_digest():
    recipes = [
        Recipe(exact_on=exact_on, signature=signature, bands=bands)
        for exact_on in (None, "text", "normalized")
        for signature in (None, SIGNATURE, SignatureSettings(num_perm=16))
        for bands in (None, (4, 4), (2, 8))
    ]
    assert len({recipe.digest for recipe in recipes}) == len(recipes)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20))
def test_rows_are_equal_where_both_halves_of_their_hashes_are(halves):
    first = [[half for half, _ in halves].index(half) for half, _ in halves]
    second = [[half for _, half in halves].index(half) for _, half in halves]
    found = same_in_both(np.array(first, np.int32), np.array(second, np.int32))
    assert found.tolist() == [halves.index(pair) for pair in halves]


@given(st.data(), st.integers(1, 12), st.sampled_from([1, 3, 70]))
def test_clusters_are_counted_as_plain_python_counts_them(data, count, components):
    rows = range(count)
    draw = st.lists(st.integers(0, count - 1), min_size=count, max_size=count)
    tops = data.draw(draw)
    # Every member points at the kept one, which points at itself.
    cluster = [min(row for row in rows if tops[row] == tops[other]) for other in rows]
    component = sorted(data.draw(st.lists(st.integers(0, components - 1), min_size=count, max_size=count)))
    sizes = data.draw(st.lists(st.integers(0, 1 << 40), min_size=count, max_size=count))
    kept = [int(cluster[row] == row and data.draw(st.booleans())) for row in rows]
    likes = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, math.nan]), min_size=count, max_size=count))
    groups = {top: [row for row in rows if cluster[row] == top] for top in sorted(set(cluster))}
    several = {top: group for top, group in groups.items() if len(group) > 1}
    slots, array = np.full(count, 9, np.int32), np.array(cluster, np.int32)
    assert number_clusters(array, slots) == len(several)
    assert np.flatnonzero(slots).tolist() == list(several)
    sums, least = [np.zeros(len(several), np.int64) for _ in range(3)], np.full(len(several), np.nan, np.float32)
    once, twice = (np.zeros((len(several), -(-components // 64)), np.uint64) for _ in range(2))
    shared = np.zeros((components, components), np.int64)
    for row in rows:
        given_row = np.array(sizes[row : row + 1], np.int64), np.array(kept[row : row + 1], np.int64)
        like = np.array(likes[row : row + 1], np.float32)
        tally(array, row, component[row], *given_row, like, slots, *sums, least, once, twice)
    for row in rows:
        count_shared(array, row, row + 1, component[row], slots, once, twice, shared[component[row]])
    assert sums[0].tolist() == [len(group) for group in several.values()]
    assert sums[1].tolist() == [sum(sizes[row] for row in group) for group in several.values()]
    assert sums[2].tolist() == [sum(kept[row] for row in group) for group in several.values()]
    for value, group in zip(least.tolist(), several.values(), strict=True):
        known = [likes[row] for row in group if not math.isnan(likes[row])]
        assert value == min(known) if known else math.isnan(value)
    expected = Counter(
        (component[row], other)
        for row in rows
        for other in {component[one] for one in groups[cluster[row]] if one != row}
    )
    assert {pair: int(shared[pair]) for pair in zip(*np.nonzero(shared), strict=True)} == expected


@given(st.lists(st.sets(st.integers(0, 12), max_size=9), min_size=2, max_size=6), st.sampled_from([1, 1 << 30]))
def test_similarities_are_those_of_pythons_sets(sets, limit_bytes):
    offsets = np.cumsum([0, *map(len, sets)], dtype=np.int64)
    values = np.array([value for each in sets for value in sorted(each)] or [0], np.uint64)
    places, sizes = offsets[:-1], np.diff(offsets)
    order = np.arange(len(sets))[::-1]
    found, done, progress = np.full(len(sets), 9, np.float32), 0, np.zeros(3, np.int64)
    given = values, places, sizes, places[order].copy(), sizes[order].copy()
    while done < len(sets):
        done = measure(*given, done, limit_bytes, found, progress)
    expected = [similarity(one, other) for one, other in zip(sets, sets[::-1], strict=True)]
    assert found.tolist() == np.array([float(each) for each in expected], np.float32).tolist()


@given(st.lists(st.integers(0, 9), max_size=9), st.integers(1, 7))
def test_rows_come_in_groups_of_one_length_whatever_they_came_in(counts, rows):
    parts = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1]) if counts else []
    groups = [group["a"].tolist() for group in _groups(({"a": part} for part in parts), rows)]
    assert [row for group in groups for row in group] == list(range(sum(counts)))
    assert all(len(group) == rows for group in groups[:-1])
    assert GROUP_ROWS == 1 << 17


def test_a_full_disk_is_named_as_one_when_an_array_is_written(tmp_path):
    save_array(tmp_path / "a.npy", np.arange(3))
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]
    with pytest.raises(OSError, match="No space left") as error:
        save_array(Path("/dev/full"), np.zeros(1 << 20))
    assert error.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 << 30),
        ("1.5 GiB", 3 << 29),
        ("512MB", 512 * 10**6),
        ("300M", 300 << 20),
        ("1000", 1000),
        ("2k", 2048),
    ],
)
def test_sizes_of_memory_are_read(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    ("options", "fact", "hint"),
    [
        ({"memory": "much"}, "--memory is 'much', expected a size", "--memory 4GiB"),
        ({"method": "fuzzy"}, "unknown method 'fuzzy'", "--method none, exact or minhash"),
        ({"threshold": 1.0}, "it lies between 0 and 1", "--threshold 0.8"),
        ({"method": "minhash", "num_perm": 2}, "too few for a similarity", "--num-perm 128 --threshold 0.8"),
        ({"method": "minhash", "bands": 9}, "of bands and rows only one is given", "--bands 9 --rows 13, or neither"),
        ({"method": "minhash", "bands": 9, "rows": 15}, "do not fit into 128 permutations", "both multiplied"),
        ({"method": "minhash", "fold_spaces": False}, "white space separates words", "unit='characters'"),
        ({"method": "minhash", "shingle_size": 0}, "it needs at least 1", "size=5"),
        ({"priority": ["arxiv", "arxiv"]}, "stands twice", "name it once"),
        ({"shingle": "bytes"}, "shingle", ""),
        ({"shingles": "words"}, "shingles", "shingle"),
    ],
)
def test_what_no_run_can_do_is_refused(options, fact, hint):
    with pytest.raises(UsageError, match=fact) as error:
        resolve(dedup_config(options))
    assert hint in (error.value.hint or "") + error.value.message


def test_a_priority_may_name_what_the_catalog_or_the_root_has():
    check_priority(["arxiv", "mine"], ["mine"])
    with pytest.raises(UsageError, match="the priority names 'arxvi', which is no component") as error:
        check_priority(["arxvi"], ["mine"])
    assert "arxiv" in error.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"method": "none"},
        {"method": "exact", "exact_on": "normalized"},
        {"method": "minhash"},
        {"method": "minhash", "threshold": 0.55, "verify": True, "zero_digits": True, "fold_case": False},
        {
            "method": "minhash",
            "bands": 3,
            "rows": 7,
            "shingle": "characters",
            "fold_spaces": False,
            "nfc": False,
            "priority": ["arxiv", "github"],
            "scheme": "legacy",
            "hash": "sha1",
        },
    ],
)
def test_the_command_that_a_manifest_leads_to_has_its_parameters(options):
    parameters = resolve(dedup_config(options)).parameters()
    typed = command.make_context("dedup", command_options(parameters)).params
    asked = {name: typed[name] for name in DedupConfig.__struct_fields__}
    assert resolve(dedup_config(asked)).parameters() == parameters


def test_options_of_the_command_have_the_defaults_of_the_configuration():
    typed = command.make_context("dedup", []).params
    assert dedup_config({name: typed[name] for name in DedupConfig.__struct_fields__}) == DedupConfig()


def test_recipes_without_signatures_write_no_bands(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    with DocumentWriter(path) as writer:
        writer.write("x", b"{}")
    folder = tmp_path / "made"
    folder.mkdir()
    result = fingerprint_file(folder, str(path), hash_file(path), {"exact_on": None, "signature": None, "bands": None})
    assert result["hashes"] == {"rows": hash_file(folder / "rows")}
    assert not (folder / NEAR_FILE).exists()
    with pytest.raises(CorruptData, match="changed since it was downloaded"):
        fingerprint_file(folder, str(path), "0" * 32, {"exact_on": None, "signature": None, "bands": None})
