"""Compiled code is kept in the user's cache folder, never beside the package, and known by all that it was made of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SCRIPT = """
import numpy as np
from shards.index import neox_arrays
from shards.index.arrays import load_kernels
load_kernels()
from pile_toolkit.core.kernels import code_folder
arrays = neox_arrays(np.array([5, 3, 7, 2], np.int32), sequence_length=4, samples=8, seed=1234)
print(code_folder(), arrays.shuffle_idx.tolist())
"""


def copied(tmp_path):
    """The packages in a folder of their own, without anything compiled."""
    site = tmp_path / "site"
    for package in ("pile_toolkit", "shards", "tokenizer", "pipelines"):
        for source in (REPOSITORY / package).rglob("*.py"):
            target = site / source.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return site


def start(site, cache):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=site,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(site)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_packages_that_cannot_be_written_compile_once_into_the_cache_and_again_when_a_kernel_changes(tmp_path):
    site, cache = copied(tmp_path), tmp_path / "cache"
    before = sorted(site.rglob("*"))
    messages, folders = "", set()
    for process in [start(site, cache) for _ in range(2)]:
        out, errors = process.communicate()
        assert process.returncode == 0, errors
        folder, _, shuffled = out.partition(" ")
        assert shuffled == "[5, 0, 3, 4, 2, 6, 1, 7]\n"
        folders.add(folder)
        messages += errors
    assert messages.count("compiling the index kernels for this machine") == 1
    assert len(folders) == 1
    assert Path(folders.pop()).is_relative_to(cache)
    # Where nothing was written, a folder that cannot be written is as good.
    assert sorted(site.rglob("*")) == before
    kernels = site / "shards" / "index" / "kernels.py"
    kernels.write_text(kernels.read_text() + "\n# changed\n")
    out, errors = start(site, cache).communicate()
    assert "compiling the index kernels" in errors
    assert len(list((cache / "pile-toolkit").iterdir())) == 2
