"""Which documents stay is what a slow reading of the definition says, whatever the parameters."""

from __future__ import annotations

import json
import random
import unicodedata

import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash
from datasketch import MinHashLSH

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import MANIFEST
from pipelines.dedup import dedup
from pipelines.download import download
from pipelines.keep_list import CLUSTERS_FILE, KEEP_LIST_FILE, REASONS, read_keep_list
from pipelines.minhash import SignatureSettings, shingle_hashes
from tests.pipelines.dedup_twin import all_documents, cluster_rows, decided, shared, table_rows
from tests.pipelines.minhash_twin import signature

NEAR_TEXT = " ".join(f"w{number}" for number in range(300))
SLUGS = ["pile-cc", "arxiv", "enron-emails"]
WAYS = {
    "none": {"method": "none"},
    "exact": {"method": "exact"},
    "exact, normalized": {"method": "exact", "exact_on": "normalized", "priority": ["enron-emails", "arxiv"]},
    "minhash": {"method": "minhash"},
    "verified": {"method": "minhash", "verify": True},
    "verified, loose bands": {"method": "minhash", "verify": True, "bands": 64, "rows": 1, "threshold": 0.6},
    "characters": {
        "method": "minhash",
        "shingle": "characters",
        "shingle_size": 9,
        "fold_spaces": False,
        "fold_case": False,
        "exact_on": "normalized",
        "verify": True,
        "threshold": 0.7,
        "num_perm": 64,
    },
    "datasketch's": {
        "method": "minhash",
        "hash": "sha1",
        "scheme": "legacy",
        "shingle_size": 3,
        "remove_punctuation": True,
        "zero_digits": True,
        "threshold": 0.5,
        "priority": ["arxiv"],
    },
}


@pytest.fixture
def graded_corpus(random_corpus):
    """The random documents, and texts beside others like them in every degree, which chains connect."""

    def graded(seed: int) -> dict:
        rng, corpus = random.Random(seed), random_corpus(seed)
        for number in range(6):
            words = [f"{rng.choice('lmnpr')}{number} {word}" for word in range(rng.choice((12, 40, 80)))]
            for _ in range(8):
                words = words.copy()
                words[rng.randrange(len(words))] = f"other{rng.randrange(10**6)} word"
                place = rng.choice([corpus["pile-cc"], corpus["enron-emails"], corpus["arxiv"]["a.jsonl.zst"]])
                place.append(" ".join(words))
        return corpus

    return graded


def known_of(similarities: list, rows: list[int]) -> list[float]:
    return [similarities[row] for row in rows if similarities[row] is not None]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_the_tables_are_those_made_by_plain_dictionaries_and_sets(make_root, graded_corpus, way, seed):
    root = make_root(graded_corpus(seed))
    result = dedup(root, **WAYS[way])
    documents = all_documents(root, SLUGS)
    expected = decided(documents, SLUGS, **WAYS[way])
    rows = table_rows(root)
    assert [row["id"] for row in rows] == [document.id for document in documents]
    assert [row["cluster"] for row in rows] == expected.cluster
    assert [row["reason"] for row in rows] == expected.reasons
    assert [row["kept"] for row in rows] == [reason == "kept" for reason in expected.reasons]
    assert [row["similarity"] for row in rows] == expected.similarities
    members: dict[int, list[int]] = {}
    for row, top in enumerate(expected.cluster):
        members.setdefault(top, []).append(row)
    assert cluster_rows(root) == [
        {
            "cluster": top,
            "documents": len(group),
            "bytes": sum(len(documents[row].text.encode()) for row in group),
            "kept": 1,
            "similarity": min(known_of(expected.similarities, group), default=None),
        }
        for top, group in sorted(members.items())
        if len(group) > 1
    ]
    assert (result.documents, result.kept) == (len(documents), expected.reasons.count("kept"))
    assert result.removed == result.documents - result.kept
    assert result.clusters == sum(len(group) > 1 for group in members.values())
    assert result.shared == shared(documents, SLUGS, expected.cluster)
    for number, slug in enumerate(SLUGS):
        mine = [row for row, document in enumerate(documents) if document.component == number]
        sizes = [len(documents[row].text.encode()) for row in mine]
        reasons = [expected.reasons[row] for row in mine]
        counts = result.components[slug]
        assert [counts.kept, counts.exact, counts.near, counts.contaminated] == [
            reasons.count(reason) for reason in REASONS
        ]
        assert (counts.documents, counts.bytes) == (len(mine), sum(sizes))
        assert counts.kept_bytes == sum(size for size, why in zip(sizes, reasons, strict=True) if why == "kept")
    assert (result.verification is None) == (expected.counted is None)
    if result.verification is not None:
        found = result.verification
        assert (found.failed_pairs, found.capped_members, found.capped_buckets) == expected.counted


