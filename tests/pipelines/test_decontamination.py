"""What becomes of contaminated documents is what plain Python makes of the rule, whatever the workers and kills."""

from __future__ import annotations

import json
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.components import read_component
from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import hash_file
from pile_toolkit.core.plan import Plan, iter_documents
from pipelines.build import build
from pipelines.decontamination import Against
from pipelines.decontamination.cutting import decide
from pipelines.decontamination.evidence import open_evidence, read_pieces
from pipelines.decontamination.search import HIT_TYPE
from pipelines.dedup import dedup
from pipelines.keep_list import REASONS, read_keep_list
from pipelines.why import explain
from tests.pipelines.decontamination_twin import hits_of, pieces_of, read_records, sought, spans_of, words_of

SLUGS = ["pile-cc", "arxiv", "enron-emails"]
COMMON = 4


@pytest.fixture
def contaminated(make_root, tmp_path):
    """(seed, name): a root and a folder of evaluation sets whose texts stand in its documents, folded otherwise."""

    def make(seed: int, name: str = "root", documents: int = 40):
        rng = random.Random(seed)
        filler = [f"w{number}" for number in range(500)]
        sets = tmp_path / f"{name}-sets"
        sets.mkdir()
        passages = []
        for of_set in ("a.jsonl", "b.jsonl"):
            rows = [{"q": " ".join(rng.choices(["alpha", "beta", "gamma", "delta"], k=20))} for _ in range(40)]
            rows += [{"q": f"a phrase that everybody knows by heart in {of_set} and says now and then"}]
            (sets / of_set).write_text("".join(json.dumps(row) + "\n" for row in rows))
            passages += [row["q"] for row in rows[:-1]] + 8 * [rows[-1]["q"]]
        forms = (str.upper, lambda text: text.replace(" ", "\n\t"), lambda text: text.replace(" ", ", "), str)

        def document() -> str:
            parts = []
            for _ in range(rng.choice((1, 1, 2, 3, 14))):
                parts.append(" ".join(rng.choices(filler, k=rng.choice((5, 60, 120)))))
                parts.append(rng.choice(forms)(rng.choice(passages)) if rng.random() < 0.6 else "(é) Straße!")
            return " ".join([*parts, *rng.choices(filler, k=rng.choice((0, 3, 80)))])

        texts = [document() for _ in range(documents)]
        texts += [texts[0], "", passages[0]]
        parts = [[(text, {"n": n}) for n, text in enumerate(texts)][start::4] for start in range(4)]
        corpus = {"enron-emails": parts[0], "arxiv": {"b.jsonl.zst": parts[1], "a.jsonl.zst": parts[2]}}
        return make_root({**corpus, "pile-cc": parts[3]}, name), sets

    return make


def all_documents(root) -> list[tuple[str, str]]:
    """(document id, text), in the order of the keep-list."""
    return [
        (f"{slug}/{file.counts.name}:{document.line}", document.text)
        for slug in SLUGS
        for file in read_component(root, slug).files
        for document in read_documents(file.path)
    ]


def judged(root, sets, reasons: list[str], action: str, common: int = COMMON) -> dict[str, list | None]:
    """Of each contaminated document the pieces that stay, None where it goes; by the twin."""
    ngrams = set().union(*(sought(record) for path in sets.glob("*.jsonl") for record in read_records(path)))
    kept = [
        (name, text)
        for (name, text), reason in zip(all_documents(root), reasons, strict=True)
        if reason in ("kept", "contaminated")
    ]
    hits = {name: hits_of(text, ngrams) for name, text in kept}
    documents = Counter(ngram for some in hits.values() for ngram in {hit.ngram for hit in some})
    fates = {}
    for name, text in kept:
        counting = [hit for hit in hits[name] if documents[hit.ngram] <= common]
        if counting:
            fates[name] = pieces_of(text, spans_of(text), counting) if action == "cut" else None
    return fates


@pytest.mark.parametrize(("seed", "action"), [(1, "cut"), (2, "cut"), (3, "cut"), (1, "drop"), (2, "drop")])
def test_documents_are_cut_and_dropped_as_plain_python_says(contaminated, seed, action):
    root, sets = contaminated(seed)
    result = dedup(root, against=sets, against_common=COMMON, against_action=action)
    _, table = read_keep_list(root)
    reasons = [REASONS[number] for number in table.column("reason").to_pylist()]
    names = [name for name, _ in all_documents(root)]
    fates = judged(root, sets, reasons, action)
    assert {name for name, fate in fates.items() if fate is None} == {
        name for name, reason in zip(names, reasons, strict=True) if reason == "contaminated"
    }
    found = result.contamination
    assert (found.documents, found.dropped) == (len(fates), list(fates.values()).count(None))
    assert found.common_ngrams > 0
    assert result.kept == reasons.count("kept")
    assert sum(row.contaminated for row in result.components.values()) == found.dropped
    if action == "cut":
        pieces: dict[str, list] = {}
        texts = dict(all_documents(root))
        for row, start, end, size in zip(*(read_pieces(root).column(n).to_pylist() for n in range(4)), strict=True):
            pieces.setdefault(names[row], []).append((start, end))
            assert size == len(texts[names[row]][start:end].encode())
        assert pieces == {name: fate for name, fate in fates.items() if fate is not None}
        assert found.dropped > 1
        assert found.cut > 3
        lost = sum(len(texts[n]) - sum(end - start for start, end in fate or []) for n, fate in fates.items())
        assert found.characters == lost


