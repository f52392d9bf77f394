"""What differs between two roots is what differs, by plain Python too, and equal ones are equal."""

from __future__ import annotations

import json
import random
import shutil

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.chain import diff_documents as by_document
from pile_toolkit.chain.diff import Change, diff, flat
from pile_toolkit.chain.diff_page import diff_page
from pile_toolkit.chain.diff_tokenizers import diff_tokenizers
from pile_toolkit.chain.lock import lock
from pile_toolkit.chain.stages import write_shards
from pile_toolkit.core.components import read_component
from pile_toolkit.core.documents import DocumentWriter, read_documents
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.plan import SPLITS, Plan
from pile_toolkit.core.seeds import text_hash
from pipelines.build import build
from pipelines.dedup import dedup
from pipelines.download import download
from shards.stats import shard_stats
from tests.chain import diff_twin as twin
from tests.making import put_plan, write_component
from tests.report.test_render import CSP, Page
from tokenizer.stage import train_on_plan

TEXTS = [f"text {number} " * (1 + number % 3) for number in range(12)]


def planned(root, slug, rows):
    """A plan whose rows are (text, split, copies), each on a line of its own."""
    component = read_component(root, slug)
    made = [
        {
            "component": 0,
            "file": 0,
            "line": line,
            "piece_start": None,
            "piece_end": None,
            "split": split,
            "copies": copies,
            "bytes": len(text),
            "text_hash": text_hash(text),
            "ordinal": 0,
        }
        for line, (text, split, copies) in enumerate(rows, 1)
    ]
    put_plan(root, [component], made)


@pytest.mark.parametrize("part_rows", [3, 1 << 20])
def test_documents_and_plans_differ_as_in_plain_python(tmp_path_factory, monkeypatch, part_rows):
    # Components are then compared in several parts, and read some rows at a time.
    monkeypatch.setattr(by_document, "PART_ROWS", part_rows)
    monkeypatch.setattr(by_document, "_ROWS_AT_ONCE", part_rows)

    draw = random.Random(part_rows)
    for _ in range(5):
        roots, files, rows = [], [], []
        for side in range(2):
            root = tmp_path_factory.mktemp(f"side{side}")
            names = draw.choice([["a.jsonl.zst"], ["a.jsonl.zst", "b.jsonl.zst"]])
            files.append({name: draw.choices(TEXTS, k=draw.randrange(9)) for name in names})
            write_component(root, "arxiv", files[-1])
            dedup(root, method="none")
            texts = draw.sample(TEXTS, draw.randrange(12))
            rows.append([(text, draw.randrange(3), draw.randrange(4)) for text in texts])
            planned(root, "arxiv", rows[-1])
            roots.append(root)
        (row,) = by_document.diff_documents(*roots, planned=True)
        wanted = twin.documents(*files) | twin.plans(*rows)
        assert {name: getattr(row, name) for name in wanted} == wanted
        assert row.differs == any(
            value for name, value in wanted.items() if name not in ("left_copies", "right_copies")
        )
        assert (row.left_documents, row.right_documents) == tuple(sum(map(len, side.values())) for side in files)


@pytest.fixture(scope="module")
def roots(source, tmp_path_factory):
    """Two roots up to the shards: another seed, another tokenizer, one document changed, one removed, one added."""
    made = []
    for side in range(2):
        folder = tmp_path_factory.mktemp("diff")
        inputs = folder / "source"
        for slug in ("enron-emails", "dm-mathematics"):
            texts = [document.text for document in read_documents(source / f"{slug}.jsonl.zst")]
            if side and slug == "enron-emails":
                texts[3] += " changed"
                texts = [*texts[:-2], texts[-1], "a new one"]
            with DocumentWriter(inputs / f"{slug}.jsonl.zst") as writer:
                for text in texts:
                    writer.write(text, {})
        root = folder / "root"
        download(root, components=["enron-emails", "dm-mathematics"], source=str(inputs))
        dedup(root)
        build(root, seed=1 + side, val_share=0.1, test_share=0.1, train_shards=2)
        train_on_plan(root, vocab_size=400 + 50 * side)
        write_shards(root)
        made.append(root)
    return made


def test_a_root_and_its_copy_are_equal(undisturbed, tmp_path, pile):
    copy = shutil.copytree(undisturbed / "root", tmp_path / "copy")
    assert diff(undisturbed / "root", copy).equal
    lock(undisturbed / "root", tmp_path / "pile.lock")
    done = pile("diff", tmp_path / "pile.lock", copy, "--json")
    assert (done.returncode, json.loads(done.stdout)["equal"]) == (0, True)
    assert "are equal" in pile("diff", tmp_path / "pile.lock", tmp_path / "pile.lock").stdout


