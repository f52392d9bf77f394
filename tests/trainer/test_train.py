"""A training learns, repeats itself to the last digit, survives SIGKILL, and gives the same losses on two processes."""

from __future__ import annotations

import dataclasses
import math
import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPTNeoXForCausalLM

from pile_toolkit.core.errors import CorruptData, TryAgain, UsageError
from tests.making import held_by_another_run
from trainer.checkpoint import find_checkpoints
from trainer.config import Recipe, load_recipe, recipe_names, resolved
from trainer.convert import export_huggingface, load_model
from trainer.data import open_held_out, open_training_samples
from trainer.distributed import join_world
from trainer.evaluate import validate
from trainer.metrics import METRICS, read_rows
from trainer.model import GPTNeoX, initialize
from trainer.optim import learning_rate
from trainer.pipeline import Parts
from trainer.train import TrainResult, train

VOCAB_SIZE = 300


def trained(recipe: Recipe, shards: Path, run: Path, **options) -> TrainResult:
    return train(recipe, shards=shards, run=run, vocab_size=VOCAB_SIZE, **options)


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_rows(run / METRICS) if "loss" in row]


def validations(run: Path) -> list[float]:
    return [row["validation_loss"] for row in read_rows(run / METRICS) if "validation_loss" in row]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, train_processes) -> Path:
    """The run folder of the tiny training in one process with one thread, which others are compared with."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    train_processes(run)
    assert len(losses(run)) == 20
    return run


@pytest.fixture(scope="module")
def on_two_processes(tmp_path_factory, train_processes, told_shards) -> Path:
    """The same training under torchrun with two processes, all checkpoints kept; its shards say their documents."""
    run = tmp_path_factory.mktemp("two") / "run"
    train_processes(run, ranks=2, overrides={"checkpoint.keep_last": 100}, shards=told_shards)
    return run


def test_the_loss_falls_far_below_a_uniform_guess(tiny_recipe, token_shards, tmp_path):
    seen = []
    recipe = tiny_recipe({"train.steps": 150, "optimizer.learning_rate": 1e-2, "checkpoint.interval": 50})
    result = trained(recipe, token_shards, tmp_path / "run", on_step=seen.append)
    assert result.first_loss == pytest.approx(math.log(384), abs=0.3)
    assert result.last_loss < 0.6 * result.first_loss
    assert result.validation_loss < 0.7 * result.first_loss
    assert validations(tmp_path / "run")[-1] == result.validation_loss
    assert [metrics.step for metrics in seen] == list(range(1, 151))
    assert (result.steps, result.tokens, result.parameters) == (150, 150 * 8 * 16, 41_728)
    assert result.tokens_per_s > 0
    assert [one.step for one in find_checkpoints(tmp_path / "run" / "checkpoints")] == [100, 150]


def test_killed_again_and_again_it_logs_what_an_undisturbed_run_logs(undisturbed, train_processes, tmp_path):
    run, choice, reached = tmp_path / "run", random.Random(5), 0
    # With a checkpoint every step one of them is likely to be hit while it is written; with one every 7 steps, logged
    # steps are lost and done again.
    for interval in (1, 7):
        last = reached + choice.randint(2, 6)
        process = train_processes(run, overrides={"checkpoint.interval": interval}, wait=False)
        for line in process.stdout:
            if int(line) >= last:
                process.send_signal(signal.SIGKILL)
                break
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        reached = max(one.step for one in find_checkpoints(run / "checkpoints"))
    train_processes(run)
    assert (run / METRICS).read_bytes() == (undisturbed / METRICS).read_bytes()
    for one, other in zip(load_model(run).parameters(), load_model(undisturbed).parameters(), strict=True):
        assert torch.equal(one, other)


def test_two_processes_give_the_losses_of_one(undisturbed, on_two_processes):
    assert losses(on_two_processes) == pytest.approx(losses(undisturbed), rel=1e-5)
    assert validations(on_two_processes) == pytest.approx(validations(undisturbed), rel=1e-5)
    norms = [
        [row["grad_norm"] for row in read_rows(run / METRICS) if "loss" in row]
        for run in (on_two_processes, undisturbed)
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_two_processes_measure_the_components_of_one(on_two_processes, tiny_recipe, told_shards, tmp_path):
    trained(tiny_recipe(), told_shards, tmp_path / "one")
    one, two = (
        [row for row in read_rows(run / METRICS) if "components" in row] for run in (tmp_path / "one", on_two_processes)
    )
    assert len(one) == len(two) == 2
    for mine, theirs in zip(one, two, strict=True):
        assert theirs["mixture_loss"] == pytest.approx(mine["mixture_loss"], rel=1e-4)
        for name, found in mine["components"].items():
            assert theirs["components"][name]["tokens"] == found["tokens"]
            assert theirs["components"][name]["loss"] == pytest.approx(found["loss"], rel=1e-4)


def test_one_process_continues_what_two_began(undisturbed, on_two_processes, tiny_recipe, token_shards, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(on_two_processes, run)
    for checkpoint in find_checkpoints(run / "checkpoints"):
        if checkpoint.step > 10:
            shutil.rmtree(checkpoint.path)
    trained(tiny_recipe(), token_shards, run)
    assert losses(run)[:10] == losses(on_two_processes)[:10]
    assert losses(run) == pytest.approx(losses(undisturbed), rel=1e-5)


def test_a_plain_loop_around_transformers_gives_the_same_losses(undisturbed, tiny_recipe, token_shards, tmp_path):
    recipe = resolved(tiny_recipe(), steps=None, vocab_size=VOCAB_SIZE)
    start = GPTNeoX(recipe.model)
    initialize(start, recipe.model, seed=recipe.train.seed)
    export_huggingface(start, recipe.model, tmp_path)
    model = GPTNeoXForCausalLM.from_pretrained(tmp_path)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": recipe.optimizer.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=recipe.optimizer.betas, eps=recipe.optimizer.eps, foreach=False)
    index = open_training_samples(token_shards / "train", recipe.data, steps=20)
    found = []
    for step in range(20):
        ids = torch.tensor(np.stack([index.tokens(i) for i in range(step * 8, step * 8 + 8)]).astype(np.int64))
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe.optimizer, update=step + 1, steps=20)
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    assert losses(undisturbed) == pytest.approx(found, rel=1e-5)


def test_the_validation_loss_is_the_mean_over_the_held_out_tokens(undisturbed, tiny_recipe, token_shards):
    recipe = tiny_recipe()
    held_out = open_held_out(token_shards / "val", recipe.data, batches=2)
    model = load_model(undisturbed)
    ids = torch.tensor(np.stack([held_out.samples.tokens(i) for i in range(16)]).astype(np.int64))
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).item()
    assert validations(undisturbed)[-1] == pytest.approx(expected, rel=1e-5)
    # A number of samples that no micro-batch divides, and a known byte count.
    with join_world(torch.device("cpu")) as world:
        part = dataclasses.replace(held_out, count=7, bytes_per_token=3.5)
        parts = Parts([model], recipe, world)
        metrics = validate(parts, part, world, step=1, micro_batch=3, vocab_size=VOCAB_SIZE)
    with torch.no_grad():
        seven = torch.nn.functional.cross_entropy(model(ids[:7, :-1]).flatten(0, 1), ids[:7, 1:].flatten()).item()
    assert metrics.validation_loss == pytest.approx(seven, rel=1e-5)
    assert metrics.validation_tokens == 7 * 16
    assert metrics.validation_bits_per_byte == pytest.approx(seven / math.log(2) / 3.5, rel=1e-5)


def test_the_size_of_a_micro_batch_does_not_matter(undisturbed, tiny_recipe, token_shards, tmp_path):
    trained(tiny_recipe({"data.micro_batch": 8}), token_shards, tmp_path)
    assert losses(tmp_path) == pytest.approx(losses(undisturbed), rel=1e-5)


def test_bf16_computes_near_fp32_and_keeps_its_weights_in_fp32(undisturbed, tiny_recipe, token_shards, tmp_path):
    trained(tiny_recipe({"train.precision": "bf16"}), token_shards, tmp_path)
    assert losses(tmp_path) == pytest.approx(losses(undisturbed), rel=1e-2)
    assert losses(tmp_path) != losses(undisturbed)
    assert load_model(tmp_path).embed.weight.dtype == torch.float32


def test_a_finished_run_started_again_touches_nothing(undisturbed, tiny_recipe, token_shards):
    def state() -> dict:
        return {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}

    before = state()
    one, two = (trained(tiny_recipe(), token_shards, undisturbed) for _ in range(2))
    assert one == two
    assert (one.first_loss, one.last_loss) == (losses(undisturbed)[0], losses(undisturbed)[-1])
    assert Path(one.checkpoint) == undisturbed / "checkpoints" / "step-00000020"
    assert state() == before


@pytest.mark.parametrize(
    ("overrides", "options", "said"),
    [
        ({"model.layers": 3}, {}, "recipe.model.layers = 2, it cannot be continued with 3"),
        ({"data.seed": 5}, {}, "recipe.data.seed = 1234, it cannot be continued with 5"),
        ({}, {"steps": 30}, "recipe.train.steps = 20, it cannot be continued with 30"),
        ({}, {"tokenizer_hash": "abc"}, "tokenizer = , it cannot be continued with abc"),
    ],
)
def test_another_training_in_the_same_folder_is_refused(
    undisturbed, tiny_recipe, token_shards, overrides, options, said
):
    with pytest.raises(UsageError, match=said):
        trained(tiny_recipe(overrides), token_shards, undisturbed, **options)


def test_a_fresh_start_replaces_what_the_folder_holds(tiny_recipe, token_shards, tmp_path):
    trained(tiny_recipe(), token_shards, tmp_path, steps=3)
    recipe = tiny_recipe({"model.layers": 1, "checkpoint.steps": [0]})
    result = trained(recipe, token_shards, tmp_path, steps=2, resume=False)
    assert (result.steps, len(losses(tmp_path))) == (2, 2)
    checkpoints = find_checkpoints(tmp_path / "checkpoints")
    assert [one.step for one in checkpoints] == [0, 2]
    start = GPTNeoX(load_model(tmp_path).config)
    initialize(start, start.config, seed=1234)
    for one, other in zip(load_model(checkpoints[0].path).parameters(), start.parameters(), strict=True):
        assert torch.equal(one, other)
    assert load_recipe(tmp_path / "recipe.toml") == resolved(recipe, steps=2, vocab_size=VOCAB_SIZE)


def test_a_loss_that_is_no_number_names_step_and_samples(tiny_recipe, token_shards, tmp_path):
    recipe = tiny_recipe({"optimizer.learning_rate": 1e30, "optimizer.warmup_fraction": 0.0})
    with pytest.raises(UsageError, match=r"step 2: the loss is (nan|inf).* on samples 8 to 15"):
        trained(recipe, token_shards, tmp_path)
    assert len(losses(tmp_path)) == 1


def test_ids_outside_the_vocabulary_and_a_run_in_use_are_refused(tiny_recipe, token_shards, tmp_path):
    with pytest.raises(CorruptData, match="the vocabulary ends at 99"):
        train(tiny_recipe(), shards=token_shards, run=tmp_path / "run", vocab_size=100)
    with held_by_another_run(tmp_path / "held"), pytest.raises(TryAgain, match="in use"):
        trained(tiny_recipe(), token_shards, tmp_path / "held")


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_trains(name, token_shards, tmp_path):
    overrides = {"data.sequence_length": 32, "data.global_batch": 4, "data.micro_batch": 2, "train.device": "cpu"}
    overrides |= {"parallel.tensor": 1, "parallel.pipeline": 1}
    if name not in ("debug", "pythia-14m"):
        # Everything else as shipped, in a shape that fits here.
        overrides |= {"model.layers": 2, "model.hidden_size": 64, "model.heads": 4, "model.feed_forward_size": 128}
    result = trained(load_recipe(name, overrides), token_shards, tmp_path, steps=2)
    assert result.steps == 2
    assert math.isfinite(result.validation_loss)
