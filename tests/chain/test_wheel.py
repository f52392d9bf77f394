"""The built wheel in a clean environment: data files are packaged, and the data side needs no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.making import REPOSITORY

SMALL = """
root = "root"
[download]
components = ["nih-exporter", "dm-mathematics", "ubuntu-irc"]
[build]
val_share = 0.05
test_share = 0.05
train_shards = 2
[tokenizer]
vocab_size = 1000
"""


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """The scripts of a fresh virtual environment with the wheel and its plain dependencies; no extras."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    scripts = folder / "venv" / "bin"
    # Of all that comes with it little is imported, so that compiling the rest would take longest.
    install = [scripts / "python", "-m", "pip", "install", "--quiet", "--no-compile"]
    subprocess.run([*install, "-c", REPOSITORY / "constraints.txt", wheel], check=True, capture_output=True)
    return scripts


def test_the_installed_wheel_runs_the_data_side_without_torch(clean, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PILE"))}

    def call(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [clean / "pile", *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment
        )

    assert call("components").stdout.count("\n") >= 22
    (tmp_path / "pile.toml").write_text(SMALL)
    done = call("run", "pile.toml", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [stage["stage"] for stage in result["stages"]] == [
        "download",
        "dedup",
        "build",
        "tokenizer",
        "shards",
        "report",
    ]
    assert (tmp_path / result["report"]).stat().st_size > 10_000
    # Training is refused at once, with what to install, before anything is done again.
    (tmp_path / "pile.toml").write_text(SMALL + '[train]\nrecipe = "debug"\n')
    refused = call("run", "pile.toml")
    assert refused.returncode == 2
    assert "pip install 'pile-toolkit[train]'" in refused.stderr
