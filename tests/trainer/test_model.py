"""The model has the published size and initial distribution; no layout and no later token can change it."""

from __future__ import annotations

import cmath

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.attention import rotary_table, rotate
from trainer.config import ModelConfig, load_recipe
from trainer.model import GPTNeoX, initial_std, initialize, parameter_count

NEOX_20B = {"layers": 44, "hidden_size": 6144, "heads": 64, "feed_forward_size": 24_576, "vocab_size": 50_277}
SMALL = {"layers": 3, "hidden_size": 64, "heads": 4, "feed_forward_size": 256, "vocab_size": 500}


# All parameters, and those that are neither embedding nor head: as in the paper for the 20B, for the others as in
# the model cards of the Pythias ("Total Params", "Non-Embedding Params").
PUBLISHED = {
    "gpt-neox-20b": (20_554_567_680, 19_934_859_264),
    "gpt-neox-20b-bf16": (20_554_567_680, 19_934_859_264),
    "pythia-14m": (14_067_712, 1_189_888),
    "pythia-70m": (70_426_624, 18_915_328),
    "pythia-160m": (162_322_944, 85_056_000),
    "pythia-410m": (405_334_016, 302_311_424),
    "pythia-1b": (1_011_781_632, 805_736_448),
    "pythia-1.4b": (1_414_647_808, 1_208_602_624),
    "pythia-2.8b": (2_775_208_960, 2_517_652_480),
    "pythia-6.9b": (6_857_302_016, 6_444_163_072),
    "pythia-12b": (11_846_072_320, 11_327_027_200),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_has_the_published_number_of_parameters(name):
    model = load_recipe(name, {"model.vocab_size": 50_277}).model
    outside = 2 * model.padded_vocab_size * model.hidden_size
    assert (parameter_count(model), parameter_count(model) - outside) == PUBLISHED[name]


@settings(deadline=None, max_examples=20)
@given(layers=st.integers(1, 3), heads=st.integers(1, 4), vocab=st.integers(1, 600))
def test_the_parameter_count_follows_the_formula(layers, heads, vocab):
    h, padded = 16 * heads, (vocab + 127) // 128 * 128
    config = ModelConfig(layers=layers, hidden_size=h, heads=heads, feed_forward_size=4 * h, vocab_size=vocab)
    assert parameter_count(config) == 2 * padded * h + layers * (12 * h * h + 13 * h) + 2 * h


def built(seed: int = 1234, **changes) -> GPTNeoX:
    config = ModelConfig(**(SMALL | changes))
    model = GPTNeoX(config)
    initialize(model, config, seed=seed)
    return model


@pytest.mark.parametrize(
    ("methods", "others", "to_residual"),
    [
        (("small_init", "wang_init"), (2 / (5 * 128)) ** 0.5, 2 / (2 * 128**0.5)),
        (("normal", "scaled_normal"), 0.02, 0.02 / (2 * 2) ** 0.5),
    ],
)
def test_initial_weights_have_the_published_statistics(methods, others, to_residual):
    config = ModelConfig(**NEOX_20B)
    assert initial_std(config, "blocks.7.attention.qkv.weight") == pytest.approx(0.0080687, rel=1e-4)
    assert initial_std(config, "blocks.7.mlp.down.weight") == pytest.approx(0.00057990, rel=1e-4)
    chosen = {"init_method": methods[0], "output_layer_init_method": methods[1]}
    model = built(hidden_size=128, feed_forward_size=512, layers=2, **chosen)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            one = name.endswith(("ln1.weight", "ln2.weight", "norm.weight"))
            assert torch.equal(parameter, torch.full_like(parameter, float(one))), name
            continue
        expected = to_residual if name.endswith(("attention.out.weight", "mlp.down.weight")) else others
        # The standard error of a standard deviation over n draws is sigma / sqrt(2n), of a mean sigma / sqrt(n).
        draws = parameter.numel()
        assert abs(parameter.std().item() - expected) < 5 * expected / (2 * draws) ** 0.5, name
        assert abs(parameter.mean().item()) < 5 * expected / draws**0.5, name
        # Normal, not uniform: 0.27% lie beyond three standard deviations, 4.55% beyond two.
        for width, share in ((2, 0.0455), (3, 0.0027)):
            beyond = (parameter.abs() > width * expected).double().mean().item()
            assert abs(beyond - share) < 5 * (share / draws) ** 0.5, name


def test_an_initial_weight_depends_on_seed_and_name_only():
    one, again, other_seed = built(), built(), built(seed=5)
    taller = built(layers=4)
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
        if parameter.ndim > 1:
            assert not torch.equal(parameter, other_seed.get_parameter(name)), name
    # More layers change only the scale of the two matrices whose scale is defined by their number.
    assert torch.equal(one.blocks["2"].attention.qkv.weight, taller.blocks["2"].attention.qkv.weight)
    assert not torch.equal(one.blocks["1"].mlp.up.weight, one.blocks["2"].mlp.up.weight)


def test_a_later_token_never_changes_an_earlier_logit():
    model = built().eval()
    ids = torch.arange(24).reshape(1, 24)
    changed = ids.clone()
    changed[0, 15:] = 499
    with torch.no_grad():
        before, after = model(ids), model(changed)
    assert before.shape == (1, 24, 512)
    assert torch.equal(before[:, :15], after[:, :15])
    assert not torch.equal(before[:, 15], after[:, 15])


def test_rotary_turns_pairs_of_the_first_dimensions_by_the_angle_of_their_position():
    config = ModelConfig(**(SMALL | {"hidden_size": 48, "heads": 2, "rotary_pct": 0.5}))
    size, length = config.rotary_size, 7
    assert (config.head_size, size) == (24, 12)
    x = torch.randn(2, length, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    turned = rotate(x, rotary_table(config, length, device=x.device, dtype=x.dtype))
    for head in range(2):
        for position in range(length):
            for pair in range(size // 2):
                angle = position * config.rotary_base ** (-2 * pair / size)
                value = complex(x[head, position, pair], x[head, position, pair + size // 2]) * cmath.exp(1j * angle)
                found = complex(turned[head, position, pair], turned[head, position, pair + size // 2])
                assert abs(found - value) < 1e-5  # The table is float32.
    assert torch.equal(turned[..., size:], x[..., size:])
