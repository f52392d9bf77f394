"""Weights in, which data set each step reads out: at every step the one that lags most behind its share.

Source: gpt-neox, megatron/data/blendable_dataset.py and data_utils.py; Megatron-LM's BlendedDataset differs in a type
and in how it rounds the samples that each data set is asked for. The first n steps are the same however many follow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# So that a blend that does not come out evenly still finds a sample of each.
SURPLUS = 1.005
UINT8_DATASETS = 255
INT16_DATASETS = 32_767


class BlendArrays(NamedTuple):
    """Which data set step i reads, and which of its samples; read-only, as long as the samples asked for."""

    dataset_index: NDArray
    dataset_sample_index: NDArray[np.int64]


def normalized(weights: Sequence[float], *, order: str) -> list[float]:
    """Weights over their sum, rounded as the order's own program does.

    Raises UsageError where one is not a number above 0, or there are too many.
    """
    if not weights or len(weights) >= INT16_DATASETS:
        raise UsageError(f"{len(weights):,} weights were given, a blend has 1 to {INT16_DATASETS - 1:,} data sets")
    for number, weight in enumerate(weights):
        if not (math.isfinite(weight) and weight > 0):
            raise UsageError(f"the weight of data set {number} is {weight}, it must be above 0", hint="leave it out")
    total = 0.0
    if order == "megatron":
        total = float(np.sum(np.array(weights, np.float64)))
    else:
        # One by one: Python's own `sum` rounds otherwise from 3.12 on.
        for weight in weights:
            total += weight
    return [weight / total for weight in weights]


def blend_dtype(datasets: int, *, order: str) -> np.dtype:
    """uint8 under 255 data sets as in gpt-neox, else and in Megatron's order int16."""
    return np.dtype(np.uint8 if datasets < UINT8_DATASETS and order != "megatron" else np.int16)


def blend(weights: Sequence[float], *, samples: int, order: str = "neox") -> BlendArrays:
    """The first `samples` steps. gpt-neox's own arrays go on past them, to the sum of what its data sets hold."""
    from shards.index.kernels import fill_blend

    # Divided twice, because both programs do, and the last bit decides ties.
    row = np.array(normalized(weights, order=order), np.float64)
    row /= row.sum()
    arrays = BlendArrays(np.empty(samples, blend_dtype(len(weights), order=order)), np.empty(samples, dtype=np.int64))
    fill_blend(row, np.zeros(len(row), np.int64), 0, *arrays)
    return arrays


def samples_asked(share: float, *, samples: int, order: str) -> int:
    """How many samples a data set of this share must have."""
    if order == "megatron":
        return math.ceil(math.ceil(samples * share) * SURPLUS)
    return math.ceil(samples * share * SURPLUS)
