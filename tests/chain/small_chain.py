"""The corpus and configuration of the chain's tests, and how they start `pile` as a process."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from pile_toolkit.chain.verify import find_manifests

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DOCUMENTS = {
    "github": 40,
    "stackexchange": 60,
    "gutenberg-pg-19": 6,
    "dm-mathematics": 12,
    "ubuntu-irc": 20,
    "enron-emails": 60,
}

DATA_CONFIG = """
seed = 7
root = "root"

[download]
components = [{slugs}]
from = "source"

[build]
train_shards = 3
val_share = 0.1
test_share = 0.1

[tokenizer]
vocab_size = 1500
"""

TRAIN_TABLES = """
[train]
recipe = "debug"
steps = 12

[train.set]
"model.layers" = 1
"model.hidden_size" = 32
"model.feed_forward_size" = 64
"data.sequence_length" = 64
"checkpoint.interval" = 4
"validation.interval" = 6
"validation.batches" = 1
"""

CONFIG = DATA_CONFIG + TRAIN_TABLES


def pile_command(arguments: Sequence[str | Path]) -> list[str]:
    """The command line of `pile` with these arguments."""
    return [sys.executable, "-m", "pile_toolkit", *map(str, arguments)]


def process_environment() -> dict[str, str]:
    """One thread per process: the losses of two runs are compared to the last digit."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PILE_ROOT": ""}


def deterministic_outputs(root: Path) -> dict[str, str]:
    """Path under the root -> hash, of everything that depends on inputs, parameters and seed only."""
    return {
        f"{folder.relative_to(root)}/{output.path.rpartition('/')[2]}": output.hash
        for folder, manifest in find_manifests(root)
        for output in manifest.outputs
        if manifest.key.stage != "report" and "checkpoints" not in output.path
    }
