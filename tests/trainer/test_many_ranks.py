"""Eight ranks give what one gives, however they share the work; what one layout has saved another continues."""

from __future__ import annotations

import shutil

import pytest

from tests.trainer.layouts import degrees, difference, train_layouts
from trainer.checkpoint import find_checkpoints

# The campaign does 20 steps in all layouts.
SHORT = {"train__steps": 8, "validation__interval": 4, "checkpoint__interval": 4}
# Everything at once: stages of two layers, halves of each matrix, two shards of each state.
ALL = degrees(pipeline=2, tensor=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, token_shards):
    """A folder with the runs `one`, and of eight ranks `all` and `stages`."""
    folder = tmp_path_factory.mktemp("layouts")
    train_layouts(folder, token_shards, {"one": {}}, ranks=1, **SHORT)
    continued = folder / "continued"
    shutil.copytree(folder / "one", continued)
    for checkpoint in find_checkpoints(continued / "checkpoints"):
        if checkpoint.step > 4:
            shutil.rmtree(checkpoint.path)
    layouts = {"all": ALL, "stages": degrees(pipeline=4, tensor=2), "continued": degrees(tensor=2)}
    train_layouts(folder, token_shards, layouts, ranks=8, **SHORT)
    return folder


@pytest.mark.parametrize("run", ["all", "stages", "continued"])
def test_eight_ranks_have_the_losses_and_norms_of_one(trained, run):
    for key in ("loss", "grad_norm", "validation_loss"):
        assert difference(trained / "one", trained / run, key) < 1e-9


def test_a_layout_with_a_fault_would_be_seen(trained, token_shards):
    train_layouts(trained, token_shards, {"other": {"optimizer.learning_rate": 3.000001e-3}}, ranks=1, **SHORT)
    assert difference(trained / "one", trained / "other", "grad_norm") > 1e-9
