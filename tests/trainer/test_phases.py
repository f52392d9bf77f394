"""New weights come into a run that is under way: what it reads, records, repeats after a kill, and refuses."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from pile_toolkit.core.errors import CorruptData, UsageError
from shards.exposures import exposures
from shards.format import data_path, index_path, write_index
from shards.phased import PhasedSamples
from shards.phases import PHASES, Phases, phase_of, read_phases, write_phases
from shards.provenance import provenance_path, write_provenance
from tests.shards.twin import twin_samples
from trainer.checkpoint import find_checkpoints, read_checkpoint
from trainer.config import resolved
from trainer.data import BatchPlan, SampleDataset, batch_loader, open_phases
from trainer.metrics import METRICS, read_rows
from trainer.model import GPTNeoX, initialize
from trainer.optim import build_optimizer, learning_rate
from trainer.train import train

VOCAB_SIZE = 300
LENGTH, BATCH, STEPS = 16, 8, 10
STATELESS = {
    "data.order": "stateless",
    "train.steps": STEPS,
    "checkpoint.interval": 2,
    "checkpoint.keep_last": 10,
    "validation.interval": 3,
}
# Some documents twice or more; number 7 only in the later weights, number 3 only in the first.
ENTRIES = {"shards": [4, 0, 3, 2, 1, 0, 5, 6, 8, 9], "mixes/more": [9, 7, 7, 2, 0, 7, 1, 8, 4, 6, 5, 7]}


def written_documents() -> list[list[int]]:
    random = np.random.default_rng(3)
    return [random.integers(1, VOCAB_SIZE, size).tolist() for size in (40, 7, 90, 30, 5, 61, 12, 33, 80, 25)]


DOCUMENTS = written_documents()


def sequences(weights: str) -> list[list[int]]:
    return [DOCUMENTS[entry] for entry in ENTRIES[weights]]


def write_shards(folder: Path, entries: list[int]) -> None:
    """Train and val shards over the documents, with the provenance of each entry."""
    folder.mkdir(parents=True)
    starts = [2 * sum(map(len, DOCUMENTS[:number])) for number in range(len(DOCUMENTS))]
    # Held-out shards differ as well, so that one sees which are used.
    for split, numbers in (("train", entries), ("val", entries[:3])):
        prefix = folder / split
        data_path(prefix).write_bytes(b"".join(np.array(ids, "<u2").tobytes() for ids in DOCUMENTS))
        write_index(
            index_path(prefix),
            dtype="u2",
            sizes=[len(DOCUMENTS[number]) for number in numbers],
            pointers=[starts[number] for number in numbers],
            doc_idx=range(len(numbers) + 1),
        )
        write_provenance(
            provenance_path(prefix),
            component=[0] * len(numbers),
            file=[0] * len(numbers),
            line=[number + 1 for number in numbers],
            copy=[numbers[:place].count(number) for place, number in enumerate(numbers)],
            bytes=[100] * len(numbers),
            components=["arxiv"],
            files={"arxiv": ["a"]},
        )


@pytest.fixture
def make_root(tmp_path):
    """Makes `name/` with shards and a mix of other weights, and returns it."""

    def make(name: str) -> Path:
        for folder, entries in ENTRIES.items():
            write_shards(tmp_path / name / folder, entries)
        return tmp_path / name

    return make


@pytest.fixture
def root(make_root) -> Path:
    return make_root("root")


@pytest.fixture
def go_on(tiny_recipe):
    """Trains runs/x of a root on some of its weights; with `until` it is ended once that step is done."""

    def call(root: Path, weights: str, *, until: int | None = None, overrides: dict | None = None, **options) -> str:
        said: list[str] = []

        def ended(metrics) -> None:
            if metrics.step == until:
                raise KeyboardInterrupt

        recipe = tiny_recipe(STATELESS | (overrides or {}))
        options = {"vocab_size": VOCAB_SIZE, "on_step": ended, "say": said.append, **options}
        try:
            train(recipe, shards=root / weights, run=root / "runs" / "x", **options)
        except KeyboardInterrupt:
            assert until is not None
        return "\n".join(said)

    return call


def files_of(run: Path) -> dict[str, bytes]:
    """All that depends on the training alone."""
    paths = [path for path in run.rglob("*") if path.is_file() and not path.name.startswith("timings")]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


def expected_samples(phases, samples: int) -> list[tuple[str, list[tuple[int, int]]]]:
    """(weights, (sequence, offset) of each id) of every sample of a run, phase by phase, in plain Python."""
    found = []
    for phase, end in zip(phases, [*(phase.first_sample for phase in phases[1:]), samples], strict=True):
        weights = next(name for name in ENTRIES if f"/{name}/" in phase.prefix)
        request = {"key": phase.index, "seed": phase.seed, "samples": end - phase.first_sample}
        found += [(weights, ids) for ids in twin_samples(sequences(weights), LENGTH, **request)]
    return found


def test_a_run_of_two_phases_trains_on_the_batches_of_one_after_those_of_the_other(root, go_on, tiny_recipe):
    run = root / "runs" / "x"
    go_on(root, "shards", until=5)
    said = go_on(root, "mixes/more", new_phase=True)
    assert "mixes/more/train is read from sample 32 on, phase 2 of the run" in said
    record = json.loads((run / PHASES).read_text())["phases"]
    assert [(one["first_sample"], one["prefix"], one["samples"]) for one in record] == [
        (0, "../../shards/train", 80),
        (32, "../../mixes/more/train", 48),
    ]
    phases = read_phases(run)
    expected = [[DOCUMENTS[ENTRIES[w][s]][o] for s, o in ids] for w, ids in expected_samples(phases.phases, 80)]
    samples = open_phases(phases, samples=80)
    assert samples.batch(range(80)).tolist() == expected
    assert [samples.tokens(number).tolist() for number in range(80)] == expected

    # What the checkpoints were trained on is what a plain loop over these batches gives.
    recipe = resolved(tiny_recipe(STATELESS), steps=None, vocab_size=VOCAB_SIZE)
    model = GPTNeoX(recipe.model)
    initialize(model, recipe.model, seed=recipe.train.seed)
    optimizer = build_optimizer(model, recipe.optimizer)
    losses = []
    for step in range(1, STEPS + 1):
        ids = torch.tensor(expected[(step - 1) * BATCH : step * BATCH])
        loss = model(ids[:, :-1], ids[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.optimizer.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe.optimizer, update=step, steps=STEPS)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert [row["loss"] for row in read_rows(run / METRICS) if "loss" in row] == pytest.approx(losses, rel=1e-5)


def test_exposures_of_a_run_are_the_ids_counted_by_hand(root, go_on):
    go_on(root, "shards", until=5)
    go_on(root, "mixes/more", new_phase=True)
    phases = read_phases(root / "runs" / "x")
    read = Counter(
        ENTRIES[weights][sequence] for weights, ids in expected_samples(phases.phases, 80) for sequence, _ in ids[:-1]
    )
    found = exposures(phases, 80)
    assert {found.document(row): int(found.read[row]) for row in range(len(found.read))} == {
        f"arxiv/a:{number + 1}": read[number] for number in range(len(DOCUMENTS))
    }
    assert read[7] > read[3] > 0


def test_killed_between_the_record_and_its_first_checkpoint_it_ends_with_the_same_bytes(
    make_root, go_on, train_processes
):
    undisturbed, disturbed = make_root("undisturbed"), make_root("elsewhere/disturbed")
    for root in (undisturbed, disturbed):
        go_on(root, "shards", until=5)
    go_on(undisturbed, "mixes/more", new_phase=True)
    run = disturbed / "runs" / "x"
    process = train_processes(run, overrides=STATELESS, shards=disturbed / "mixes/more", new_phase=True, wait=False)
    assert process.stdout.readline() == "5\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [one.step for one in find_checkpoints(run / "checkpoints")] == [2, 4]
    assert len(read_phases(run).phases) == 2
    # The record says enough: no option is needed any more.
    go_on(disturbed, "mixes/more")
    assert files_of(run) == files_of(undisturbed / "runs" / "x")


def test_a_checkpoint_says_which_shards_it_has_read_and_no_more(root, go_on):
    go_on(root, "shards", until=5)
    go_on(root, "mixes/more", new_phase=True)
    first, second = read_phases(root / "runs" / "x").phases
    for checkpoint in find_checkpoints(root / "runs" / "x" / "checkpoints"):
        alone = checkpoint.step <= 4
        assert checkpoint.training["shards"] == (first if alone else second).shards
        listed = [[one.first_sample, one.index, one.shards] for one in (first, second)]
        assert checkpoint.training.get("phases") == (None if alone else listed)


def test_steps_before_a_phase_that_are_done_again_read_what_they_read_before(root, go_on):
    run = root / "runs" / "x"
    go_on(root, "shards", until=5)
    go_on(root, "mixes/more", new_phase=True)
    before = files_of(run)
    for step in (4, 6, 8, 10):
        (path,) = (run / "checkpoints" / f"step-{step:08d}").glob("*.safetensors")
        path.write_bytes(path.read_bytes()[:-1])
    said = go_on(root, "mixes/more")
    assert "not continuing from step 4" in said
    assert files_of(run) == before


def test_a_finished_run_of_two_phases_started_again_touches_nothing(root, go_on):
    run = root / "runs" / "x"
    go_on(root, "shards", until=5)
    go_on(root, "mixes/more", new_phase=True)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    for options in ({}, {"new_phase": True}):
        go_on(root, "mixes/more", **options)
        assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before


def test_other_shards_are_refused_unless_a_phase_is_asked_for(root, go_on):
    go_on(root, "shards", until=5)
    before = files_of(root / "runs" / "x")
    with pytest.raises(UsageError, match=r"shards/train \(content \w+\) from sample 0 on, it cannot be") as error:
        go_on(root, "mixes/more")
    assert "mixes/more/train" in error.value.message
    assert error.value.hint.startswith("--new-phase reads them from the newest checkpoint on")
    assert files_of(root / "runs" / "x") == before


@pytest.mark.parametrize("order", ["neox", "megatron"])
def test_an_order_that_depends_on_the_whole_run_has_no_phases(root, go_on, order):
    go_on(root, "shards", until=3, overrides={"data.order": order})
    before = files_of(root / "runs" / "x")
    for options in ({}, {"new_phase": True}):
        with pytest.raises(UsageError, match=f"in the order {order} each sample depends on") as error:
            go_on(root, "mixes/more", overrides={"data.order": order}, **options)
        assert "data.order=stateless" in error.value.hint
    assert files_of(root / "runs" / "x") == before


def test_shards_of_an_earlier_phase_are_refused_with_and_without_the_option(root, go_on):
    go_on(root, "shards", until=3)
    go_on(root, "mixes/more", until=5, new_phase=True)
    assert [phase.first_sample for phase in read_phases(root / "runs" / "x").phases] == [0, 16]
    with pytest.raises(UsageError, match="from sample 16 on, it cannot be continued"):
        go_on(root, "shards")
    with pytest.raises(
        UsageError, match=r"that was read from sample 0 of the run on: .* the same samples again"
    ) as error:
        go_on(root, "shards", new_phase=True)
    assert "pile shards mix" in error.value.hint


def test_a_phase_of_which_nothing_was_kept_is_given_up_for_another(root, go_on):
    run = root / "runs" / "x"
    go_on(root, "shards", until=5)
    go_on(root, "mixes/more", until=5, new_phase=True)
    write_shards(root / "mixes" / "third", ENTRIES["mixes/more"][::-1])
    go_on(root, "mixes/third", until=5, new_phase=True)
    assert [Path(phase.prefix).parent.name for phase in read_phases(run).phases] == ["shards", "third"]
    # Back to where it was, as if there never had been another.
    go_on(root, "shards", new_phase=True)
    undivided = root.with_name("undivided")
    for folder in ("shards", "mixes/more"):
        shutil.copytree(root / folder, undivided / folder)
    go_on(undivided, "shards")
    assert files_of(run) == files_of(undivided / "runs" / "x")


def test_where_a_phase_cannot_begin_it_says_why_and_nothing_changes(root, go_on):
    run = root / "runs" / "x"
    go_on(root, "shards", until=5)
    cut = files_of(run)
    with pytest.raises(UsageError, match=r"recipe\.data\.seed = 1234, it cannot be continued with 5"):
        go_on(root, "mixes/more", new_phase=True, overrides={"data.seed": 5})
    with pytest.raises(UsageError, match="tokenizer = , it cannot be continued with other"):
        go_on(root, "mixes/more", new_phase=True, tokenizer_hash="other")
    shutil.rmtree(root / "shards")
    write_shards(root / "shards", ENTRIES["mixes/more"])
    with pytest.raises(UsageError, match=r"was written again since .* read it from sample 0 on") as error:
        go_on(root, "shards", new_phase=True)
    assert "another name" in error.value.hint
    assert files_of(run) == cut
    shutil.rmtree(root / "shards")
    write_shards(root / "shards", ENTRIES["shards"])
    (newest,) = (run / "checkpoints" / "step-00000004").glob("*.safetensors")
    newest.write_bytes(b"")
    # Its samples after the last whole one were of the first shards, which the record could no longer say.
    with pytest.raises(UsageError, match="step-00000004 is damaged, and has read samples after 16") as error:
        go_on(root, "mixes/more", new_phase=True)
    assert f"rm -r {newest.parent}" in error.value.hint
    shutil.rmtree(newest.parent)
    go_on(root, "mixes/more", until=3, new_phase=True)
    assert read_phases(run).phases[1].first_sample == 16
    for path in (run / "checkpoints").glob("step-*/*.safetensors"):
        path.write_bytes(b"")
    (run / PHASES).unlink()
    go_on(root, "shards")
    with pytest.raises(UsageError, match="has finished its 10 steps"):
        go_on(root, "mixes/more", new_phase=True)
    shutil.rmtree(run / "checkpoints" / "step-00000010")
    for path in (run / "checkpoints").glob("step-*/*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(UsageError, match="no whole checkpoint of a step"):
        go_on(root, "mixes/more", new_phase=True)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UsageError, match="no whole checkpoint of a step") as error:
        go_on(root, "mixes/more", new_phase=True)
    assert f"rm -r {run} begins a run with these shards" in error.value.hint
    shutil.rmtree(run)
    with pytest.raises(UsageError, match="has not begun: no phase can follow"):
        go_on(root, "mixes/more", new_phase=True)
    assert not run.exists() or files_of(run) == {}


def test_a_lost_record_is_written_anew_where_there_was_one_phase_only(root, go_on):
    run = root / "runs" / "x"
    go_on(root, "shards", until=5)
    record = (run / PHASES).read_bytes()
    (run / PHASES).unlink()
    go_on(root, "shards", until=6)
    assert (run / PHASES).read_bytes() == record
    go_on(root, "mixes/more", new_phase=True)
    (run / PHASES).unlink()
    with pytest.raises(UsageError, match="was trained with phases = "):
        go_on(root, "mixes/more")
    (run / PHASES).write_bytes(b"{}")
    with pytest.raises(CorruptData, match="not a record of phases") as error:
        go_on(root, "mixes/more")
    assert f"rm {run / PHASES}" in error.value.hint


def test_a_fresh_start_forgets_the_phases(root, go_on):
    go_on(root, "shards", until=5)
    go_on(root, "mixes/more", new_phase=True)
    go_on(root, "mixes/more", resume=False)
    assert [phase.first_sample for phase in read_phases(root / "runs" / "x").phases] == [0]


def test_a_root_that_was_moved_with_its_runs_is_opened(root, go_on, tmp_path, monkeypatch):
    go_on(root, "shards", until=5)
    go_on(root, "mixes/more", new_phase=True)
    before = open_phases(read_phases(root / "runs" / "x"), samples=80).batch(range(80)).tolist()
    root.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    for run in (tmp_path / "moved" / "runs" / "x", Path("runs/x")):
        phases = read_phases(run)
        assert open_phases(phases, samples=80).batch(range(80)).tolist() == before
        record = (run / PHASES).read_bytes()
        write_phases(run, phases)
        assert (run / PHASES).read_bytes() == record


def test_shards_outside_the_root_are_named_from_the_top(root, go_on, tmp_path):
    write_shards(tmp_path / "outside", ENTRIES["shards"])
    run = root / "runs" / "x"
    train_on = root / ".." / "outside"
    go_on(root, train_on, until=1)
    assert json.loads((run / PHASES).read_text())["phases"][0]["prefix"] == str(tmp_path / "outside" / "train")


def test_samples_of_several_phases_are_one_order_for_loaders_and_workers(root, go_on):
    go_on(root, "shards", until=5)
    go_on(root, "mixes/more", new_phase=True)
    samples = open_phases(read_phases(root / "runs" / "x"), samples=80)
    plan = BatchPlan(global_batch=BATCH, micro_batch=4, rank=1, ranks=2)
    read = [inputs.tolist() for inputs, _ in batch_loader(samples, plan, first=3, last=6, workers=1)]
    assert read == [
        samples.batch(numbers)[:, :-1].tolist() for step in range(3, 7) for numbers in plan.micro_batches(step)
    ]
    sent = pickle.dumps(SampleDataset(samples))
    assert len(sent) < 1500
    assert pickle.loads(sent)[40].tolist() == samples.tokens(40).tolist()
    # A batch over the edge of two phases, in any order and type.
    assert samples.batch([40, 31, 32], dtype="int64").tolist() == [samples.tokens(n).tolist() for n in (40, 31, 32)]
    assert samples.batch([]).shape == (0, LENGTH + 1)
    for wrong in (-1, 80):
        with pytest.raises(IndexError, match="of a run of 80"):
            samples.tokens(wrong)
        with pytest.raises(IndexError, match="of a run of 80"):
            samples.batch([3, wrong])


def test_two_processes_go_on_with_a_phase_in_a_run_that_one_began_and_build_each_index_once(
    make_root, go_on, train_processes, tmp_path
):
    alone, together = make_root("alone"), make_root("together")
    for root in (alone, together):
        go_on(root, "shards", until=5)
    go_on(alone, "mixes/more", new_phase=True)
    options = {"overrides": STATELESS, "shards": together / "mixes/more", "new_phase": True}
    train_processes(together / "runs" / "x", ranks=2, **options, cache_dir=str(tmp_path / "cache"))
    one, two = (
        [row["loss"] for row in read_rows(root / "runs" / "x" / METRICS) if "loss" in row] for root in (alone, together)
    )
    assert two == pytest.approx(one, rel=1e-5)
    assert (together / "runs" / "x" / PHASES).read_bytes() == (alone / "runs" / "x" / PHASES).read_bytes()
    # The train shards of the phase, and the held-out ones of it.
    assert len(list((tmp_path / "cache").glob("*.index"))) == 2
    checkpoint = read_checkpoint(together / "runs" / "x" / "checkpoints" / "step-00000010")
    assert len([file for file in checkpoint.files if "shard-00002" in file.path]) == 1


def test_phases_of_several_lengths_are_no_order(root):
    request = {"samples": 40, "seed": 1, "order": "stateless"}
    first = phase_of(root / "shards/train", sequence_length=8, **request)
    later = phase_of(root / "mixes/more/train", sequence_length=16, **request)
    phases = Phases(phases=(first,)).followed_by(msgspec.structs.replace(later, first_sample=20))
    with pytest.raises(UsageError, match=r"samples of one length, these have \[8, 16\]"):
        PhasedSamples(phases, samples=80)
