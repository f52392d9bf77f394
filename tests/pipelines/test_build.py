"""The plan: a text on one side of a split, exact copies, counts as a plain count has them, the same bytes anywhere."""

from __future__ import annotations

import itertools
import unicodedata
from collections import Counter

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import MANIFEST
from pile_toolkit.core.plan import PLAN_FILE, SPLITS, Plan
from pipelines.build import BuildConfig, assign_splits, build
from pipelines.dedup import dedup
from pipelines.keep_list import read_keep_list
from pipelines.mixture import copy_keys

WEIGHTS = {"pile-cc": 1.0, "arxiv": 2.5, "enron-emails": 0.5}
HALVES = {"val_share": 0.2, "test_share": 0.2, "weights": WEIGHTS, "write_corpus": False}


def plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def planned(root) -> list[dict]:
    """The plan's rows as dictionaries, with slug, document id and name of the split."""
    plan = Plan.read(root)
    rows = plan.table.to_pylist()
    for number, row in enumerate(rows):
        row["slug"] = plan.header.components[row["component"]].slug
        row["id"], row["split"] = plan.document_id(number), SPLITS[row["split"]]
    return rows


def plan_bytes(root) -> tuple[bytes, bytes]:
    return (root / "plan" / PLAN_FILE).read_bytes(), (root / "plan" / MANIFEST).read_bytes()


@pytest.mark.parametrize("seed", [1, 2])
def test_texts_that_differ_in_case_and_white_space_stand_in_one_split(ready, random_corpus, seed):
    root = ready(seed)
    build(root, seed=seed, **HALVES)
    texts = {
        f"{slug}/{name}:{line}": text
        for slug, files in random_corpus(seed, 160).items()
        for name, documents in (files if isinstance(files, dict) else {f"{slug}.jsonl.zst": files}).items()
        for line, (text, _) in enumerate(documents, start=1)
    }
    splits: dict[str, set[str]] = {}
    spellings: dict[str, set[str]] = {}
    for row in planned(root):
        splits.setdefault(plain(texts[row["id"]]), set()).add(row["split"])
        spellings.setdefault(plain(texts[row["id"]]), set()).add(texts[row["id"]])
    assert all(len(sides) == 1 for sides in splits.values())
    assert {side for sides in splits.values() for side in sides} == set(SPLITS)
    # Or there would have been nothing to tear apart.
    assert sum(len(group) > 1 for group in spellings.values()) > 5


def test_val_and_test_hold_each_document_once_and_train_its_exact_copies(ready):
    root = ready(1)
    build(root, **HALVES)
    rows = planned(root)
    assert {row["copies"] for row in rows if row["split"] != "train"} == {1}
    for slug, epochs in WEIGHTS.items():
        train = [row["copies"] for row in rows if row["slug"] == slug and row["split"] == "train"]
        assert sum(train) == int(epochs) * len(train) + round((epochs - int(epochs)) * len(train))
        assert set(train) <= {int(epochs), int(epochs) + 1}


def test_the_extra_copy_goes_to_the_smallest_keys_of_the_component(ready):
    root = ready(1)
    build(root, seed=77, **HALVES)
    for slug in ("arxiv", "enron-emails"):
        rows = [row for row in planned(root) if row["slug"] == slug and row["split"] == "train"]
        hashes = np.array([np.frombuffer(row["text_hash"], np.uint64) for row in rows])
        keys = copy_keys(77, hashes, np.array([row["ordinal"] for row in rows])).tolist()
        more = [key for key, row in zip(keys, rows, strict=True) if row["copies"] > int(WEIGHTS[slug])]
        fewer = [key for key, row in zip(keys, rows, strict=True) if row["copies"] == int(WEIGHTS[slug])]
        assert max(more) < min(fewer)


def test_rows_are_the_kept_documents_in_order_with_how_many_equal_texts_came_before(ready):
    root = ready(3)
    dedup(root, method="exact")
    build(root, **HALVES)
    components, table = read_keep_list(root)
    kept = [row for row in table.to_pylist() if row["reason"] == 0]
    rows = planned(root)
    names = ("component", "file", "line", "bytes", "text_hash")
    assert [[row[name] for name in names] for row in rows] == [[row[name] for name in names] for row in kept]
    assert Plan.read(root).header.components == components
    assert {row["ordinal"] for row in rows} == {0}
    assert {(row["piece_start"], row["piece_end"]) for row in rows} == {(None, None)}


def test_equal_texts_that_were_kept_are_numbered(ready):
    root = ready(3)
    build(root, **HALVES)
    before: Counter[bytes] = Counter()
    for row in planned(root):
        assert row["ordinal"] == before[row["text_hash"]]
        before[row["text_hash"]] += 1
    assert max(before.values()) > 2


