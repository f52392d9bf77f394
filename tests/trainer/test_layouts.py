"""A layout divides the ranks and the recipe, or the error shows the arithmetic that fails and what would do."""

from __future__ import annotations

import pytest

from pile_toolkit.core.errors import UsageError
from trainer.config import load_recipe
from trainer.layout import Layout, faults, layout_of, layouts, stage_layers

TWENTY = {"model.vocab_size": 50_277}


def twenty(**degrees):
    return load_recipe("gpt-neox-20b", TWENTY | {f"parallel.{name}": value for name, value in degrees.items()})


def test_the_20b_recipe_is_tensor_2_pipeline_4_data_12_on_96_ranks():
    layout = layout_of(twenty(), 96)
    assert layout == Layout(tensor=2, pipeline=4, replicas=1, shards=12)
    assert (layout.ranks, layout.data, str(layout)) == (96, 12, "tensor 2 x pipeline 4 x data 12")
    assert twenty().parallel.zero == 1


def test_replicas_cut_the_data_parallel_ranks_into_groups():
    assert layout_of(twenty(replicas=3), 96) == Layout(tensor=2, pipeline=4, replicas=3, shards=4)


@pytest.mark.parametrize(
    ("degrees", "ranks", "said"),
    [
        ({}, 90, "tensor 2 x pipeline 4 = 8 ranks hold a model; ranks 90 / 8 = 11.25"),
        ({"replicas": 5}, 96, "12 data-parallel ranks are no multiple of parallel.replicas 5"),
        ({"tensor": 3}, 96, "model.heads 64 / tensor 3 = 21.33"),
        ({"pipeline": 48}, 96, "pipeline 48 = 48 stages for 44 layers"),
        ({"tensor": 1, "pipeline": 1}, 80, "global_batch 1536 / (micro_batch 4 x data 80) = 4.8"),
        ({"tensor": 1, "pipeline": 4}, 768, "micro_batch 4 x data 192) = 2 micro-batches do not fill 4 stages"),
    ],
)
def test_what_does_not_divide_is_shown_with_the_arithmetic(degrees, ranks, said):
    with pytest.raises(UsageError) as error:
        layout_of(twenty(**degrees), ranks)
    assert said in error.value.message


def test_the_nearest_layouts_are_named_and_would_do():
    with pytest.raises(UsageError) as error:
        layout_of(twenty(tensor=3), 96)
    assert error.value.hint.startswith(
        "--set parallel.tensor=4 --set parallel.pipeline=4; of 96 ranks these would do: "
    )
    typed = dict(word.split("=") for word in error.value.hint.split(";")[0].split() if word != "--set")
    nearest = {key.removeprefix("parallel."): int(value) for key, value in typed.items()}
    assert layout_of(twenty(**nearest), 96).ranks == 96


def test_every_layout_that_is_listed_divides_and_no_other_does():
    recipe, found = twenty(), {(one.tensor, one.pipeline, one.data) for one in layouts(twenty(), 96)}
    for tensor in range(1, 97):
        for pipeline in range(1, 97):
            if 96 % (tensor * pipeline) == 0:
                layout = Layout(tensor=tensor, pipeline=pipeline, shards=96 // tensor // pipeline)
                fits = next(faults(recipe, layout), None) is None
                assert ((tensor, pipeline, layout.data) in found) == fits
    assert (2, 4, 12) in found


@pytest.mark.parametrize("layers", [1, 2, 44, 45])
def test_stages_have_all_layers_once_and_alike(layers):
    for stages in range(1, layers + 1):
        pieces = [stage_layers(layers, stage, stages) for stage in range(stages)]
        assert [layer for piece in pieces for layer in piece] == list(range(layers))
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


@pytest.mark.parametrize(
    "table",
    [
        {"schedule": "interleaved"},
        {"stages_per_rank": 2, "pipeline": 2},
        {"stages_per_rank": 2, "schedule": "interleaved", "pipeline": 1},
        {"schedule": "zero-bubble", "zero": 2, "pipeline": 2},
    ],
)
def test_degrees_that_contradict_each_other_are_refused(table):
    with pytest.raises(UsageError, match=r"stages_per_rank|zero-bubble"):
        twenty(**table)
