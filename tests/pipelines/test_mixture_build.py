"""A mixture in the plan: what was asked for is what stands there, and what is said of it is counted from there."""

from __future__ import annotations

import json

import msgspec
import pytest

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import read_manifest
from pile_toolkit.core.plan import PLAN_FILE, SPLITS, Plan
from pipelines.build import BuildConfig, build, planned_mixture
from pipelines.dedup import dedup
from pipelines.mixture import drawn_copies

SHARES = {"val_share": 0.15, "test_share": 0.15}
SLUGS = ["pile-cc", "arxiv", "enron-emails"]
TARGETS = {"total": "60kB", "share": {"arxiv": 0.25}, "temperature": 2, "max_epochs": 50}


@pytest.fixture
def root(make_root, random_corpus):
    """A deduplicated root of 600 documents."""
    root = make_root(random_corpus(5, 600))
    dedup(root)
    return root


def train_rows(root, slug):
    """(bytes, copies) of the train documents of a component in plan order."""
    plan = Plan.read(root)
    number = [known.slug for known in plan.header.components].index(slug)
    mine = (plan.column("component") == number) & (plan.column("split") == SPLITS.index("train"))
    return plan.column("bytes")[mine].astype(int), plan.column("copies")[mine].astype(int)


def test_targets_are_met_and_the_same_epochs_as_a_table_give_the_same_plan(root):
    result = build(root, **SHARES, **TARGETS, write_corpus=False)
    written = (root / "plan" / PLAN_FILE).read_bytes()
    copied = {slug: int((sizes * copies).sum()) for slug in SLUGS for sizes, copies in [train_rows(root, slug)]}
    longest = sum(int(train_rows(root, slug)[0].max()) for slug in SLUGS)
    # Documents are copied whole, those of the smallest keys once more, and they are of all lengths.
    assert sum(copied.values()) == pytest.approx(60_000, abs=4 * longest)
    assert copied["arxiv"] / sum(copied.values()) == pytest.approx(0.25, abs=4 * longest / 60_000)
    table = {slug: row.epochs for slug, row in result.components.items()}
    assert read_manifest(root / "plan").counts["components"]["arxiv"]["epochs"] == table["arxiv"]
    again = build(root, **SHARES, weights=table, write_corpus=False)
    assert (root / "plan" / PLAN_FILE).read_bytes() == written
    assert again.components == result.components
    assert build(root, **SHARES, weights=table, write_corpus=False).up_to_date
    assert not build(root, **SHARES, **TARGETS, write_corpus=False).up_to_date


@pytest.mark.parametrize("mode", ["exact", "the-pile"])
def test_what_was_reached_is_counted_from_the_plan(root, mode):
    weights = {"pile-cc": 1.5, "arxiv": 2.3, "enron-emails": 0.4}
    result = build(root, **SHARES, weights=weights, mode=mode, write_corpus=False)
    wished, copied, once = {}, {}, {}
    for slug, epochs in weights.items():
        sizes, copies = train_rows(root, slug)
        once[slug], copied[slug], wished[slug] = sizes.sum(), (sizes * copies).sum(), epochs * sizes.sum()
    assert list(result.components) == SLUGS
    for slug, row in result.components.items():
        assert (row.epochs, row.train_bytes) == (weights[slug], once[slug])
        assert row.epochs_reached == pytest.approx(copied[slug] / once[slug])
        assert row.share == pytest.approx(wished[slug] / sum(wished.values()))
        assert row.share_reached == pytest.approx(copied[slug] / sum(copied.values()))
        assert row.deviation_bytes == copied[slug] - round(wished[slug])
    assert any(row.deviation_bytes for row in result.components.values())