def test_the_evidence_names_every_ngram_where_it_stands(contaminated):
    root, sets = contaminated(1)
    result = dedup(root, against=sets, against_common=COMMON)
    texts = dict(all_documents(root))
    header, table = open_evidence(root).read()
    records = {path.name: read_records(path) for path in sets.glob("*.jsonl")}
    rows = table.to_pylist()
    for row in rows:
        component = header[row["component"]]
        text = texts[f"{component.slug}/{component.files[row['file']]}:{row['line']}"]
        words = tuple(row["ngram"].split(" "))
        assert words_of(text[row["start"] : row["end"]]) == words
        assert words in sought(records[row["set"]][row["set_line"] - 1])
        assert row["field"] == "q"
    places = [(row["component"], row["file"], row["line"], row["start"]) for row in rows]
    assert places == sorted(places)
    for name, counts in result.contamination.sets.items():
        mine = [row for row in rows if row["set"] == name]
        assert counts.documents == len({(row["component"], row["file"], row["line"]) for row in mine}) > 0
        assert counts.found_ngrams == len({row["ngram"] for row in mine})


def outputs(root) -> dict[str, str]:
    """The stage's files and what is in them."""
    folder = root / "dedup"
    return {path.name: hash_file(path) for path in folder.iterdir() if path.is_file() and path.name != "timings.json"}


# Daily Dask has MinHash in tests/faults, "tcp, minhash": the same runner, and more phases.
@pytest.mark.parametrize("scheduler", ["process", pytest.param("dask", marks=pytest.mark.campaign)])
def test_workers_change_no_byte(contaminated, scheduler):
    one, sets = contaminated(4, "one")
    dedup(one, against=sets, against_common=COMMON)
    two, _ = contaminated(4, "two")
    dedup(two, against=sets, against_common=COMMON, jobs=2, scheduler=scheduler)
    assert outputs(two) == outputs(one)
    assert "pieces.parquet" in outputs(one)


def test_a_killed_search_continues_to_the_same_bytes(contaminated, run_killed):
    whole, sets = contaminated(4, "whole")
    dedup(whole, against=sets, against_common=COMMON)
    expected = outputs(whole)
    # Tasks: four files' hashes, the sets, four files' searches.
    root, _ = contaminated(4, "killed")
    call = f"dedup({str(root)!r}, against={str(sets)!r}, against_common={COMMON}, reporter=reporter)"
    assert run_killed(call, 7) == -9
    dedup(root, against=sets, against_common=COMMON)
    assert outputs(root) == expected


def test_what_is_gone_as_a_duplicate_is_not_looked_at(make_root, tmp_path):
    sets = tmp_path / "sets"
    sets.mkdir()
    (sets / "a.jsonl").write_text(json.dumps("one two three four five six seven eight nine ten eleven twelve thirteen"))
    text = "Before it. One two three four five six seven eight nine ten eleven twelve thirteen!"
    root = make_root({"pile-cc": [text, "clean"], "arxiv": [text] * 12})
    # Kept once, it is in one document and not in 13.
    result = dedup(root, against=sets)
    assert (result.contamination.documents, result.contamination.common_ngrams) == (1, 0)
    _, table = read_keep_list(root)
    assert table.column("reason").to_pylist() == [3, 0, *[1] * 12]
    assert (result.kept, result.removed, result.clusters) == (1, 13, 1)
    again = dedup(root, method="none", against=sets)
    assert (again.contamination.documents, again.contamination.common_ngrams) == (0, 1)
    assert dedup(root, method="none", against=sets, against_common=13).contamination.dropped == 13


def test_other_sets_or_settings_are_another_result_and_the_same_are_up_to_date(contaminated):
    root, sets = contaminated(1)
    assert not dedup(root, against=sets).up_to_date
    again = dedup(root, against=sets)
    assert again.up_to_date
    assert again.contamination.documents > 0
    assert not dedup(root, against=sets, against_ngram=12).up_to_date
    (sets / "c.jsonl").write_text(json.dumps("x " * 20))
    assert not dedup(root, against=sets, against_ngram=12).up_to_date
    plain = dedup(root)
    assert plain.contamination is None
    # Nothing of an earlier decontamination is left to be taken for this one's.
    assert sorted(outputs(root)) == ["clusters.parquet", "documents.parquet", "manifest.json"]


def test_a_bad_set_or_setting_is_refused_before_anything_runs(contaminated):
    root, sets = contaminated(1)
    dedup(root)
    before = outputs(root)
    for options in ({"against": sets / "nowhere"}, {"against": sets, "against_ngram": 0}):
        with pytest.raises(UsageError):
            dedup(root, **options)
    assert outputs(root) == before


