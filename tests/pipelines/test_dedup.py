"""Which documents stay is what a slow reading of the definition says, whatever the workers and interruptions."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash
from datasketch import MinHash, MinHashLSH

from pile_toolkit.core.components import read_component
from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import MANIFEST
from pile_toolkit.core.tasks import RESULT, WORK_PREFIX
from pipelines.dedup import dedup
from pipelines.download import download
from pipelines.keep_list import KEEP_LIST_FILE, REASONS, read_keep_list
from pipelines.minhash import shingle_hashes

NEAR_TEXT = " ".join(f"w{number}" for number in range(300))


def table_rows(root) -> list[dict]:
    """The keep-list as dictionaries, with slug and file name in place of numbers and `kept` as a document id."""
    components, table = read_keep_list(root)
    rows = table.to_pylist()
    for row in rows:
        component = components[row["component"]]
        row["id"] = f"{component.slug}/{component.files[row['file']]}:{row['line']}"
    for row in rows:
        row["kept"] = rows[row["cluster"]]["id"]
        row["reason"] = REASONS[row["reason"]]
    return rows


def all_documents(root, slugs) -> list[tuple[str, int, str]]:
    """(document id, number of the component, text) in the order of the components given."""
    return [
        (f"{slug}/{file.counts.name}:{document.line}", number, document.text)
        for number, slug in enumerate(slugs)
        for file in read_component(root, slug).files
        for document in read_documents(file.path)
    ]


def identity(value: int) -> int:
    return value


def bands_of(text: str) -> list[tuple]:
    sketch = MinHash(num_perm=128, seed=1, hashfunc=identity)
    for value in set(shingle_hashes(text).tolist()):
        sketch.update(value)
    values = sketch.hashvalues.tolist()
    return [(band, *values[band * 13 : (band + 1) * 13]) for band in range(9)]


def decided(documents: list[tuple[str, int, str]], method: str) -> dict[str, tuple[str, str]]:
    """{id: (id of the kept member, reason)}, by the dictionary of texts and of LSH buckets."""
    equal: dict[str, set[int]] = {}
    buckets: dict[tuple, set[int]] = {}
    for row, (_, _, text) in enumerate(documents):
        equal.setdefault(text, set()).add(row)
        for band in bands_of(text) if method == "minhash" else ():
            buckets.setdefault(band, set()).add(row)
    cluster = [{row} for row in range(len(documents))]
    for group in (*equal.values(), *buckets.values()) if method != "none" else ():
        joined = set().union(*(cluster[row] for row in group))
        for row in joined:
            cluster[row] = joined

    def place(row: int) -> tuple[int, int, int]:
        _, component, text = documents[row]
        return component, -len(text.encode()), row

    fates = {}
    for row, (name, _, text) in enumerate(documents):
        kept = min(cluster[row], key=place)
        first_equal = min(equal[text], key=place) if method != "none" else row
        reason = "kept" if kept == row else "exact duplicate" if first_equal != row else "near duplicate"
        fates[name] = (documents[kept][0], reason)
    return fates


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("method", ["none", "exact", "minhash"])
def test_the_keep_list_is_the_one_made_by_plain_dictionaries(make_root, random_corpus, method, seed):
    root = make_root(random_corpus(seed))
    result = dedup(root, method=method)
    documents = all_documents(root, ["pile-cc", "arxiv", "enron-emails"])
    expected = decided(documents, method)
    rows = table_rows(root)
    assert {row["id"]: (row["kept"], row["reason"]) for row in rows} == expected
    assert [row["id"] for row in rows] == [name for name, _, _ in documents]
    reasons = [reason for _, reason in expected.values()]
    assert (result.documents, result.kept) == (len(documents), reasons.count("kept"))
    assert result.removed == result.documents - result.kept
    assert result.clusters == len({kept for kept, reason in expected.values() if reason != "kept"})
    for slug, counts in result.components.items():
        mine = [reason for name, (_, reason) in expected.items() if name.startswith(f"{slug}/")]
        assert counts.documents == len(mine)
        found = [counts.kept, counts.exact, counts.near, counts.contaminated]
        assert found == [mine.count(reason) for reason in REASONS]


def test_the_random_corpora_hold_every_kind_of_fate(make_root, random_corpus):
    # Without this the comparison above could pass on corpora in which nothing happens.
    result = dedup(make_root(random_corpus(1)), method="minhash")
    assert sum(counts.exact for counts in result.components.values()) >= 3
    assert sum(counts.near for counts in result.components.values()) >= 3
    assert result.kept >= 20


def test_rows_say_where_a_document_is_how_long_and_what_it_hashes_to(make_root, random_corpus):
    root = make_root(random_corpus(1))
    dedup(root)
    documents = all_documents(root, ["pile-cc", "arxiv", "enron-emails"])
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
    assert {row["kept"] for row in table_rows(root)} == {"github/1.jsonl.zst:2"}
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
    assert table_rows(root)[0]["kept"] == "pile-cc/pile-cc.jsonl.zst:2"


@pytest.mark.parametrize("batch_edge", [255, 256, 257])
def test_files_at_the_edge_of_a_batch_of_signatures_are_whole(make_root, batch_edge):
    texts = [f"document number {number}" for number in range(batch_edge)]
    root = make_root({"arxiv": texts, "github": texts[-1:]})
    assert dedup(root, method="minhash").kept == batch_edge
    assert table_rows(root)[-1]["kept"] == f"arxiv/arxiv.jsonl.zst:{batch_edge}"


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
    kept = {row["id"]: row["kept"] for row in table_rows(tmp_path)}
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


def keep_list_bytes(root) -> tuple[bytes, bytes]:
    return (root / "dedup" / KEEP_LIST_FILE).read_bytes(), (root / "dedup" / MANIFEST).read_bytes()


def test_the_bytes_do_not_depend_on_workers_or_the_root(make_root, random_corpus):
    expected = None
    for name, options in {
        "one": {"jobs": 1},
        "two": {"jobs": 2},
        "other": {"jobs": 3, "scheduler": "serial"},
    }.items():
        root = make_root(random_corpus(4), name)
        dedup(root, method="minhash", **options)
        expected = expected or keep_list_bytes(root)
        assert keep_list_bytes(root) == expected


@pytest.mark.parametrize(("jobs", "reports"), [(1, 1), (1, 3), (2, 2)])
def test_killing_dedup_midway_gives_the_same_bytes(make_root, random_corpus, run_killed, jobs, reports):
    undisturbed = make_root(random_corpus(5), "undisturbed")
    dedup(undisturbed, method="minhash")
    root = make_root(random_corpus(5), "killed")
    # An earlier keep-list of other parameters must not pass for this one's.
    dedup(root, method="exact")
    assert run_killed(f"dedup({str(root)!r}, method='minhash', jobs={jobs}, reporter=reporter)", reports) == -9
    assert not (root / "dedup" / MANIFEST).exists()
    finished = {path.parent.name for path in (root / "dedup").glob(f"{WORK_PREFIX}*/*/{RESULT}")}
    assert reports <= len(finished) <= 4
    dedup(root, method="minhash")
    assert keep_list_bytes(root) == keep_list_bytes(undisturbed)
    assert sorted(path.name for path in (root / "dedup").iterdir()) == [KEEP_LIST_FILE, MANIFEST, "timings.json"]


def test_what_a_killed_run_had_finished_is_not_read_again(make_root, random_corpus, run_killed):
    root = make_root(random_corpus(5))
    assert run_killed(f"dedup({str(root)!r}, method='minhash', reporter=reporter)", 2) == -9
    for task in (root / "dedup").glob(f"{WORK_PREFIX}*/*/{RESULT}"):
        slug, _, number = task.parent.name.rpartition("-")
        read_component(root, slug).files[int(number)].path.unlink()
    assert dedup(root, method="minhash").documents == 60


@pytest.mark.parametrize("change", ["changed", "is gone"])
def test_a_file_that_is_not_the_one_taken_in_is_refused(make_root, write_source, change):
    # The keep-list would bear the name of contents that it was not made of.
    root = make_root({"arxiv": ["one", "two"]})
    source = root.with_name("root-source")
    if change == "changed":
        write_source(source, {"arxiv": ["two", "one"]})
    else:
        (source / "arxiv.jsonl.zst").unlink()
    with pytest.raises(UsageError, match=rf"arxiv\.jsonl\.zst {change} since it was downloaded") as error:
        dedup(root)
    assert error.value.hint == "pile download again, then pile dedup"
    assert not (root / "dedup" / MANIFEST).exists()


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