def test_the_originals_drawing_is_of_train_and_held_out_documents_stand_once(root):
    result = build(root, **SHARES, weights={"default": 2.5}, mode="the-pile", write_corpus=False)
    plan = Plan.read(root)
    held_out = plan.column("split") != SPLITS.index("train")
    assert set(plan.column("copies")[held_out]) == {1}
    # The original's list has arXiv before Enron's mails, and Pile-CC last.
    order = ["arxiv", "enron-emails", "pile-cc"]
    rows = {slug: train_rows(root, slug) for slug in order}
    drawn = drawn_copies([2.5] * 3, [rows[slug][0] for slug in order])
    for slug, copies in zip(order, drawn, strict=True):
        assert rows[slug][1].tolist() == copies.tolist()
    assert sum((sizes * copies).sum() for sizes, copies in rows.values()) > 2.5 * sum(
        row.train_bytes for row in result.components.values()
    )
    # Other splits are other documents to draw from; the numbers stay those of seed 42.
    build(root, **SHARES, weights={"default": 2.5}, mode="the-pile", seed=99, write_corpus=False)
    sizes = [train_rows(root, slug)[0] for slug in order]
    assert [train_rows(root, slug)[1].tolist() for slug in order] == [
        copies.tolist() for copies in drawn_copies([2.5] * 3, sizes)
    ]


def test_of_documents_that_were_cut_the_pieces_count(make_root, tmp_path):
    words = [f"word{number}" for number in range(600)]
    texts = [" ".join(words[start : start + 120]) for start in range(0, 480, 4)]
    root = make_root({"arxiv": texts, "github": [f"{number} of my own" for number in range(40)]})
    sets = tmp_path / "sets"
    sets.mkdir()
    (sets / "exam.jsonl").write_text(json.dumps({"question": " ".join(words[200:220])}) + "\n")
    # Of texts that overlap like this every n-gram is common.
    assert dedup(root, against=str(sets), against_common=1000).contamination.cut
    result = build(root, **SHARES, weights={"default": 1}, total=50_000, share={"github": 0.01}, write_corpus=False)
    sizes, copies = train_rows(root, "arxiv")
    row = result.components["arxiv"]
    assert row.train_bytes == sizes.sum() < sum(map(len, texts)) * 0.7
    assert row.epochs == pytest.approx(0.99 * 50_000 / sizes.sum())
    assert row.deviation_bytes == (sizes * copies).sum() - round(row.epochs * sizes.sum())


