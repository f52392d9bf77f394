"""Nothing held out is in train: no text, no normalized form, no near duplicate; as it was in the original."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict

import pytest

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.plan import SPLITS, Plan, iter_documents
from pile_toolkit.core.seeds import normalized
from pipelines.build import build
from pipelines.dedup import dedup
from pipelines.keep_list import open_keep_list
from pipelines.why import explain
from tests.pipelines import build_twin
from tests.pipelines.build_twin import Document

SHARES = {"val_share": 0.15, "test_share": 0.15}
WEIGHTS = {"arxiv": 2.0, "github": 1.5}


def sentence(rng: random.Random, words: int = 60) -> str:
    return " ".join(rng.choice("bcdfgklm") + rng.choice("aeiou") + str(rng.randrange(40)) for _ in range(words))


def leaking_corpus(seed: int = 1) -> dict[str, dict]:
    """Texts that stand there again with another meta, in other case and white space, or with a word more."""
    rng = random.Random(seed)
    documents: dict[str, list] = {"arxiv": [], "github": []}
    for number in range(120):
        text = sentence(rng)
        variants = [text, text, text.upper().replace(" ", "  "), f"{text} {sentence(rng, 1)}"]
        for copy, variant in enumerate(variants[: 1 + number % 4]):
            documents[rng.choice(["arxiv", "github"])].append((variant, {"id": f"{number}-{copy}"}))
    for slug in documents:
        rng.shuffle(documents[slug])
    return documents


def original_split(documents: dict[str, list], seed: int) -> dict[str, list[str]]:
    """The original's rule: copies are dealt first, each is held out or not; what train has too is known by a hash of
    its raw line, meta included."""
    rng = random.Random(seed)
    train, held_out = [], []
    for slug, epochs in WEIGHTS.items():
        for text, meta in documents[slug]:
            line = json.dumps({"text": text, "meta": {**meta, "pile_set_name": slug}})
            for _ in range(round(epochs + 0.01)):
                (held_out if rng.random() < 0.3 else train).append(line)
    known = {hashlib.sha256(line.encode()).hexdigest() for line in train}
    held_out = [line for line in held_out if hashlib.sha256(line.encode()).hexdigest() not in known]
    return {
        "train": [json.loads(line)["text"] for line in train],
        "val": [json.loads(line)["text"] for line in held_out],
    }


def similar(one: str, other: str) -> bool:
    """Whether they have nearly all runs of five words in common."""
    sets = []
    for text in (one, other):
        words = normalized(text).split()
        sets.append({tuple(words[start : start + 5]) for start in range(len(words) - 4)})
    return len(sets[0] & sets[1]) > 0.8 * len(sets[0] | sets[1])


def leaks(train: list[str], held_out: list[str]) -> dict[str, int]:
    """How many held-out texts stand in train: as they are, normalized, nearly."""
    texts, forms = set(train), {normalized(text) for text in train}
    return {
        "same": sum(text in texts for text in held_out),
        "normalized": sum(normalized(text) in forms for text in held_out),
        "near": sum(any(similar(text, other) for other in texts) for text in held_out),
    }


def texts_of(root, split: str) -> list[str]:
    return [document.text for document in iter_documents(root, split) if document.copies]


def test_the_originals_rule_leaks_here():
    found = original_split(leaking_corpus(), 42)
    assert all(count > 10 for count in leaks(found["train"], found["val"]).values())


@pytest.mark.parametrize("duplicates", ["drop", "keep"])
@pytest.mark.parametrize("method", ["none", "exact", "minhash"])
def test_no_text_that_is_held_out_stands_in_train(make_root, method, duplicates):
    root = make_root(leaking_corpus())
    dedup(root, method=method)
    build(root, weights=WEIGHTS, write_corpus=False, duplicates=duplicates, **SHARES)
    train, held_out = texts_of(root, "train"), [*texts_of(root, "val"), *texts_of(root, "test")]
    assert min(len(train), len(held_out)) > 30
    found = leaks(train, held_out)
    assert (found["same"], found["normalized"]) == (0, 0)
    # Near duplicates are known to who looked for them.
    assert (found["near"] == 0) == (method == "minhash")


@pytest.mark.parametrize("duplicates", ["drop", "keep"])
def test_a_cluster_and_all_that_equals_one_of_it_stand_on_one_side(make_root, duplicates):
    root = make_root(leaking_corpus(2))
    dedup(root, method="minhash")
    build(root, weights=WEIGHTS, write_corpus=False, duplicates=duplicates, seed=3, **SHARES)
    rows = open_keep_list(root).read()[1].to_pylist()
    documents = [
        Document(
            *(row[name] for name in ("component", "file", "line", "bytes", "text_hash", "normalized_hash")),
            row["cluster"],
            row["reason"],
        )
        for row in rows
    ]
    expected = build_twin.plan(documents, [2.0, 1.5], seed=3, duplicates=duplicates, **SHARES)
    plan = Plan.read(root)
    assert [tuple(row.values()) for row in plan.table.to_pylist()] == build_twin.as_stored(expected)
    for split in SPLITS:
        order = [(key, row, copy) for row, copy, key in zip(*map(list, plan.entries(split)), strict=True)]
        assert order == [copy[:3] for copy in build_twin.order(expected, split, 3)]
    sides = defaultdict(set)
    for name, split in zip(
        build_twin.group_names(documents), build_twin.splits(documents, 3, *SHARES.values()), strict=True
    ):
        sides[name].add(split)
    assert all(len(found) == 1 for found in sides.values())
    kept = {row["text_hash"] for row in rows if row["reason"] == 0}
    assert (len(plan) > len(kept)) == (duplicates == "keep")


def test_through_a_document_that_was_dropped_two_that_stay_are_joined(make_root):
    # A and its dropped mate share a cluster; the mate is B in other case, which exact deduplication does not see.
    rng = random.Random(5)
    texts, pairs = [], []
    for _ in range(40):
        text = sentence(rng)
        mate = f"{text} more"
        pairs.append((mate, mate.upper()))
        texts += [text, mate]
    root = make_root({"pile-cc": [mate for _, mate in pairs], "arxiv": texts})
    dedup(root, method="exact")
    build(root, weights={"pile-cc": 1.0, "arxiv": 1.0}, write_corpus=False, **SHARES)
    side = {text: split for split in SPLITS for text in texts_of(root, split)}
    assert all(side[one] == side[other] for one, other in pairs)
    assert len(set(side.values())) == 3


def test_kept_duplicates_are_the_multiset_of_the_components(make_root):
    documents = leaking_corpus(3)
    root = make_root(documents)
    dedup(root, method="minhash")
    result = build(root, weights={"arxiv": 1.0, "github": 1.0}, write_corpus=False, duplicates="keep", **SHARES)
    everything = sorted(text for each in documents.values() for text, _ in each)
    assert sorted(text for split in SPLITS for text in texts_of(root, split)) == everything
    assert result.copies == len(everything)
    # Whoever asks is told, which documents are there although they went.
    table = open_keep_list(root)
    row = next(row for row in table.read()[1].to_pylist() if row["reason"])
    component = table.header[row["component"]]
    name = f"{component.slug}/{component.files[row['file']]}:{row['line']}"
    found = explain(root, name)
    assert (found.kept, found.copies) == (False, 1)
    assert found.lines[-1] == f"build: in the corpus all the same (--duplicates keep), split {found.split}, 1 copy"
    fewer = build(root, weights={"arxiv": 1.0, "github": 1.0}, write_corpus=False, **SHARES)
    assert not fewer.up_to_date
    assert fewer.copies < result.copies
    assert explain(root, name).split is None


def test_duplicates_that_nobody_searched_for_evaluation_sets_are_not_brought_back(make_root, tmp_path):
    rng = random.Random(6)
    texts = [sentence(rng) for _ in range(40)]
    root = make_root({"arxiv": [*texts, *texts]})
    sets = tmp_path / "sets"
    sets.mkdir()
    (sets / "exam.jsonl").write_text(json.dumps({"question": texts[3]}) + "\n")
    dedup(root, method="exact", against=sets, against_action="drop")
    options = {"weights": {"arxiv": 1.0}, "write_corpus": False, "duplicates": "keep", **SHARES}
    with pytest.raises(UsageError, match="exact deduplication searches only what it keeps") as error:
        build(root, **options)
    assert "--method none --against" in error.value.hint
    dedup(root, method="none", against=sets, against_action="drop")
    build(root, **options)
    assert texts[3] not in [text for split in SPLITS for text in texts_of(root, split)]
    assert sum(len(texts_of(root, split)) for split in SPLITS) == 78
