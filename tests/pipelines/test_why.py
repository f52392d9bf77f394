"""What is said of one document is what the tables of this very document say, whatever stages ran again since."""

from __future__ import annotations

import pytest

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.plan import PLAN_FILE, Plan, schema
from pile_toolkit.core.tables import write_table
from pipelines.build import build
from pipelines.dedup import dedup
from pipelines.download import download
from pipelines.keep_list import KEEP_LIST_FILE, REASONS, read_keep_list
from pipelines.why import explain, explain_source

WEIGHTS = {"pile-cc": 1.0, "arxiv": 2.5, "enron-emails": 0.5}
SHARES = {"val_share": 0.2, "test_share": 0.1, "write_corpus": False}


@pytest.mark.parametrize("verify", [False, True])
def test_every_document_is_told_what_the_tables_say_of_it(make_root, random_corpus, verify):
    root = make_root(random_corpus(2, 100))
    dedup(root, method="minhash", verify=verify)
    build(root, weights=WEIGHTS, **SHARES)
    components, table = read_keep_list(root)
    rows = table.to_pylist()
    ids = [f"{components[r['component']].slug}/{components[r['component']].files[r['file']]}:{r['line']}" for r in rows]
    plan = Plan.read(root)
    planned = {plan.document_id(row): row for row in range(len(plan.table))}
    for number, (document, row) in enumerate(zip(ids, rows, strict=True)):
        told = explain(root, document)
        assert (told.document, told.bytes, told.reason) == (document, row["bytes"], REASONS[row["reason"]])
        assert (told.kept, told.cluster) == (row["cluster"] == number, ids[row["cluster"]])
        members = [other for other in rows if other["cluster"] == row["cluster"]]
        assert told.cluster_bytes == sum(other["bytes"] for other in members)
        known = [other["similarity"] for other in members if other["similarity"] is not None]
        assert (told.similarity, told.least_similarity) == (row["similarity"], min(known, default=None))
        assert told.cluster_documents == sum(other["cluster"] == row["cluster"] for other in rows)
        assert told.kept == (document in planned)
        if told.kept:
            assert told.copies == plan.column("copies")[planned[document]]
            assert f"build: split {told.split}, " in told.lines[-1]
        else:
            assert (told.split, told.copies) == (None, None)
            assert told.cluster in told.lines[-2]
            assert f"a cluster of {len(members):,} documents of {told.cluster_bytes:,} bytes" in told.lines[-1]
            assert (f"similarity {told.similarity:.3f}, " in told.lines[-1]) if verify else told.similarity is None


def test_an_exact_duplicate_whose_twin_went_too_is_not_called_equal_to_what_stayed(make_root):
    long = " ".join(f"w{number}" for number in range(200))
    near = long.replace("w7 ", "W7 ")
    root = make_root({"pile-cc": [long + " end"], "arxiv": [near, near]})
    dedup(root, method="minhash")
    lines = [explain(root, f"arxiv/arxiv.jsonl.zst:{line}").lines[-2] for line in (1, 2)]
    kept = "pile-cc/pile-cc.jsonl.zst:1"
    assert sorted(lines) == [
        f"dedup: removed as exact duplicate of a near duplicate of {kept}",
        f"dedup: removed as near duplicate of {kept}",
    ]


def test_why_a_document_was_preferred_is_said(make_root):
    same = " ".join(f"w{number}" for number in range(300))
    root = make_root({"pile-cc": [same, f"{same} longer"], "arxiv": [f"{same} longest of all", f"{same} longer"]})
    ids = [
        "pile-cc/pile-cc.jsonl.zst:1",
        "pile-cc/pile-cc.jsonl.zst:2",
        *(f"arxiv/arxiv.jsonl.zst:{n}" for n in (1, 2)),
    ]
    dedup(root, method="minhash")
    size = len(same) + 7
    first = ["it is longer, " + f"{size:,} bytes", None, *2 * ["pile-cc comes before arxiv"]]
    assert [explain(root, name).preferred for name in ids] == first
    assert "that one stays because it is longer" in explain(root, ids[0]).lines[-1]
    dedup(root, method="minhash", priority=["arxiv"], verify=True)
    assert explain(root, ids[1]).preferred == "arxiv comes before pile-cc"
    kept = explain(root, ids[2])
    assert (kept.similarity, kept.preferred) == (None, None)
    assert f"first of 4 documents of {kept.cluster_bytes:,} bytes" in kept.lines[-2]
    assert f"the least similar of them {kept.least_similarity:.3f}" in kept.lines[-2]
    dedup(root, exact_on="normalized")
    assert explain(root, ids[3]).lines[1] == f"dedup: removed as exact duplicate of {ids[1]}"


def test_of_equal_documents_the_smaller_id_is_said_to_stay(make_root):
    root = make_root({"arxiv": ["Text", "text"]})
    dedup(root, exact_on="normalized")
    told = explain(root, "arxiv/arxiv.jsonl.zst:2")
    assert told.preferred == "it has the smaller id"
    assert told.lines[1] == "dedup: removed as exact duplicate of arxiv/arxiv.jsonl.zst:1"