def test_a_dry_run_shows_what_the_build_would_plan_and_writes_nothing(root, pile):
    options = ["--val-share", "0.15", "--test-share", "0.15", "--total", "60kB", "--share", "arxiv=25%"]
    before = sorted(root.rglob("*"))
    shown = pile("build", "--root", root, *options, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    report = json.loads(pile("build", "--root", root, *options, "--dry-run", "--json").stdout)
    assert sorted(root.rglob("*")) == before
    built = json.loads(pile("build", "--root", root, *options, "--no-write-corpus", "--json").stdout)["components"]
    assert [row["component"] for row in report["mixture"]] == SLUGS
    for row in report["mixture"]:
        real = built[row["component"]]
        assert (row["epochs"], row["share"], row["bytes"]) == (real["epochs"], real["share"], real["train_bytes"])
        line = next(line for line in shown.stdout.splitlines() if line.startswith(row["component"]))
        assert f"{row['epochs']:.6g}" in line
        assert line.endswith(f"{100 * row['share']:.2f}%")
    assert sum(row["effective_bytes"] for row in report["mixture"]) == pytest.approx(60_000, abs=2)
    # What build refuses, a dry run refuses.
    with pytest.raises(UsageError, match="'train' would be empty"):
        planned_mixture(root, weights={"default": 0})


def test_before_deduplication_a_dry_run_refuses_what_is_wrong_and_has_no_mixture(pile, tmp_path):
    empty = tmp_path / "empty"
    shown = pile("build", "--root", empty, "--total", "1GB", "--share", "arxiv=0.2", "--dry-run", "--json")
    assert json.loads(shown.stdout)["mixture"] is None
    assert pile("build", "--root", empty, "--total", "1 giga", "--dry-run").returncode == 2
    assert not empty.exists()


def test_every_key_of_the_table_is_an_option_of_the_function():
    keys = {"weights", "mode", "total", "share", "temperature", "max_epochs"}
    assert keys <= set(BuildConfig.__struct_fields__)
    assert msgspec.convert({"total": 100, "share": {"arxiv": 1}}, BuildConfig, strict=True).share == {"arxiv": 1.0}


@pytest.mark.parametrize(
    ("words", "file", "said", "hint"),
    [
        (["--weights", "w.toml"], "arxvi = 1.0", "'arxvi', which is no component", "did you mean 'arxiv'?"),
        (["--weights", "w.toml"], "arxiv = -1\ndefault = 1", "the weight of 'arxiv' is -1", "arxiv = 1.0"),
        (["--weights", "w.toml"], "arxiv = nan\ndefault = 1", "the weight of 'arxiv' is nan", "arxiv = 1.0"),
        (["--weights", "w.toml"], "arxiv = 2", "no entry for pile-cc, enron-emails", "default = 1.0"),
        (["--weights", "w.toml"], "[[", "not valid TOML", ""),
        (["--weights", "none.toml"], "", "neither 'pile' nor a file", "arxiv = 2.0"),
        (["--share", "enron-email=0.1"], "", "names 'enron-email'", "did you mean 'enron-emails'?"),
        (["--share", "arxiv=-0.1"], "", "share of 'arxiv' is -0.1", "--share arxiv=0.2"),
        (["--share", "arxiv=0.1", "--share", "arxiv=0.2"], "", "names 'arxiv' twice", "once"),
        (["--share", "arxiv"], "", "expected a component and its share", "--share arxiv=0.2"),
        (["--total", "0"], "", "the total is 0", "--total 100GB"),
        (["--temperature", "-1"], "", "the temperature is -1", "--temperature 2"),
        (["--max-epochs", "0"], "", "maximum of epochs is 0", "--max-epochs 4"),
        (["--total", "1MB", "--max-epochs", "1"], "", "can reach a total of", "--total"),
        (["--total", "1TB"], "", "would need", "a smaller --total"),
    ],
)
def test_bad_weights_and_targets_end_with_2_a_sentence_and_what_to_type(
    make_root, random_corpus, capsys, monkeypatch, tmp_path, words, file, said, hint
):
    from pile_toolkit.cli.main import main

    root = make_root(random_corpus(5, 60))
    dedup(root)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.toml").write_text(file)
    shares = ["--val-share", "0.2", "--test-share", "0.2"]
    for more in ([], ["--dry-run"]):
        with pytest.raises(SystemExit) as ended:
            main(["build", "--root", str(root), *shares, *words, *more])
        printed = capsys.readouterr()
        assert (ended.value.code, printed.out) == (2, "")
        assert printed.err.startswith("error: ")
        assert said in printed.err
        assert hint in printed.err
    assert not (root / "plan").exists()


def test_of_a_configuration_the_shares_are_taken_unless_some_are_typed(pile, tmp_path):
    (tmp_path / "pile.toml").write_text(
        '[build]\ntotal = 1000\nmode = "the-pile"\nmax_epochs = 4\n[build.share]\narxiv = 0.2\ngithub = 0.125\n'
    )
    taken = json.loads(pile("build", "--config", "pile.toml", "--dry-run", "--json", cwd=tmp_path).stdout)["parameters"]
    assert (taken["share"], taken["mode"]) == ({"arxiv": 0.2, "github": 0.125}, "the-pile")
    assert (taken["total"], taken["max_epochs"]) == ("1000", 4.0)
    typed = pile("build", "--config", "pile.toml", "--share", "arxiv=0.5", "--dry-run", "--json", cwd=tmp_path)
    assert json.loads(typed.stdout)["parameters"]["share"] == {"arxiv": 0.5}