WEIGHTS = {"pile-cc": 2.5, "arxiv": 1.0, "enron-emails": 1.5}
SHARES = {"val_share": 0.2, "test_share": 0.2, "train_shards": 2}


def test_pieces_are_planned_like_their_documents_and_others_are_untouched(contaminated):
    root, sets = contaminated(2)
    dedup(root, against=sets, against_common=COMMON)
    build(root, weights=WEIGHTS, **SHARES)
    cut = Plan.read(root)
    names = [name for name, _ in all_documents(root)]
    pieces: dict[str, list] = {}
    for row, start, end, _ in zip(*(read_pieces(root).column(n).to_pylist() for n in range(4)), strict=True):
        pieces.setdefault(names[row], []).append((start, end))
    texts = dict(all_documents(root))
    fates: dict[str, list] = {}
    for row in range(len(cut)):
        fates.setdefault(cut.document_id(row), []).append(row)
    splits, copies, sizes = cut.column("split"), cut.column("copies"), cut.column("bytes")
    starts, ends = (cut.pieces(name, np.arange(len(cut))) for name in ("piece_start", "piece_end"))
    for name, rows in fates.items():
        # All pieces on one side, and copied together.
        assert len({(splits[row], copies[row]) for row in rows}) == 1
        assert [(starts[row], ends[row]) for row in rows] == pieces.get(name, [(None, None)])
        assert [sizes[row] for row in rows] == [len(texts[name][starts[row] : ends[row]].encode()) for row in rows]
    assert set(pieces) <= set(fates)
    assert len({(tuple(cut.text_hashes([row])), cut.column("ordinal")[row]) for row in range(len(cut))}) == len(cut)
    found = [
        (document.id, document.text) for split in ("train", "val", "test") for document in iter_documents(root, split)
    ]
    assert sorted(found) == sorted(
        (name, texts[name][start:end]) for name in fates for start, end in pieces.get(name, [(None, None)])
    )


def test_untouched_documents_have_the_split_that_they_have_without_decontamination(contaminated):
    root, sets = contaminated(3)
    dedup(root)
    build(root, weights=dict.fromkeys(SLUGS, 1.0), **SHARES)
    before = Plan.read(root)
    plain = {before.document_id(row): before.column("split")[row] for row in range(len(before))}
    dedup(root, against=sets, against_common=COMMON)
    result = build(root, weights=dict.fromkeys(SLUGS, 1.0), **SHARES)
    after = Plan.read(root)
    for row in range(len(after)):
        assert plain[after.document_id(row)] == after.column("split")[row]
    documents = {after.document_id(row) for row in range(len(after))}
    assert result.documents == len(documents) < len(after) == result.copies
    assert sum(row.documents for row in result.components.values()) == len(documents)


def test_why_cites_the_evidence(contaminated):
    root, sets = contaminated(2)
    dedup(root, against=sets, against_common=COMMON)
    build(root, weights=WEIGHTS, **SHARES)
    reasons = [REASONS[number] for number in read_keep_list(root)[1].column("reason").to_pylist()]
    fates = judged(root, sets, reasons, "cut")
    for name, _ in all_documents(root):
        told = explain(root, name)
        assert bool(told.contamination) == (name in fates)
        if name not in fates:
            continue
        assert any("n-gram" in line and told.contamination[0].ngram in line for line in told.lines)
        if fates[name] is None:
            assert (told.kept, told.reason) == (False, "contaminated")
            assert "dedup: removed as contaminated" in told.lines
        else:
            assert (told.kept, told.pieces) == (True, len(fates[name]))
            assert told.lines[-1].endswith(f" of each of {told.pieces} pieces")


def hit_rows(cuts: list[tuple[int, int]]) -> np.ndarray:
    """Hits with these cuts, one byte a character."""
    rows = np.zeros(len(cuts), HIT_TYPE)
    for row, (start, end) in zip(rows, cuts, strict=True):
        row["cut"], row["cut_end"], row["byte"], row["byte_end"] = start, end, start, end
    return rows


cut_lists = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), min_size=1, max_size=9)


@settings(max_examples=300)
@given(cut_lists, st.integers(0, 12), st.integers(0, 6))
def test_pieces_are_what_no_cut_covers(cuts, shortest_piece, most_pieces):
    rows = sorted((start, start + size) for start, size in cuts)
    against = Against(shortest_piece=shortest_piece, most_pieces=most_pieces)
    fate = decide(hit_rows([(start, min(end, 64)) for start, end in rows]), 64, 64, against)
    stays = "".join("." if any(start <= at < end for start, end in rows) else "x" for at in range(64))
    runs, at = [], 0
    for part in stays.replace(".x", ". x").replace("x.", "x .").split(" "):
        runs += [(at, at + len(part))] if "x" in part else []
        at += len(part)
    long = [(start, end) for start, end in runs if end - start >= shortest_piece]
    if len(runs) > most_pieces or not long:
        assert fate == (None, 64)
    else:
        assert [tuple(row[:2]) for row in fate.pieces.tolist()] == long
        assert [row[2] for row in fate.pieces.tolist()] == [end - start for start, end in long]
        assert fate.characters == 64 - sum(end - start for start, end in long)