def test_a_file_that_came_later_does_not_pass_for_another(make_root, write_source):
    root = make_root({"arxiv": {"b.jsonl.zst": ["bee"]}, "github": ["git"]})
    dedup(root)
    write_source(root.with_name("root-source"), {"arxiv": {"a.jsonl.zst": ["a text longer than that"]}})
    download(root, components=["arxiv"], source=str(root.with_name("root-source")))
    assert explain(root, "arxiv/b.jsonl.zst:1").bytes == 3
    with pytest.raises(UsageError, match=r"'arxiv' had no file a\.jsonl\.zst when duplicates were sought") as error:
        explain(root, "arxiv/a.jsonl.zst:1")
    assert "b.jsonl.zst; pile dedup looks again" in error.value.hint
    dedup(root)
    assert explain(root, "arxiv/a.jsonl.zst:1").bytes == 23


def test_a_plan_of_an_earlier_keep_list_says_nothing(make_root, write_source):
    root = make_root({"arxiv": ["one"]})
    dedup(root)
    build(root, weights={"arxiv": 7}, val_share=0.0, test_share=0.0, write_corpus=False)
    assert explain(root, "arxiv/arxiv.jsonl.zst:1").lines[-1] == "build: split train, 7 copies"
    # Now pile-cc is component 0, which arxiv is in the plan.
    write_source(root.with_name("root-source"), {"pile-cc": ["two"]})
    download(root, components=["pile-cc"], source=str(root.with_name("root-source")))
    dedup(root)
    for document in ("arxiv/arxiv.jsonl.zst:1", "pile-cc/pile-cc.jsonl.zst:1"):
        told = explain(root, document)
        assert (told.split, told.copies, told.lines[-1]) == (None, None, "build: not run since deduplication")


def test_file_names_with_odd_characters_make_ids_too(make_root):
    names = ["a:1.jsonl.zst", "a 'quote'.jsonl.zst", "[x]*.jsonl.zst", "é ü.jsonl.zst"]
    root = make_root({"arxiv": {name: [name] for name in names}})
    dedup(root)
    for name in names:
        assert explain(root, f"arxiv/{name}:1").bytes == len(name.encode())


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("arxiv", "is no document id"),
        ("arxiv/arxiv.jsonl.zst:x", "is no document id"),
        ("github/github.jsonl.zst:1", "component 'github' was not there when duplicates were sought"),
        ("arxiv/arxiv.jsonl.zst:0", "had no document on line 0"),
        (f"arxiv/arxiv.jsonl.zst:{10**40}", "had no document on line 1"),
    ],
)
def test_an_id_of_nothing_is_refused(make_root, document, says):
    root = make_root({"arxiv": ["one"]})
    dedup(root)
    with pytest.raises(UsageError, match=says):
        explain(root, document)


def test_a_line_past_the_end_is_told_which_lines_there_are(make_root):
    root = make_root({"arxiv": ["one", "two", "three"]})
    dedup(root)
    with pytest.raises(UsageError, match="no document on line 4") as error:
        explain(root, "arxiv/arxiv.jsonl.zst:4")
    assert error.value.hint == "its documents stand on lines 1 to 3, such as arxiv/arxiv.jsonl.zst:3"


def test_a_line_of_a_file_that_a_component_points_at_may_be_named_by_its_path(make_root, tmp_path, monkeypatch):
    root = make_root({"arxiv": ["one", "two"], "pile-cc": ["two"]})
    dedup(root)
    source = root.with_name("root-source")
    told = explain(root, "arxiv/arxiv.jsonl.zst:2")
    assert explain(root, f"{source / 'arxiv.jsonl.zst'}:2") == told
    monkeypatch.chdir(source)
    assert explain_source(root, "arxiv.jsonl.zst:2") == told
    # Such a path looks like an id of a component that there is not.
    monkeypatch.chdir(source.parent)
    assert explain(root, f"{source.name}/arxiv.jsonl.zst:2") == told
    # A copy of a file is another file.
    (tmp_path / "arxiv.jsonl.zst").write_bytes((source / "arxiv.jsonl.zst").read_bytes())
    with pytest.raises(UsageError):
        explain(root, f"{tmp_path / 'arxiv.jsonl.zst'}:2")


def test_tables_of_several_groups_say_the_same(make_root, random_corpus):
    root = make_root(random_corpus(5, 40))
    dedup(root, method="minhash")
    build(root, weights=WEIGHTS, **SHARES)
    plan, (components, table) = Plan.read(root), read_keep_list(root)
    ids = [plan.document_id(row) for row in range(len(plan))]
    told = [explain(root, document) for document in ids]
    planned = {name: plan.table.column(name) for name in plan.table.column_names}
    write_table(root / "plan" / PLAN_FILE, schema(), planned, plan.header, group_rows=7)
    listed = {name: table.column(name) for name in table.column_names}
    write_table(root / "dedup" / KEEP_LIST_FILE, table.schema, listed, components, group_rows=7)
    assert [explain(root, document) for document in ids] == told
    assert len(told) > 8