def test_all_that_differs_is_told_of_two_roots(roots):
    found = diff(*roots)
    assert not found.equal
    assert {(item.name, item.left, item.right) for item in found.parameters} == {
        ("plan.seed", 1, 2),
        ("tokenizer.vocab_size", 400, 450),
    }
    assert [item.name for item in found.inputs] == ["components/enron-emails/enron-emails.jsonl.zst"]
    by_slug = {row.slug: row for row in found.components}
    mails = by_slug["enron-emails"]
    # The new one stands on a line of its own at the end, where another stood that moved up.
    assert (mails.added, mails.removed, mails.changed) == (1, 1, 1)
    plans = [Plan.read(root) for root in roots]
    for number, slug in enumerate(item.slug for item in plans[0].header.components):
        rows = []
        for plan in plans:
            mine = plan.column("component") == number
            hashes = [value for value, here in zip(plan.text_hashes(range(len(plan))), mine, strict=True) if here]
            rows.append(
                list(
                    zip(hashes, plan.column("split")[mine].tolist(), plan.column("copies")[mine].tolist(), strict=True)
                )
            )
        wanted = twin.plans(*rows)
        assert {name: getattr(by_slug[slug], name) for name in wanted} == wanted
        assert wanted["moved"]


def test_tokens_and_merges_that_differ_are_told(roots):
    found = diff(*roots)
    for split in SPLITS:
        for slug in ("enron-emails", "dm-mathematics"):
            tokens = [
                next((row.tokens for row in shard_stats(root / "shards" / split).components if row.slug == slug), 0)
                for root in roots
            ]
            told = next(((row.left, row.right) for row in found.shards if (row.split, row.slug) == (split, slug)), None)
            assert told == (tuple(tokens) if tokens[0] != tokens[1] else None)
    models = [json.loads((root / "tokenizer" / "tokenizer.json").read_text()) for root in roots]
    merges = [
        [merge if isinstance(merge, str) else " ".join(merge) for merge in model["model"]["merges"]] for model in models
    ]
    first = next(n for n in range(len(merges[1])) if merges[0][n : n + 1] != merges[1][n : n + 1])
    tokens = [set(model["model"]["vocab"]) | {token["content"] for token in model["added_tokens"]} for model in models]
    told = found.tokenizer
    assert told.first_merge == first + 1
    assert told.first_merge_right == merges[1][first]
    assert (told.left_merges, told.right_merges) == tuple(map(len, merges))
    assert (told.only_left, told.only_right) == (len(tokens[0] - tokens[1]), len(tokens[1] - tokens[0]))
    assert told.merges_only_right == len(set(merges[1]) - set(merges[0]))


def test_a_tokenizer_whose_merges_end_earlier_differs_where_they_end(roots, tmp_path):
    path = roots[0] / "tokenizer" / "tokenizer.json"
    tables = json.loads(path.read_text())
    left_out = tables["model"]["merges"].pop()
    (tmp_path / "shorter.json").write_text(json.dumps(tables))
    found = diff_tokenizers(path, tmp_path / "shorter.json")
    count = found.left_merges
    assert (found.first_merge, found.first_merge_right, found.merges_only_left) == (count, None, 1)
    assert found.first_merge_left == (left_out if isinstance(left_out, str) else " ".join(left_out))
    assert diff_tokenizers(path, path).first_merge is None
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(CorruptData, match=r"not a tokenizer.json"):
        diff_tokenizers(path, tmp_path / "none.json")


def test_the_command_says_it_short_and_in_full_and_ends_with_1(roots, pile):
    short = pile("diff", *roots)
    assert short.returncode == 1
    assert "plan.seed 1 / 2" in short.stdout
    assert "1 added, 1 removed, 1 changed" in short.stdout
    full = pile("diff", *roots, "--details")
    assert full.returncode == 1
    for said in ("tokenizer.vocab_size", "train to val", "merges only there", "tokens of both have other ids"):
        assert said in full.stdout
    assert len(full.stdout.splitlines()) > 2 * len(short.stdout.splitlines())


def test_the_page_has_every_difference_and_a_bar_for_each_component(roots, pile, tmp_path):
    found = diff(*roots)
    done = pile("diff", *roots, "--html", tmp_path / "diff.html")
    assert (done.returncode, str(tmp_path / "diff.html") in done.stdout) == (1, True)
    html = (tmp_path / "diff.html").read_text()
    assert html == diff_page(found)
    page = Page(html)
    told = {row[0]: tuple(row[1:]) for row in page.tables["Parameters"]}
    assert (told["plan.seed"], told["tokenizer.vocab_size"]) == (("1", "2"), ("400", "450"))
    assert len(page.tables["Outputs"]) == 1 + len(found.outputs)
    for row in found.components:
        cells = page.row("Components that differ", row.slug)
        assert [cells[name] for name in ("added", "removed", "changed")] == [
            f"{count:,}" for count in (row.added, row.removed, row.changed)
        ]
        if row.moved:
            moved = page.row("Texts on another side of a split", row.slug)
            assert {way: int(count) for way, count in moved.items() if way != "component" and count != "0"} == row.moved
    sides = [(row.slug, f"{row.left_copies:,} / {row.right_copies:,}") for row in found.components if row.copies_differ]
    assert sides
    for slug, text in sides:
        assert text in page.texts, slug
    assert [row[1] for row in page.tables["Outputs"][1:]] == [(one.left or "–")[:8] for one in found.outputs]
    mails = next(row for row in found.components if row.slug == "enron-emails")
    assert f"enron-emails: {mails.changed} changed" in page.texts
    shards = [(row[1], row[0], row[2], row[3]) for row in page.tables["Tokens in the shards, where they differ"][1:]]
    assert shards == [(row.split, row.slug, f"{row.left:,}", f"{row.right:,}") for row in found.shards]
    for rows in page.tables.values():
        assert len({len(row) for row in rows}) == 1


