"""Compiled blocks give the gradients of eager ones, whatever is recomputed: `python -m tests.trainer.compiled`."""

from __future__ import annotations

import sys

import torch

from tests.trainer.test_activations import built, gradients
from trainer.activations import compile_blocks


def main() -> int:
    """Prints one line for each kind of recomputation; 1 where one differs."""
    expected, worst = gradients(built()), 0.0
    for kind in ("none", "selective", "full"):
        model = built(kind)
        compile_blocks(model)
        found = gradients(model)
        differences = [(found[name] - value).abs().max() / value.abs().max() for name, value in expected.items()]
        # Biases of keys have a gradient of zero but for rounding.
        different = float(torch.stack(differences).median())
        worst = max(worst, different)
        print(f"{kind}: median difference {different:.1e} of the largest gradient")
    return int(worst > 1e-5)


if __name__ == "__main__":
    sys.exit(main())
