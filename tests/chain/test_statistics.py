"""Statistics of a root that was really made: tokens of shards are those of encoding, damage and change are noticed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import msgspec
import pytest

from pile_toolkit.chain.statistics import stats
from pile_toolkit.chain.verify import verify
from pile_toolkit.core.components import read_component
from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.plan import SPLITS, iter_documents
from pipelines.build import build
from shards.stats import shard_stats
from tests.pipelines import statistics_twin as twin
from tokenizer.encoder import Encoder


@pytest.fixture
def root(undisturbed, tmp_path):
    """A copy of the undisturbed root, without its runs and statistics."""
    return shutil.copytree(
        undisturbed / "root", tmp_path / "root", ignore=shutil.ignore_patterns("runs", "reports", "stats")
    )


def row_of(result, of, component, split=None):
    return next(row for row in result.groups if (row.of, row.component, row.split) == (of, component, split))


def written(root):
    return {path.name: path.read_bytes() for path in (root / "stats").iterdir() if path.name != "timings.json"}


def without_source(result):
    return [msgspec.structs.replace(row, tokens_from="encoded") for row in result.groups]


def test_tokens_of_the_shards_are_those_that_encoding_counts(root):
    told = stats(root)
    for split in SPLITS:
        counted = shard_stats(root / "shards" / split)
        assert row_of(told, "plan", None, split).tokens == counted.tokens
        assert row_of(told, "plan", None, split).tokens_from == "shards"
        for row in counted.components:
            assert not row.tokens or row_of(told, "plan", row.slug, split).tokens == row.tokens
    shutil.rmtree(root / "shards")
    encoded = stats(root)
    assert {row.tokens_from for row in encoded.groups} == {"encoded"}
    assert without_source(encoded) == without_source(told)


def test_every_figure_of_a_component_and_a_split_is_that_of_plain_python(root):
    told = stats(root)
    encoder = Encoder.load(root / "tokenizer" / "tokenizer.json")
    for slug in ("github", "ubuntu-irc"):
        texts = [document.text for file in read_component(root, slug).files for document in read_documents(file.path)]
        tokens = [len(encoder.encode(text)) + 1 for text in texts]
        assert twin.shown(row_of(told, "components", slug)) == twin.group(texts, tokens)
    train = [document for document in iter_documents(root) for _ in range(document.copies)]
    wanted = twin.group([document.text for document in train])
    shown = twin.shown(row_of(told, "plan", None, "train"))
    assert all(shown[name] == wanted[name] for name in ("copies", "bytes", "characters"))
    assert shown["quantiles"]["bytes"] == wanted["quantiles"]["bytes"]


def test_another_tokenizer_counts_other_tokens_and_none_an_estimate(root, tmp_path):
    own = root / "tokenizer" / "tokenizer.json"
    tables = json.loads(own.read_text())
    tables["model"]["merges"] = tables["model"]["merges"][:200]
    (tmp_path / "other.json").write_text(json.dumps(tables))
    told, other = stats(root), stats(root, tokenizer=tmp_path / "other.json")
    assert {row.tokens_from for row in other.groups} == {"encoded"}
    assert other.total("components").tokens > told.total("components").tokens
    # The same tokenizer in another place is that of the shards.
    shutil.copy(own, tmp_path / "same.json")
    assert stats(root, tokenizer=tmp_path / "same.json").groups == told.groups
    shutil.rmtree(root / "shards")
    guessed = stats(root, estimate_tokens=True)
    assert {row.tokens_from for row in guessed.groups} == {"estimate"}
    assert "tokens" not in guessed.total("components").lengths
    assert any("tokens are an estimate" in note for note in guessed.notes)


def test_statistics_that_are_there_are_told_without_the_tokenizer_being_read(root):
    stats(root)
    code = (
        "import sys; from pile_toolkit.chain.statistics import stats\n"
        "print(stats(sys.argv[1]).up_to_date, 'tokenizer.encoder' in sys.modules)"
    )
    for wanted in ("True False", "False True"):
        done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == wanted
        # Without shards everything is encoded.
        shutil.rmtree(root / "shards", ignore_errors=True)


def test_a_tokenizer_that_is_not_the_one_of_its_manifest_counts_nothing(root):
    manifest = root / "tokenizer" / "manifest.json"
    known = json.loads(manifest.read_text())
    known["counts"]["tokenizer"] = "0" * 32
    manifest.write_text(json.dumps(known))
    shutil.rmtree(root / "shards")
    with pytest.raises(CorruptData, match="its manifest says 00000"):
        stats(root)


def test_damage_to_the_tables_is_named_and_repaired_with_the_same_bytes(root):
    stats(root, jobs=1)
    before = written(root)
    assert not verify(root).faults
    assert not verify(root).stale
    (root / "stats" / "statistics.parquet").write_bytes(b"damaged")
    (fault,) = verify(root).faults
    assert "pile stats --of all" in fault.repair
    assert not verify(root, repair=True, jobs=1).faults
    assert {
        path.name: path.read_bytes() for path in (root / "stats").iterdir() if path.name != "timings.json"
    } == before


def test_statistics_of_another_plan_are_stale(root):
    stats(root)
    build(root, seed=8, val_share=0.1, test_share=0.1, train_shards=3)
    stale = {fault.stage: fault for fault in verify(root).stale}
    assert "made of another 'plan'" in stale["stats"].fact
    assert not stats(root).up_to_date
    assert "stats" not in {fault.stage for fault in verify(root).stale}


def test_the_command_prints_tables_or_json_and_writes_the_page(root, pile, tmp_path):
    shown = pile("stats", "--root", root, "--html", tmp_path / "page.html", "--jobs", "1")
    assert shown.returncode == 0, shown.stderr
    assert "in the plan" in shown.stdout
    assert "MB/s" in shown.stderr
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    again = pile("stats", "--root", root, "--json", "--jobs", "1")
    told = json.loads(again.stdout)
    assert told["up_to_date"]
    assert {row["component"] for row in told["groups"]} >= {"github", None}
    planned = pile("stats", "--root", root, "--json", "--of", "plan", "--jobs", "1")
    assert {row["of"] for row in json.loads(planned.stdout)["groups"]} == {"plan"}
    dry = pile("stats", "--root", tmp_path / "none", "--dry-run")
    assert (dry.returncode, "would write" in dry.stdout) == (0, True)