def test_the_page_shows_names_and_does_not_obey_them(roots):
    script = "<script>alert(1)</script>"
    change = Change(name=script, left=script, right=None)
    found = msgspec.structs.replace(diff(*roots), left=script, parameters=[change], outputs=[change])
    html = diff_page(found)
    assert script not in html
    assert Page(html).texts.count(script) == 4
    # A hash is shown in part.
    assert Page(html).texts.count(script[:8]) == 1
    assert CSP.search(html)
    assert "http" not in html.replace("http-equiv", "")


def test_the_page_of_equal_roots_says_so(undisturbed):
    html = diff_page(diff(undisturbed / "root", undisturbed / "root"))
    assert "They are equal" in html
    assert Page(html).count("table") == 0


def test_of_lock_files_hashes_and_parameters_are_told_and_the_rest_is_said_to_be_missing(roots, tmp_path):
    for number, root in enumerate(roots):
        lock(root, tmp_path / f"{number}.lock")
    whole, found = diff(*roots), diff(tmp_path / "0.lock", tmp_path / "1.lock")
    assert (found.parameters, found.inputs, found.outputs) == (whole.parameters, whole.inputs, whole.outputs)
    assert found.components == []
    assert any("two roots only" in note for note in found.notes)
    assert diff(roots[0], tmp_path / "0.lock").equal
    # Another library that writes the same bytes makes no other corpus.
    tables = json.loads((tmp_path / "0.lock").read_text())
    tables["versions"]["pyarrow"] = "1.0"
    (tmp_path / "old.lock").write_text(json.dumps(tables))
    older = diff(tmp_path / "old.lock", tmp_path / "0.lock")
    assert older.equal
    assert [(item.name, item.left) for item in older.versions] == [("pyarrow", "1.0")]


def test_stages_that_only_one_side_has_and_recipes_are_told(undisturbed, tmp_path):
    copy = shutil.copytree(undisturbed / "root", tmp_path / "copy")
    manifest = copy / "runs" / "debug" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"steps": 12', '"steps": 13'))
    (manifest.parent / "timings.json").unlink()
    shutil.rmtree(copy / "shards")
    found = diff(undisturbed / "root", copy)
    assert [(item.name, item.left, item.right) for item in found.runs if item.name.endswith("steps")][:1] == [
        ("runs/debug.steps", 12, 13)
    ]
    assert ("shards", "finished", None) in [(item.name, item.left, item.right) for item in found.parameters]
    shutil.rmtree(copy / "dedup")
    assert any("no keep-list" in note for note in diff(undisturbed / "root", copy).notes)
    shutil.rmtree(copy / "runs")
    assert [(item.name, item.right) for item in diff(undisturbed / "root", copy).runs] == [("runs/debug", None)]


def test_what_is_neither_root_nor_lock_is_said(undisturbed, tmp_path):
    with pytest.raises(UsageError, match="neither a root nor a lock file"):
        diff(undisturbed / "root", tmp_path / "nothing")
    with pytest.raises(UsageError, match="holds no finished stage"):
        diff(tmp_path, undisturbed / "root")
    with pytest.raises(CorruptData, match="not a lock file"):
        diff(undisturbed / "pile.toml", undisturbed / "root")


@given(
    st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8)
)
def test_tables_in_tables_become_dotted_keys(value):
    def twin_of(item, path=()):
        if isinstance(item, dict):
            return [pair for name, inner in item.items() for pair in twin_of(inner, (*path, name))]
        return [(".".join(path), item)]

    assert flat(value) == dict(twin_of(value))


def test_stages_of_an_earlier_plan_are_named_and_no_difference_of_their_own(undisturbed, tmp_path):
    copy = tmp_path / "root"
    shutil.copytree(undisturbed / "root", copy, symlinks=True)
    assert diff(undisturbed / "root", copy).notes == []
    build(copy, seed=99, val_share=0.1, test_share=0.1, write_corpus=False)
    found = diff(undisturbed / "root", copy)
    (note,) = found.notes
    assert note.startswith(f"in {copy} not made of what stands there now: ")
    stale = note.partition(": ")[2].partition(";")[0].split(", ")
    assert {"tokenizer", "shards"} <= set(stale)
    assert "dedup" not in stale
    assert (found.tokenizer, found.shards) == (None, [])
