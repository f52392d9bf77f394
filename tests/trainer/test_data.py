"""Every sample of a global batch is read by one rank, whatever the layout, and an id out of range is found."""

from __future__ import annotations

import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from shards.phases import data_identity
from shards.provenance import write_provenance
from tests.trainer.conftest import write_tokens
from trainer.config import AttentionConfig, DataConfig
from trainer.data import (
    BatchPlan,
    SampleDataset,
    StepSampler,
    batch_loader,
    load_batch,
    open_held_out,
    open_training_samples,
    read_tokens,
    refuse_other_end,
)
from trainer.train import train

CONFIG = DataConfig(sequence_length=16, global_batch=8, micro_batch=2)
PLAN = BatchPlan(global_batch=8, micro_batch=2, rank=1, ranks=2)


class InMemory:
    """Samples as an array, one row each."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def tokens(self, i: int) -> np.ndarray:
        return self.rows[i]


@given(ranks=st.integers(1, 6), micro=st.integers(1, 5), accumulation=st.integers(1, 4), step=st.integers(1, 1000))
def test_the_ranks_together_read_a_global_batch_once_and_in_order(ranks, micro, accumulation, step):
    batch = ranks * micro * accumulation
    plans = [BatchPlan(global_batch=batch, micro_batch=micro, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert all(plan.accumulation == accumulation for plan in plans)
    per_rank = [list(plan.micro_batches(step)) for plan in plans]
    read = [number for turn in zip(*per_rank, strict=True) for numbers in turn for number in numbers]
    assert read == list(range((step - 1) * batch, step * batch)) == list(plans[0].samples_of(step))


def test_a_product_that_does_not_fit_shows_the_multiplication_and_what_would():
    with pytest.raises(UsageError, match=r"8 is not a multiple of micro_batch 4 x ranks 4 = 16") as error:
        BatchPlan(global_batch=8, micro_batch=4, rank=0, ranks=4)
    assert error.value.hint == "data.micro_batch=2"
    with pytest.raises(UsageError, match="ranks 3") as error:
        BatchPlan(global_batch=8, micro_batch=4, rank=0, ranks=3)
    assert error.value.hint == "a number of ranks that divides 8"


def test_targets_are_the_inputs_shifted_by_one():
    samples = InMemory(np.arange(12, dtype=np.uint16).reshape(3, 4))
    inputs, targets = load_batch(samples, range(1, 3), vocab_size=12)
    assert inputs.tolist() == [[4, 5, 6], [8, 9, 10]]
    assert targets.tolist() == [[5, 6, 7], [9, 10, 11]]


def test_an_id_outside_the_vocabulary_names_sample_and_id():
    samples = InMemory(np.array([[1, 2, 3], [4, 50, 6]], dtype=np.uint16))
    load_batch(samples, range(2), vocab_size=51)
    with pytest.raises(CorruptData, match=r"sample 1 holds token id 50, the vocabulary ends at 49"):
        load_batch(samples, range(2), vocab_size=50)


def test_an_id_below_zero_is_named_too():
    samples = InMemory(np.array([[1, 2, 3], [4, 5, -6]], dtype=np.int32))
    with pytest.raises(CorruptData, match=r"sample 1 holds token id -6"):
        load_batch(samples, [0, 1], vocab_size=50)


@pytest.fixture(scope="module")
def samples(token_shards):
    return open_training_samples(token_shards / "train", CONFIG, steps=40)


def test_samples_read_together_are_those_read_one_by_one(samples):
    numbers = np.random.default_rng(1).integers(0, len(samples), 50).tolist()
    tokens = read_tokens(samples, numbers)
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [samples.tokens(number).tolist() for number in numbers]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_the_batches_of_the_loop_with_and_without_workers(samples, workers):
    loader = batch_loader(samples, PLAN, first=3, last=7, vocab_size=300, workers=workers)
    read = list(loader)
    loop = [
        load_batch(samples, numbers, vocab_size=300) for step in range(3, 8) for numbers in PLAN.micro_batches(step)
    ]
    assert len(read) == len(loader) == len(loop) == 10
    for (inputs, targets), (expected_inputs, expected_targets) in zip(read, loop, strict=True):
        assert inputs.dtype == targets.dtype == torch.int64
        assert torch.equal(inputs, expected_inputs)
        assert torch.equal(targets, expected_targets)


@given(first=st.integers(1, 50), steps=st.integers(0, 8), cut=st.integers(0, 8))
def test_numbers_depend_on_the_step_alone_so_that_a_later_start_goes_on(first, steps, cut):
    last = first + steps - 1
    middle = min(first + cut, last + 1)
    whole = StepSampler(PLAN, first=first, last=last)
    parts = [StepSampler(PLAN, first=first, last=middle - 1), StepSampler(PLAN, first=middle, last=last)]
    assert list(whole) == [numbers for part in parts for numbers in part]
    assert len(whole) == len(list(whole)) == steps * PLAN.accumulation


def test_a_plain_loader_of_torch_reads_the_same_samples(samples):
    dataset = SampleDataset(samples)
    assert len(dataset) == len(samples)
    assert dataset[5].tolist() == samples.tokens(5).tolist()
    (batch,) = torch.utils.data.DataLoader(torch.utils.data.Subset(dataset, [4, 9, 2]), batch_size=3)
    assert batch.tolist() == [samples.tokens(number).tolist() for number in (4, 9, 2)]


def test_a_data_set_travels_as_what_it_was_asked_for(samples):
    sent = pickle.dumps(SampleDataset(samples, vocab_size=300))
    assert len(sent) < 1000
    arrived = pickle.loads(sent)
    assert arrived[7].tolist() == samples.tokens(7).tolist()
    assert len(arrived) == len(samples)


def test_an_id_out_of_range_in_a_worker_is_corrupt_data_here(samples):
    with pytest.raises(CorruptData, match="the vocabulary ends at 9"):
        next(iter(batch_loader(samples, PLAN, first=1, last=2, vocab_size=10, workers=1)))


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_cut_short_under_a_loader_are_named_with_what_to_do(token_shards, tmp_path, workers):
    for suffix in (".bin", ".idx"):
        shutil.copy(token_shards / f"train{suffix}", tmp_path / f"cut{suffix}")
    cut = open_training_samples(tmp_path / "cut", CONFIG, steps=4)
    os.truncate(tmp_path / "cut.bin", 64)
    with pytest.raises(CorruptData, match=r"^[^\n]*cut\.bin was cut short while it was read: [^\n]*\n") as error:
        next(
            iter(
                batch_loader(
                    cut, BatchPlan(global_batch=8, micro_batch=8, rank=0, ranks=1), first=1, last=2, workers=workers
                )
            )
        )
    assert "restore it" in error.value.hint


def test_shards_give_all_samples_of_the_run_and_a_bounded_held_out_part(token_shards):
    config = DataConfig(sequence_length=16, global_batch=8, micro_batch=2)
    assert len(open_training_samples(token_shards / "train", config, steps=40)) >= 320
    held_out = open_held_out(token_shards / "val", config, batches=2)
    assert held_out.count == 16
    tokens = np.fromfile(token_shards / "val.bin", dtype="<u2")
    everything = open_held_out(token_shards / "val", config, batches=1000)
    assert everything.count == (len(tokens) - 1) // 16
    assert everything.bytes_per_token is None
    assert open_held_out(token_shards / "absent", config, batches=2) is None
    long = DataConfig(sequence_length=100_000, global_batch=1, micro_batch=1)
    assert open_held_out(token_shards / "val", long, batches=1) is None


def test_bytes_per_token_come_from_the_provenance_of_the_shards(token_shards, tmp_path):
    for name in ("val.bin", "val.idx"):
        (tmp_path / name).write_bytes((token_shards / name).read_bytes())
    count = 12
    write_provenance(
        tmp_path / "val.docs.arrow",
        component=[0] * count,
        file=[0] * count,
        line=range(1, count + 1),
        copy=[0] * count,
        bytes=range(100, 100 + count),
        components=["books3"],
        files={"books3": ["00.jsonl.zst"]},
    )
    held_out = open_held_out(tmp_path / "val", DataConfig(sequence_length=16, global_batch=8, micro_batch=2), batches=1)
    assert held_out.bytes_per_token == sum(range(100, 112)) / len(np.fromfile(tmp_path / "val.bin", dtype="<u2"))


def test_other_shards_have_another_identity(token_shards):
    assert data_identity(token_shards / "train") == data_identity(token_shards / "train")
    assert data_identity(token_shards / "train") != data_identity(token_shards / "val")


def test_documents_that_do_not_end_as_the_recipe_says_are_named_with_both_ids(token_shards, tmp_path):
    apart = AttentionConfig(reset_at_eod=True, eod_id=0)
    refuse_other_end(token_shards / "train", apart)
    with pytest.raises(UsageError, match=r"at attention\.eod_id 7, those of .*train end with 0\n") as error:
        refuse_other_end(token_shards / "train", AttentionConfig(reset_at_eod=True, eod_id=7))
    assert "<|endoftext|>" in error.value.hint
    refuse_other_end(token_shards / "train", AttentionConfig(reset_at_eod=False, eod_id=7))
    # Text that was cut into documents without ends, and some that are empty.
    write_tokens(tmp_path / "train", [np.array(ids, int) for ids in ([1, 2], [], [3], [5, 0, 4])])
    with pytest.raises(UsageError, match="end with 3 ids, none of them that"):
        refuse_other_end(tmp_path / "train", apart)


def test_a_training_whose_documents_end_otherwise_is_refused(token_shards, tiny_recipe, tmp_path):
    recipe = tiny_recipe({"attention.reset_at_eod": True, "attention.eod_id": 7})
    with pytest.raises(UsageError, match=r"those of .* end with 0"):
        train(recipe, shards=token_shards, run=tmp_path / "run", vocab_size=300)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
