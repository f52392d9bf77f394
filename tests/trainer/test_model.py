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


def test_the_20b_shape_has_the_published_number_of_parameters():
    # Padded to a multiple of 128 x 2 for its tensor parallelism.
    assert parameter_count(ModelConfig(**NEOX_20B, vocab_multiple=256)) == 20_554_567_680


def test_pythia_14m_has_the_published_number_of_parameters():
    # 14,067,712, of which 1,189,888 are neither embedding nor head (EleutherAI/pythia, README).
    model = load_recipe("pythia-14m", {"model.vocab_size": 50_277}).model
    assert parameter_count(model) == 14_067_712


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


def test_initial_weights_have_the_published_statistics():
    config = ModelConfig(**NEOX_20B)
    assert initial_std(config, "blocks.7.attention.qkv.weight") == pytest.approx(0.0080687, rel=1e-4)
    assert initial_std(config, "blocks.7.mlp.down.weight") == pytest.approx(0.00057990, rel=1e-4)
    model = built(hidden_size=128, feed_forward_size=512, layers=2)
    small, wang = (2 / (5 * 128)) ** 0.5, 2 / (2 * 128**0.5)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            one = name.endswith(("ln1.weight", "ln2.weight", "norm.weight"))
            assert torch.equal(parameter, torch.full_like(parameter, float(one))), name
            continue
        expected = wang if name.endswith(("attention.out.weight", "mlp.down.weight")) else small
        # The standard error of a standard deviation over n draws is sigma / sqrt(2n), of a mean sigma / sqrt(n).
        draws = parameter.numel()
        assert abs(parameter.std().item() - expected) < 5 * expected / (2 * draws) ** 0.5, name
        assert abs(parameter.mean().item()) < 5 * expected / draws**0.5, name


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
