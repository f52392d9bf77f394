"""New weights in a run, from the mix to the statistics: what `pile train --new-phase` trains, publishes and shows."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import pyarrow.parquet as pq
import pytest

from pile_toolkit.chain.mix import mix_shards
from pile_toolkit.chain.orders import Order
from pile_toolkit.chain.stages import train
from pile_toolkit.chain.study import find_text, show_samples, study
from pile_toolkit.chain.verify import verify
from pile_toolkit.cli.main import cli
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import read_manifest
from pile_toolkit.report.shards import shard_page
from shards.phases import PHASES, read_phases
from tests.chain.small_chain import DOCUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pile_toolkit.core.console import Reporter
    from shards.index import SampleIndex
    from trainer.result import TrainStageResult

WEIGHTS = {**dict.fromkeys(DOCUMENTS, 1.0), "github": 4.0, "ubuntu-irc": 0.0}
BATCH, STEPS, LENGTH, FIRST = 4, 6, 64, 12
SMALL = {
    "model.layers": 1,
    "model.hidden_size": 32,
    "model.feed_forward_size": 64,
    "data.sequence_length": LENGTH,
    "data.order": "stateless",
    "checkpoint.interval": 1,
    "validation.batches": 1,
}


class EndsAt:
    """A reporter that ends the training when a step is done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def say(self, text: str) -> None:
        pass

    @contextlib.contextmanager
    def progress(self, label: str, *, total: int, unit: str) -> Iterator[Callable[..., None]]:
        done = 0

        def advance(steps: int, note: str = "") -> None:
            nonlocal done
            done += steps
            if done == self.step:
                raise KeyboardInterrupt

        yield advance


def go_on(root: Path, *, reporter: Reporter = SILENT, **options) -> TrainStageResult:
    return train("debug", root=root, name="two", steps=STEPS, overrides=SMALL, reporter=reporter, **options)


@pytest.fixture(scope="module")
def root(undisturbed, tmp_path_factory) -> Path:
    """A root with a run that took new weights after its third step. Read it only."""
    root = tmp_path_factory.mktemp("phases") / "root"
    shutil.copytree(undisturbed / "root", root)
    with pytest.raises(KeyboardInterrupt):
        go_on(root, reporter=EndsAt(4))
    mix_shards(root, "more-code", weights=WEIGHTS)
    with pytest.raises(UsageError, match=r"cannot be continued with .*mixes/more-code/train"):
        go_on(root, mix="more-code")
    go_on(root, mix="more-code", new_phase=True)
    return root


@pytest.fixture(scope="module")
def samples(root) -> list[tuple[SampleIndex, int]]:
    """Every sample of that run: the index, made here, and the number in it."""
    first, second = read_phases(root / "runs" / "two").phases
    assert [first.first_sample, second.first_sample] == [0, FIRST]
    assert [first.prefix, second.prefix] == [str(root / "shards/train"), str(root / "mixes/more-code/train")]
    indexes = [one.open() for one in (first, second)]
    return [(indexes[number >= FIRST], number % FIRST) for number in range(STEPS * BATCH)]


def test_a_run_of_two_phases_is_published_verified_and_up_to_date(root):
    manifest = read_manifest(root / "runs" / "two")
    assert PHASES in {output.path for output in manifest.outputs}
    assert manifest.key.inputs == {"shards": read_manifest(root / "mixes/more-code").digest()}
    assert [one[0] for one in manifest.key.parameters["phases"]] == [0, FIRST]
    assert go_on(root, mix="more-code").up_to_date
    assert go_on(root, mix="more-code", new_phase=True).up_to_date
    result = verify(root)
    assert (result.faults, [one.stage for one in result.stale]) == ([], ["report"])


def test_neither_the_first_shards_nor_a_new_phase_come_into_a_finished_run(root):
    before = {path: path.stat().st_mtime_ns for path in (root / "runs" / "two").rglob("*")}
    with pytest.raises(UsageError, match=f"from sample {FIRST} on, it cannot be continued"):
        go_on(root)
    with pytest.raises(UsageError, match="has finished its 6 steps"):
        go_on(root, new_phase=True)
    assert {path: path.stat().st_mtime_ns for path in (root / "runs" / "two").rglob("*")} == before
    assert go_on(root, mix="more-code").up_to_date


def test_what_is_damaged_in_a_run_of_two_phases_is_named_and_not_made_by_one_command(root, tmp_path):
    shutil.copytree(root, tmp_path / "root")
    (tmp_path / "root" / "runs" / "two" / "metrics.jsonl").write_bytes(b"junk")
    (fault,) = verify(tmp_path / "root").faults
    assert fault.repair == "restore it: the run was trained in 2 phases, by as many commands"


def test_a_run_is_stale_once_the_shards_of_any_phase_are_gone(root, tmp_path):
    for lost in ("shards", "mixes/more-code"):
        shutil.rmtree(tmp_path / "root", ignore_errors=True)
        shutil.copytree(root, tmp_path / "root")
        shutil.rmtree(tmp_path / "root" / lost)
        (stale,) = [one for one in verify(tmp_path / "root").stale if one.path.endswith("runs/two")]
        assert stale.fact == "was trained on shards that are no longer there"


def test_steps_and_samples_of_a_run_are_those_of_their_phase(root, samples):
    for step in (3, 4):
        shown = show_samples(root / "shards/train", root=root, step=step, order=Order(run="two"), as_ids=True)
        assert shown.first_sample == (0 if step == 3 else FIRST)
        for sample in shown.shown:
            index, inside = samples[sample.sample]
            assert [token for piece in sample.pieces for token in piece.ids] == index.tokens(inside).tolist()
            assert [piece.document for piece in sample.pieces] == [one.document for one in index.provenance(inside)]


