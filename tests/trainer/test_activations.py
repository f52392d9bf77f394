"""Recomputing changes memory and time, never the loss or its gradients; documents can be kept apart.

Compiling takes half a minute of a processor: `python -m tests.trainer.compiled`, in `make campaign`.
"""

from __future__ import annotations

import itertools
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.graph import saved_tensors_hooks

from pile_toolkit.core.errors import UsageError
from trainer.activations import recompute_activations
from trainer.attention import document_mask
from trainer.config import ModelConfig
from trainer.metrics import METRICS, read_rows
from trainer.model import GPTNeoX, initialize
from trainer.train import train

SHAPE = ModelConfig(layers=2, hidden_size=32, heads=2, feed_forward_size=128, vocab_size=100, max_positions=64)
IDS = torch.randint(1, 100, (2, 32), generator=torch.Generator().manual_seed(1))
END = 0


def built(kind: str = "none") -> GPTNeoX:
    model = GPTNeoX(SHAPE)
    initialize(model, SHAPE, seed=3)
    recompute_activations(model, kind)
    return model


def gradients(model: GPTNeoX) -> dict[str, torch.Tensor]:
    model(IDS, IDS).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("kind", ["selective", "full"])
def test_recomputed_activations_give_the_same_gradients_to_the_last_bit(kind):
    expected, found = gradients(built()), gradients(built(kind))
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert torch.equal(gradient, expected[name]), name


def products(model: GPTNeoX) -> tuple[int, int]:
    """Matrix products of forward and backward together, and attentions forward."""
    counted = {"mm": 0, "attention": 0}

    class Counter(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            name = operation.overloadpacket.__name__
            counted["mm"] += name in ("mm", "addmm")
            counted["attention"] += name.startswith("_scaled_dot_product") and "backward" not in name
            return operation(*args, **(kwargs or {}))

    with Counter():
        model(IDS, IDS).backward()
    return counted["mm"], counted["attention"]


def test_full_recomputes_every_product_of_the_blocks_and_selective_none():
    mm, attentions = products(built())
    assert products(built("selective")) == (mm, attentions)
    # Four products a block; the last one's value is of no use to the backward pass, so that it stops before it.
    again, attentions_again = products(built("full"))
    assert mm + 2 * 3 <= again <= mm + 2 * 4
    assert attentions_again == 2 * attentions == 4


def kept_bytes(model: GPTNeoX) -> int:
    """What autograd holds between forward and backward, each storage once; selectively kept values are not in sight."""
    seen = {}

    def pack(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(IDS, IDS)
    del loss
    return sum(seen.values())


def test_full_keeps_a_fraction_of_the_activations():
    assert kept_bytes(built("full")) < 0.7 * kept_bytes(built())


@pytest.mark.parametrize("overrides", [{"train.activation_checkpointing": kind} for kind in ("selective", "full")])
def test_a_training_that_recomputes_logs_the_same_bytes_and_may_change_its_mind(
    overrides, tiny_recipe, token_shards, tmp_path
):
    def trained(name: str, steps: int, changes: dict) -> bytes:
        recipe = tiny_recipe({"train.steps": 4, "checkpoint.interval": 2} | changes)
        train(recipe, shards=token_shards, run=tmp_path / name, vocab_size=300, steps=steps)
        return (tmp_path / name / METRICS).read_bytes()

    assert trained("one", 4, overrides) == trained("other", 4, {})
    shutil.rmtree(tmp_path / "one" / "checkpoints" / "step-00000004")
    assert trained("one", 4, {}) == trained("other", 4, {})


def test_what_cannot_be_compiled_is_refused_before_the_first_step(tiny_recipe, token_shards, tmp_path, monkeypatch):
    recipe = tiny_recipe({"train.compile": True, "train.precision": "bf16"})
    with pytest.raises(UsageError, match="does not compile bf16 blocks"):
        train(recipe, shards=token_shards, run=tmp_path, vocab_size=300)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UsageError, match=r"needs a C\+\+ compiler"):
        train(tiny_recipe({"train.compile": True}), shards=token_shards, run=tmp_path / "b", vocab_size=300)


@settings(deadline=None, max_examples=20)
@given(ends=st.sets(st.integers(0, 31), max_size=6))
def test_with_a_reset_each_document_is_seen_as_if_it_stood_alone(ends):
    model = GPTNeoX(SHAPE).double()
    initialize(model, SHAPE, seed=3)
    ids = IDS.clone()
    ids[:, sorted(ends)] = END
    bounds = [0, *[end + 1 for end in sorted(ends)], 32]
    with torch.no_grad():
        # Each document from position 0 on: between rotary positions only distances count.
        alone = [model(ids[:, first:stop]) for first, stop in itertools.pairwise(bounds) if first < stop]
        model.reset_at = END
        together = model(ids)
    torch.testing.assert_close(together, torch.cat(alone, dim=1), rtol=1e-5, atol=1e-5)


def test_without_a_reset_a_token_sees_the_document_before():
    model = built()
    ids = IDS.clone()
    ids[:, 10] = END
    changed = ids.clone()
    changed[:, 3] = 99 - changed[:, 3]
    with torch.no_grad():
        assert not torch.equal(model(ids)[:, 20], model(changed)[:, 20])
        model.reset_at = END
        assert torch.equal(model(ids)[:, 11:], model(changed)[:, 11:])
        assert not torch.equal(model(ids)[:, 10], model(changed)[:, 10])


def test_the_mask_is_that_of_a_loop_over_all_pairs():
    ids = torch.tensor([[5, 0, 0, 7, 8, 0, 9]])
    mask = document_mask(ids, 0)
    assert mask.shape == (1, 1, 7, 7)
    for query in range(7):
        for key in range(7):
            seen = key <= query and not any(ids[0, place] == 0 for place in range(key, query))
            assert mask[0, 0, query, key] == seen


def test_a_training_with_resets_learns_otherwise_and_needs_an_id_of_the_vocabulary(tiny_recipe, token_shards, tmp_path):
    losses = []
    for reset in (False, True):
        recipe = tiny_recipe({"train.steps": 2, "attention.reset_at_eod": reset})
        train(recipe, shards=token_shards, run=tmp_path / str(reset), vocab_size=300)
        losses.append([row["loss"] for row in read_rows(tmp_path / str(reset) / METRICS) if "loss" in row])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    recipe = tiny_recipe({"attention.reset_at_eod": True, "attention.eod_id": 300})
    with pytest.raises(UsageError, match=r"eod_id is 300, the ids of the token shards end at 299"):
        train(recipe, shards=token_shards, run=tmp_path / "no", vocab_size=300)
