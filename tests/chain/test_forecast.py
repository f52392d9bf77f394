"""What a run will make is said before it runs, from published counts or from what is on the disk."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess

import msgspec
import pytest

from pile_toolkit.chain.forecast import plan, refuse_what_does_not_fit
from pile_toolkit.chain.run import run
from pile_toolkit.core.documents import DocumentWriter
from pile_toolkit.core.errors import OutOfSpace, SourceUnavailable, UsageError
from pile_toolkit.core.files import tree_bytes
from pile_toolkit.core.manifest import read_manifest
from pipelines.catalog import components
from shards.stats import shard_stats
from tests.chain.small_chain import pile_command, process_environment
from tests.making import REPOSITORY

# Of a server nothing is known before it is asked.
PUBLISHED = '[download]\nfrom = "https://localhost/pile/"\n'


def test_the_whole_pile_has_its_published_size(tmp_path):
    (tmp_path / "pile.toml").write_text(PUBLISHED)
    forecast = plan(tmp_path / "pile.toml")
    assert len(forecast.components) == 22
    # Table 1 of the paper: 1254.20 GiB effective; the sum of the rounded rows is within 1 GiB.
    assert forecast.effective_bytes / 2**30 == pytest.approx(1254.2, abs=1.0)
    assert {row.counted for row in forecast.components} == {"published"}
    assert [row.documents for row in forecast.components] == [component.documents for component in components()]
    # 1254 GiB at 0.29335 tokens a byte.
    assert forecast.tokens / 1e9 == pytest.approx(395, abs=3)
    assert not (tmp_path / "pile-data").exists()


def test_targets_are_planned_with_what_is_known_of_sizes(tmp_path):
    text = '[build]\ntotal = "100GB"\nval_share = 0.1\ntest_share = 0.1\nshare = { arxiv = 0.2 }\nmax_epochs = 3\n'
    (tmp_path / "pile.toml").write_text(PUBLISHED + text)
    forecast = plan(tmp_path / "pile.toml")
    # 100 GB of train, and as often what will be held out: it stands there once.
    assert forecast.effective_bytes * 0.8 == pytest.approx(100e9, rel=1e-6)
    arxiv = next(row for row in forecast.components if row.slug == "arxiv")
    assert arxiv.effective_bytes / forecast.effective_bytes == pytest.approx(0.2)
    assert max(row.epochs for row in forecast.components) <= 3
    assert forecast.warnings == []


MIXED = """
[download]
components = ["github", "enron-emails"]
from = "source"
[build]
share = { enron-emails = 0.3 }
max_epochs = 5
train_shards = 2
val_share = 0.1
test_share = 0.1
[tokenizer]
vocab_size = 300
"""


@pytest.fixture
def repetitive(tmp_path):
    """A configuration whose share of `enron-emails` is out of reach by the bytes on the disk, and not by the text."""
    with DocumentWriter(tmp_path / "source" / "enron-emails.jsonl.zst") as writer:
        for number in range(300):
            writer.write(f"{number}: {'the same words again and again, ' * 30}", {})
    draw = random.Random(1)
    with DocumentWriter(tmp_path / "source" / "github.jsonl.zst") as writer:
        for _ in range(60):
            writer.write(draw.randbytes(1000).hex(), {})
    (tmp_path / "pile.toml").write_text(MIXED)
    return tmp_path / "pile.toml"


def test_a_plan_from_estimates_warns_of_what_a_run_then_does(repetitive, pile):
    planned = pile("plan", repetitive, "--no-calibrate")
    assert planned.returncode == 0, planned.stderr
    (warning,) = [line for line in planned.stdout.splitlines() if line.startswith("warning: ")]
    assert "by these sizes, which are estimates, with at most 5 epochs the share 0.3 of 'enron-emails'" in warning
    assert "can reach a total of" in warning
    exactly = warning.rpartition("exactly, writing no plan: ")[2]
    # The total and the share are planned with all the same.
    rows = {row.slug: row for row in plan(repetitive).components}
    whole = sum(row.effective_bytes for row in rows.values())
    assert rows["enron-emails"].effective_bytes / whole == pytest.approx(0.3, abs=1e-4)
    assert rows["enron-emails"].epochs > 5

    for command in exactly.split(" && "):
        done = pile(*command.split()[1:])
        assert done.returncode == 0, done.stderr
    assert not (repetitive.parent / "pile-data" / "plan").exists()
    done = pile("run", repetitive)
    assert done.returncode == 0, done.stderr


def test_a_plan_that_stands_there_says_exactly_what_can_be_reached(repetitive):
    root = repetitive.parent / "pile-data"
    run(repetitive)
    forecast = plan(repetitive)
    assert forecast.warnings == []
    counts = read_manifest(root / "plan").counts["components"]
    assert {row.slug: row.epochs for row in forecast.components} == {
        slug: pytest.approx(row["epochs"]) for slug, row in counts.items()
    }
    with pytest.raises(UsageError, match="can reach a total of"):
        plan(repetitive, overrides={"build.total": "1000TB"})
    # Other splits, other texts dropped, another component: what stands there is not of these.
    for change in (
        {"seed": 8},
        {"build.val_share": 0.2},
        {"dedup.method": "none"},
        {"download.components": ["github"], "build.share": {}},
    ):
        changed = plan(repetitive, overrides={"build.total": "1000TB", **change})
        assert len(changed.warnings) == 1, change


def test_components_on_this_disk_are_counted_not_looked_up(undisturbed):
    forecast = plan(undisturbed / "pile.toml")
    assert {row.counted for row in forecast.components} == {"on this disk"}
    assert all(stage.present for stage in forecast.stages)
    measured = shard_stats(undisturbed / "root" / "shards" / "train")
    # Held-out documents and the small vocabulary make the difference; the order of size must be right.
    assert forecast.effective_bytes == pytest.approx(measured.bytes, rel=0.35)


def test_the_shards_of_the_whole_pile_take_their_ids_once_and_one_component_more(tmp_path):
    (tmp_path / "pile.toml").write_text(PUBLISHED)
    forecast = plan(tmp_path / "pile.toml")
    needed = next(row.disk_bytes for row in forecast.stages if row.stage == "shards")
    # 825 GiB at 0.29335 tokens a byte and 2 bytes a token, the largest component (227 GiB) twice, an index of 10 GiB,
    # and as much while its copies are brought in order.
    assert needed / 2**30 == pytest.approx((825.18 + 227.12) * 0.29335 * 2 + 21, rel=0.01)


def test_the_disk_of_shards_covers_what_they_really_take(configure, undisturbed, tmp_path):
    forecast = plan(undisturbed / "pile.toml")
    needed = next(row.disk_bytes for row in forecast.stages if row.stage == "shards")
    files = [path for path in (undisturbed / "root" / "shards").iterdir() if path.suffix != ".json"]
    total, largest = sum(path.stat().st_size for path in files), max(path.stat().st_size for path in files)
    # Its vocabulary of 1,500 makes more tokens of a byte than the 50,257 of the forecast.
    assert needed == pytest.approx(total + largest / 2, rel=0.5)


def test_copies_that_are_written_out_take_the_effective_corpus_beside_the_stored_one(tmp_path):
    (tmp_path / "pile.toml").write_text(PUBLISHED)
    needed = plan(tmp_path / "pile.toml").materialized_disk_bytes
    # The parts (825 GiB of text) stay until all copies (1254 GiB) stand beside them; 2 bytes a token; 21 GiB of index.
    assert needed / 2**30 == pytest.approx((825.18 + 1254.20) * 0.29335 * 2 + 21, rel=0.01)
    wide = plan(tmp_path / "pile.toml", overrides={"tokenizer.vocab_size": 70_000}).materialized_disk_bytes
    assert wide / needed == pytest.approx(2, rel=0.01)


def most_on_disk(command, folder):
    """Bytes of all files below a folder at the most while a command runs, looked at without a pause."""
    most = 0
    with subprocess.Popen(command, env=process_environment(), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with contextlib.suppress(OSError):
                most = max(most, tree_bytes(folder))
    assert process.returncode == 0
    return most


def test_the_disk_of_copies_written_out_covers_what_they_really_take(undisturbed, tmp_path):
    subprocess.run(["cp", "-a", undisturbed / "root", tmp_path / "root"], check=True)
    command = pile_command(["shards", "write", "--materialize", "--root", tmp_path / "root", "--jobs", "1"])
    taken = most_on_disk(command, tmp_path / "root" / "shards")
    forecast = plan(undisturbed / "pile.toml")
    # Its vocabulary of 1,500 makes more tokens of a byte than the 50,257 of the forecast, by this much.
    ids = shard_stats(undisturbed / "root" / "shards" / "train")
    per_byte = ids.tokens / ids.bytes
    assert taken == pytest.approx(forecast.materialized_disk_bytes * per_byte / 0.29335, rel=0.35)


def test_the_first_stage_that_does_not_fit_is_named(tmp_path):
    (tmp_path / "pile.toml").write_text(PUBLISHED)
    forecast = msgspec.structs.replace(
        plan(tmp_path / "pile.toml"), free_disk_bytes=400 << 30, free_memory_bytes=1 << 40
    )
    with pytest.raises(OutOfSpace, match="stage corpus will not fit"):
        refuse_what_does_not_fit(forecast)
    refuse_what_does_not_fit(msgspec.structs.replace(forecast, free_disk_bytes=1 << 50))


def test_a_folder_is_estimated_from_its_files_which_are_not_copied(configure, undisturbed, tmp_path):
    forecast = plan(configure(tmp_path))
    measured = plan(undisturbed / "pile.toml")
    assert {row.counted for row in forecast.components} == {"estimated from the source"}
    total, counted = (sum(row.bytes for row in each.components) for each in (forecast, measured))
    assert total == pytest.approx(counted, rel=0.5)
    assert forecast.stages[0].disk_bytes == 0
    refuse_what_does_not_fit(forecast)


def test_a_component_that_a_folder_does_not_have_is_missed_before_anything_runs(configure, tmp_path):
    with pytest.raises(SourceUnavailable, match="has neither arxiv"):
        plan(configure(tmp_path), overrides={"download.components": ["arxiv"]})


def test_the_sample_is_about_as_large_as_it_is_planned_to_be(tmp_path):
    (tmp_path / "pile.toml").write_text("")
    forecast = {row.slug: row for row in plan(tmp_path / "pile.toml").components}
    assert list(forecast) == [component.slug for component in components()]
    golden = json.loads((REPOSITORY / "tests" / "golden" / "sample.json").read_text())
    for sample in golden.values():
        for slug, (documents, text_bytes, _) in sample["components"].items():
            assert forecast[slug].documents == pytest.approx(documents, rel=0.3)
            assert forecast[slug].bytes == pytest.approx(text_bytes, rel=0.3)