def test_a_text_is_found_in_every_phase_by_the_sample_numbers_of_the_run(root, samples):
    index, inside = samples[FIRST + 5]
    wanted = index.tokens(inside)[3:6].tolist()
    found = find_text(root / "shards/train", wanted, root=root, order=Order(run="two"), limit=1000)
    (later,) = found.later_phases
    assert (found.first_sample, later.first_sample) == (0, FIRST)
    for phase, numbers in ((found, range(FIRST)), (later, range(FIRST, STEPS * BATCH))):
        held = {one.sample for one in phase.samples if one.whole}
        walked = set()
        for number in numbers:
            index, inside = samples[number]
            for sequence, start, stop in index.pieces(inside):
                ids = index.dataset[sequence][start:stop].tolist()
                walked |= {number} if any(ids[k : k + 3] == wanted for k in range(len(ids) - 2)) else set()
        assert held == walked
        assert phase.steps == [one.sample // BATCH + 1 for one in phase.samples]
    assert FIRST + 5 in {one.sample for one in later.samples}


def test_statistics_of_a_run_count_every_document_over_all_phases(root, samples, tmp_path):
    read: Counter[str] = Counter()
    for index, inside in samples:
        missing = LENGTH
        for origin in index.provenance(inside):
            taken = min(origin.tokens[1] - origin.tokens[0], missing)
            read[origin.document] += taken
            missing -= taken
    path = tmp_path / "documents.parquet"
    found = study(root / "shards/train", root=root, run="two", exposures=path)
    rows = pq.read_table(path).to_pylist()
    assert {f"{row['component']}/{row['file']}:{row['line']}": row["read"] for row in rows if row["read"]} == +read
    assert sum(row["read"] for row in rows) == STEPS * BATCH * LENGTH
    assert found.prefix == str(root / "mixes/more-code/train")
    assert [(one.first_sample, one.samples) for one in found.phases] == [(0, FIRST), (FIRST, STEPS * BATCH - FIRST)]
    assert (found.documents.documents, found.documents.read) == (len(rows), len(+read))
    assert max(row["times"] for row in rows) == found.documents.most[0].times == found.documents.quantiles["1"]
    by_component: Counter[str] = Counter()
    for document, count in read.items():
        by_component[document.partition("/")[0]] += count
    assert {row.slug: row.tokens for row in found.run.components if row.tokens} == +by_component
    # Not in the last phase's weights, and read before.
    assert by_component["ubuntu-irc"] > 0
    page = shard_page(found)
    assert f"{found.documents.read:,} of {found.documents.documents:,} documents" in page
    assert "more-code/train" in page


def test_a_mix_that_was_renamed_since_is_found_by_its_content(root, samples, tmp_path):
    shutil.copytree(root, tmp_path / "root")
    (tmp_path / "root/mixes/more-code").rename(tmp_path / "root/mixes/code")
    shown = show_samples("", root=tmp_path / "root", index=FIRST + 1, order=Order(run="two"), as_ids=True)
    index, inside = samples[FIRST + 1]
    assert [token for piece in shown.shown[0].pieces for token in piece.ids] == index.tokens(inside).tolist()
    assert shown.prefix == str(tmp_path / "root/mixes/code/train")
    assert msgspec.json.decode(msgspec.json.encode(shown))["first_sample"] == FIRST


@pytest.fixture
def say(capsys) -> Callable[..., str]:
    """Runs a command in this process and returns what it printed."""

    def call(*arguments: object) -> str:
        cli.main([*map(str, arguments)], standalone_mode=False)
        printed = capsys.readouterr()
        return printed.out + printed.err

    return call


def test_the_commands_of_the_help_take_new_weights_into_a_run(undisturbed, say, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(undisturbed / "root", root)
    with pytest.raises(KeyboardInterrupt):
        go_on(root, reporter=EndsAt(4))
    weights = tmp_path / "weights.toml"
    weights.write_text("".join(f'"{slug}" = {weight}\n' for slug, weight in WEIGHTS.items()))
    say("shards", "mix", "more-code", "--weights", weights, "--root", root)
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    command = ["train", "debug", "--name", "two", "--steps", STEPS, "--mix", "more-code", "--root", root, *settings]
    with pytest.raises(UsageError) as error:
        say(*command)
    assert error.value.hint.startswith("--new-phase reads them from the newest checkpoint on")
    assert "phase 2 of the run" in say(*command, "--new-phase", "--cache-dir", tmp_path / "cache")
    assert list((tmp_path / "cache").glob("*.index"))
    assert "up to date" in say(*command)


def test_what_a_run_read_is_printed_phase_by_phase(root, say):
    stats = say("shards", "stats", "--run", "two", "--root", root)
    assert re.search(r"^[\d,]+ of [\d,]+ documents are read; how often: least 0\.", stats, re.MULTILINE)
    assert "phases of the run" in stats
    assert f"phase from sample {FIRST} on" in say("shards", "show", "--run", "two", "--step", 5, "--root", root)
    found = say("shards", "show", "--run", "two", "--find", " the", "--limit", 3, "--root", root)
    assert f"=== from sample {FIRST} on: {root}/mixes/more-code/train" in found
    with pytest.raises(UsageError, match="how often documents are read is counted of a run"):
        say("shards", "stats", "--exposures", root / "none.parquet", "--root", root)