def test_the_random_corpora_hold_every_kind_of_fate(make_root, graded_corpus):
    # Without this the comparison above could pass on corpora in which nothing happens.
    root = make_root(graded_corpus(1))
    result = dedup(root, method="minhash")
    assert sum(counts.exact for counts in result.components.values()) >= 3
    assert sum(counts.near for counts in result.components.values()) >= 3
    assert result.kept >= 20
    assert any(slug != other for slug, row in result.shared.items() for other in row)
    verified = dedup(root, **WAYS["verified, loose bands"])
    assert verified.verification.failed_pairs > 10
    # Edges stand at 0.6 and above; what chains connect may be less similar.
    assert verified.verification.share_below_threshold > 0
    assert any(0 < (row["similarity"] or 1) < 0.6 for row in cluster_rows(root))


def test_texts_that_share_a_bucket_and_little_else_stay_with_verification(make_root, graded_corpus):
    root = make_root(graded_corpus(1))
    loose = {"method": "minhash", "bands": 128, "rows": 1, "threshold": 0.9}
    assert dedup(root, **loose).kept < dedup(root, **loose, verify=True).kept - 5


def test_rows_say_where_a_document_is_how_long_and_what_it_hashes_to(make_root, random_corpus):
    root = make_root(random_corpus(1))
    dedup(root)
    documents = all_documents(root, SLUGS)
    for row, (name, component, text) in zip(table_rows(root), documents, strict=True):
        plain = " ".join(unicodedata.normalize("NFC", text).casefold().split())
        assert (row["id"], row["component"], row["bytes"]) == (name, component, len(text.encode()))
        assert row["text_hash"] == xxhash.xxh3_128_digest(text.encode())
        assert row["normalized_hash"] == xxhash.xxh3_128_digest(plain.encode())


def test_of_a_cluster_the_first_component_then_the_longest_then_the_smallest_id_is_kept(make_root):
    longer = f"{NEAR_TEXT} and more"
    root = make_root(
        {
            "enron-emails": [f"{longer} and more"],
            "github": {"2.jsonl.zst": [longer], "1.jsonl.zst": [NEAR_TEXT, longer, longer]},
        }
    )
    result = dedup(root, method="minhash")
    assert {row["stays"] for row in table_rows(root)} == {"github/1.jsonl.zst:2"}
    assert [row["reason"] for row in table_rows(root)] == [
        "near duplicate",
        "kept",
        "exact duplicate",
        "exact duplicate",
        "near duplicate",
    ]
    assert (result.kept, result.removed, result.clusters) == (1, 4, 1)


def test_exact_keeps_texts_that_differ_in_case_or_white_space_apart(make_root):
    root = make_root({"arxiv": ["a text", "A text", "a  text", "a text"]})
    assert [row["reason"] for row in (dedup(root), table_rows(root))[1]] == ["kept", "kept", "kept", "exact duplicate"]


def test_components_without_documents_and_empty_texts_are_deduplicated_too(make_root):
    root = make_root({"arxiv": [], "pile-cc": ["", " "], "github": ["\n"]})
    assert dedup(root, method="exact").kept == 3
    result = dedup(root, method="minhash")
    assert (result.kept, result.components["arxiv"].documents) == (1, 0)
    assert table_rows(root)[0]["stays"] == "pile-cc/pile-cc.jsonl.zst:2"


@pytest.mark.parametrize("batch_edge", [255, 256, 257])
def test_files_at_the_edge_of_a_batch_of_signatures_are_whole(make_root, batch_edge):
    texts = [f"document number {number}" for number in range(batch_edge)]
    root = make_root({"arxiv": texts, "github": texts[-1:]})
    assert dedup(root, method="minhash").kept == batch_edge
    assert table_rows(root)[-1]["stays"] == f"arxiv/arxiv.jsonl.zst:{batch_edge}"


def of_one_hash() -> tuple[str, str]:
    """Two texts of five words each, no word in common, whose only shingles have the same 32-bit hash."""
    words = [f"w{number}" for number in range(400_000)]
    hashes = shingle_hashes(" ".join(words))
    order = np.argsort(hashes, kind="stable")
    place = int(np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])[0])
    one, other = (" ".join(words[start : start + 5]) for start in order[place : place + 2].tolist())
    return one, other


def test_shingles_whose_hashes_are_equal_by_chance_are_told_apart(make_root):
    root = make_root({"arxiv": [*of_one_hash()]})
    assert dedup(root, method="minhash").kept == 1
    result = dedup(root, method="minhash", verify=True)
    assert (result.kept, result.verification.failed_pairs) == (2, 9)


def bands_of(text: str) -> list[tuple]:
    values = signature(text, SignatureSettings())
    return [(band, *values[band * 13 : (band + 1) * 13]) for band in range(9)]


def known_pairs(minipile) -> list[tuple[str, str]]:
    """Document ids of the pairs known to be near duplicates; those of whole books cost more time than they say."""
    listed = json.loads((minipile / "near_duplicates.json").read_text())["pairs"]
    pairs = [(pair["a"], pair["b"]) for pair in listed if pair["kind"] != "same-book"]
    one, other = (
        [f"{name.partition('.')[0]}/{name}:{line}" for name, line in side] for side in zip(*pairs, strict=True)
    )
    return list(zip(one, other, strict=True))


