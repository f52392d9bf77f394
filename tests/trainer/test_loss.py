"""The loss is the mean negative log-probability of the next token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.loss import next_token_loss


def reference(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(log_probability, targets[..., None], axis=-1)[..., 0]


def test_the_loss_equals_numpys():
    random = np.random.default_rng(3)
    logits, targets = random.normal(0, 4, (2, 5, 33)), random.integers(0, 33, (2, 5))
    expected = reference(logits, targets)
    given, wanted = torch.from_numpy(logits), torch.from_numpy(targets)
    assert next_token_loss(given, wanted).item() == pytest.approx(expected.mean(), rel=1e-6)
    each = next_token_loss(given, wanted, reduction="none")
    assert each.shape == (2, 5)
    np.testing.assert_allclose(each.numpy(), expected, rtol=1e-5)


def test_half_precision_logits_are_summed_in_float32():
    logits = torch.zeros(1, 1, 4096, dtype=torch.bfloat16)
    loss = next_token_loss(logits, torch.zeros(1, 1, dtype=torch.int64))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(np.log(4096), rel=1e-6)