@pytest.mark.parametrize(("val_share", "test_share"), [(0.001, 0.001), (0.3, 0.1), (0.0, 0.5), (0.0, 0.0)])
def test_splits_have_their_shares_within_chance(val_share, test_share):
    documents = 200_000
    hashes = np.random.default_rng(5).integers(0, 2**64, (documents, 2), dtype=np.uint64)
    counts = np.bincount(assign_splits(hashes, 1234, val_share, test_share), minlength=3)
    for count, share in zip(counts, (1 - val_share - test_share, val_share, test_share), strict=True):
        assert abs(count - share * documents) <= 4 * (documents * share * (1 - share)) ** 0.5


def test_a_larger_share_only_adds_to_what_was_held_out():
    # So that held-out documents of a smaller build stay unseen by what was trained on a larger one's train split.
    hashes = np.random.default_rng(5).integers(0, 2**64, (10_000, 2), dtype=np.uint64)
    small, large = (assign_splits(hashes, 1, share, 0.0) == SPLITS.index("val") for share in (0.02, 0.1))
    assert (large[small]).all()
    assert large.sum() > small.sum()


def test_counts_are_those_of_the_plan_counted_plainly(ready):
    root = ready(2)
    result = build(root, **HALVES)
    rows = [row for row in planned(root) if row["copies"]]
    assert result.components.keys() == WEIGHTS.keys()
    for slug, counts in result.components.items():
        mine = [row for row in rows if row["slug"] == slug]
        by_split = Counter(row["split"] for row in mine)
        assert counts.documents == len(mine)
        assert counts.copies == sum(row["copies"] for row in mine)
        assert counts.bytes == sum(row["copies"] * row["bytes"] for row in mine)
        assert counts.epochs == WEIGHTS[slug]
        assert counts.train_documents == by_split["train"]
        assert (counts.val_documents, counts.test_documents) == (by_split["val"], by_split["test"])
    copies = Counter()
    for row in rows:
        copies[row["split"]] += row["copies"]
    assert result.splits == dict(copies)
    assert (result.documents, result.copies) == (len(rows), copies.total())
    assert result.bytes == sum(counts.bytes for counts in result.components.values())
    assert result.corpus is None


def test_a_weight_of_nothing_leaves_a_component_out_of_every_split(ready):
    root = ready(1)
    result = build(root, **(HALVES | {"weights": WEIGHTS | {"arxiv": 0.0}}))
    assert {row["copies"] for row in planned(root) if row["slug"] == "arxiv"} == {0}
    counts = result.components["arxiv"]
    assert (counts.documents, counts.copies, counts.val_documents, counts.test_documents) == (0, 0, 0, 0)
    assert "arxiv" not in result.without_held_out


def test_components_that_nothing_of_is_held_out_are_listed(make_root):
    root = make_root({"arxiv": [f"text {number}" for number in range(200)], "github": ["one"], "europarl": ["two"]})
    dedup(root)
    result = build(root, val_share=0.1, test_share=0.1, write_corpus=False)
    held_out = {row["slug"] for row in planned(root) if row["split"] != "train"}
    assert "arxiv" in held_out
    assert result.without_held_out == [slug for slug in ("arxiv", "github", "europarl") if slug not in held_out] != []


@pytest.mark.parametrize(
    ("shares", "name"), [((0.0001, 0.2), "val"), ((0.2, 0.0001), "test"), ((0.5, 0.4999), "train")]
)
def test_a_split_without_documents_is_refused_with_what_to_type(make_root, shares, name):
    root = make_root({"arxiv": [f"text {number}" for number in range(40)]})
    dedup(root)
    fact = rf"the split '{name}' would be empty: a share of 0\.0001 of 40 documents"
    with pytest.raises(UsageError, match=fact) as error:
        build(root, val_share=shares[0], test_share=shares[1], weights={"arxiv": 3.0})
    assert error.value.hint
    assert not (root / "plan" / MANIFEST).exists()
    assert not (root / "corpus").exists()


def test_a_split_that_nobody_asked_for_may_be_empty(make_root):
    root = make_root({"arxiv": [f"text {number}" for number in range(40)]})
    dedup(root)
    assert build(root, val_share=0.0, test_share=0.0, write_corpus=False).splits == {"train": 80, "val": 0, "test": 0}


@pytest.mark.parametrize(
    "options",
    [
        {"val_share": -0.1},
        {"test_share": 1.0},
        {"val_share": 0.5, "test_share": 0.5},
        {"val_share": float("nan")},
        {"train_shards": 0},
        {"train_shards": 10_001},
    ],
)
def test_shares_and_shards_that_make_no_sense_are_refused(ready, options):
    with pytest.raises(UsageError) as error:
        build(ready(1), **options)
    assert error.value.hint.startswith(("--val-share", "--train-shards"))