@pytest.mark.real_data
def test_known_near_duplicates_are_found_as_often_as_the_s_curve_says(minipile, tmp_path):
    pairs = known_pairs(minipile)
    slugs = sorted({name.partition("/")[0] for pair in pairs for name in pair})
    download(tmp_path, components=slugs, source=str(minipile))
    dedup(tmp_path, method="minhash", threshold=0.8)
    kept = {row["id"]: row["stays"] for row in table_rows(tmp_path)}
    wanted = {name for pair in pairs for name in pair}
    texts = {name: text for name, _, text in all_documents(tmp_path, slugs) if name in wanted}
    shingles = {name: set(shingle_hashes(text).tolist()) for name, text in texts.items()}
    bands = {name: set(bands_of(text)) for name, text in texts.items()}
    # The list's own similarity is of other words; what MinHash can see is that of our shingles.
    similarity = np.array([jaccard(shingles[one], shingles[other]) for one, other in pairs])
    collided = np.array([bool(bands[one] & bands[other]) for one, other in pairs])
    found = np.array([kept[one] == kept[other] for one, other in pairs])
    expected = 1 - (1 - similarity**13) ** 9
    close = similarity >= 0.9
    print(
        f"at 0.9 and more {found[close].sum()} of {close.sum()} found, {collided[close].sum()} by a shared bucket, "
        f"{expected[close].sum():.1f} expected; in all {collided.sum()} of {len(pairs)}, {expected.sum():.1f} expected"
    )
    assert close.sum() > 100
    assert found[similarity == 1.0].all()
    # A cluster joins pairs that share no bucket themselves: more may be found than collide, never less.
    assert found[collided].all()
    for chosen in (close, slice(None)):
        variance = (expected[chosen] * (1 - expected[chosen])).sum()
        assert abs(collided[chosen].sum() - expected[chosen].sum()) <= 3 * variance**0.5


def jaccard(one: set, other: set) -> float:
    return len(one & other) / len(one | other)


def keep_list_bytes(root) -> list[bytes]:
    return [(root / "dedup" / name).read_bytes() for name in (KEEP_LIST_FILE, CLUSTERS_FILE, MANIFEST)]


def test_a_second_run_is_up_to_date_and_another_method_is_not(make_root, random_corpus):
    root = make_root(random_corpus(1))
    first = dedup(root, method="minhash")
    again = dedup(root, method="minhash")
    assert (first.up_to_date, again.up_to_date) == (False, True)
    assert again.components == first.components
    assert not dedup(root, method="minhash", threshold=0.7).up_to_date
    assert not dedup(root, method="exact").up_to_date


def test_parameters_of_minhash_do_not_make_an_exact_keep_list_stale(make_root, random_corpus):
    root = make_root(random_corpus(1))
    dedup(root, method="exact", threshold=0.8)
    assert dedup(root, method="exact", threshold=0.7).up_to_date


def test_other_thresholds_band_otherwise(make_root):
    one = NEAR_TEXT.split()
    other = one.copy()
    other[::60] = ["changed"] * 5
    root = make_root({"arxiv": [" ".join(one), " ".join(other)]})
    lsh = MinHashLSH(threshold=0.5, num_perm=128)
    assert (lsh.b, lsh.r) == (25, 5)
    # Their Jaccard similarity is 0.85: at 0.5 a miss has a chance of one in 10^6, at 0.99 a hit is rare.
    assert dedup(root, method="minhash", threshold=0.5).kept == 1
    assert dedup(root, method="minhash", threshold=0.95).kept == 2


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"method": "fuzzy"}, "--method none, exact or minhash"),
        ({"threshold": 1.0}, "--threshold 0.8"),
        ({"method": "minhash", "num_perm": 2}, "--num-perm 128 --threshold 0.8"),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_touched(make_root, options, hint):
    root = make_root({"arxiv": ["a"]})
    dedup(root)
    before = keep_list_bytes(root)
    with pytest.raises(UsageError) as error:
        dedup(root, **options)
    assert error.value.hint == hint
    assert keep_list_bytes(root) == before


def test_a_root_without_components_says_what_to_type(tmp_path):
    with pytest.raises(UsageError, match="no components yet") as error:
        dedup(tmp_path)
    assert error.value.hint == f"pile download --all --from sample: --root {tmp_path}"


def test_reading_a_keep_list_that_is_absent_or_none_says_what_to_type(make_root):
    root = make_root({"arxiv": ["a"]})
    with pytest.raises(UsageError, match="no keep-list"):
        read_keep_list(root)
    dedup(root)
    path = root / "dedup" / KEEP_LIST_FILE
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(CorruptData, match="is not a keep-list") as error:
        read_keep_list(root)
    assert f"pile dedup --root {root}" in error.value.hint
    path.write_bytes(b"PAR1")
    with pytest.raises(CorruptData, match="is not a keep-list"):
        read_keep_list(root)
