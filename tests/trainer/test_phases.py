"""New weights come into a run that is under way: what it reads, records, and repeats after a kill."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
import torch

from shards.exposures import exposures
from shards.phases import PHASES, read_phases, write_phases
from tests.trainer.phase_roots import (
    BATCH,
    DOCUMENTS,
    ENTRIES,
    LENGTH,
    STATELESS,
    STEPS,
    VOCAB_SIZE,
    expected_samples,
    files_of,
    write_shards,
)
from trainer.checkpoint import find_checkpoints, read_checkpoint
from trainer.config import resolved
from trainer.data import BatchPlan, SampleDataset, batch_loader, open_phases
from trainer.metrics import METRICS, read_rows
from trainer.model import GPTNeoX, initialize
from trainer.optim import build_optimizer, learning_rate


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