def test_another_seed_holds_out_other_documents(ready):
    root = ready(1)
    held_out = []
    for seed in (5, 6):
        build(root, seed=seed, **HALVES)
        held_out.append({row["id"] for row in planned(root) if row["split"] == "val"})
    assert held_out[0] != held_out[1]


def test_a_root_without_a_keep_list_says_what_to_type(make_root):
    root = make_root({"arxiv": ["one"]})
    with pytest.raises(UsageError, match="has no keep-list yet") as error:
        build(root)
    assert error.value.hint == f"pile dedup --root {root}"


def test_the_table_of_a_configuration_is_what_build_takes():
    config = msgspec.toml.decode(b"val_share = 0.02\nweights = { arxiv = 2.0 }\n", type=BuildConfig)
    assert (config.val_share, config.weights, config.train_shards) == (0.02, {"arxiv": 2.0}, 30)


def test_the_plan_has_the_types_of_its_schema(ready):
    root = ready(1)
    build(root, **HALVES)
    table = Plan.read(root).table
    assert table.schema.field("split").type == pa.uint8()
    assert table.schema.field("copies").type == pa.uint16()
    assert table.schema.field("ordinal").type == pa.uint32()


# Order


def test_copies_of_one_text_are_apart_in_the_corpus_and_across_its_files(make_root, read_corpus):
    root = make_root({"arxiv": [f"text {number}" for number in range(12)] + ["text 3"] * 6})
    dedup(root, method="none")
    result = build(root, weights={"arxiv": 4.0}, val_share=0.0, test_share=0.0, train_shards=5)
    texts = [text for shard in range(5) for text in read_corpus(root / "corpus" / "train" / f"{shard:02d}.jsonl.zst")]
    assert len(texts) == 72
    assert all(one != other for one, other in itertools.pairwise(texts))
    assert result.moved_copies == len(Plan.read(root).moved.row) > 5
    assert result.adjacent_copies == 0


def test_what_no_order_can_keep_apart_is_counted(make_root, read_corpus):
    root = make_root({"arxiv": ["the one", "another"]})
    dedup(root)
    result = build(root, weights={"arxiv": 1.0}, val_share=0.0, test_share=0.0, train_shards=2)
    assert (result.moved_copies, result.adjacent_copies) == (0, 0)
    root = make_root({"arxiv": ["the one"] * 7 + ["another"] * 2}, "second")
    dedup(root, method="none")
    result = build(root, weights={"arxiv": 1.0}, val_share=0.0, test_share=0.0, train_shards=2)
    assert result.adjacent_copies == 4
    texts = [text for shard in (0, 1) for text in read_corpus(root / "corpus" / "train" / f"0{shard}.jsonl.zst")]
    assert sum(one == other for one, other in itertools.pairwise(texts)) == 4


def test_a_component_without_documents_is_named_unless_nothing_of_it_is_wanted(make_root):
    root = make_root({"arxiv": [f"text {number}" for number in range(60)], "github": []})
    dedup(root)
    options = {"val_share": 0.1, "test_share": 0.1, "write_corpus": False}
    with pytest.raises(UsageError, match=r"'github' has no documents, and 1\.5 epochs of it are wanted") as error:
        build(root, weights={"arxiv": 1.0, "github": 1.5}, **options)
    assert "`github = 0`" in error.value.hint
    assert build(root, weights={"arxiv": 1.0, "github": 0}, **options).without_documents == []


def test_a_component_of_which_deduplication_left_nothing_is_listed(make_root):
    texts = [f"text {number}" for number in range(60)]
    root = make_root({"pile-cc": texts, "arxiv": texts[:5]})
    dedup(root)
    result = build(root, val_share=0.1, test_share=0.1, write_corpus=False)
    assert result.without_documents == ["arxiv"]


def test_rounding_to_whole_documents_is_said_in_bytes(ready):
    root = ready(2)
    result = build(root, **HALVES)
    deviations = 0
    for slug, counts in result.components.items():
        train = [row for row in planned(root) if row["slug"] == slug and row["split"] == "train"]
        # 2.5 and 0.5 are exact in binary.
        assert counts.target_bytes == round(WEIGHTS[slug] * sum(row["bytes"] for row in train))
        assert counts.target_bytes + counts.deviation_bytes == sum(row["bytes"] * row["copies"] for row in train)
        deviations += counts.deviation_bytes != 0
    assert result.components["pile-cc"].deviation_bytes == 0
    assert deviations == 2


@pytest.mark.parametrize("value", ["both", "", None])
def test_duplicates_are_dropped_or_kept(ready, value):
    with pytest.raises(UsageError, match="expected drop or keep"):
        build(ready(1), **HALVES, duplicates=value)


@pytest.fixture
def read_corpus():
    """(path): the texts of a corpus file."""
    return lambda path: [document.text for document in read_documents(path)]
