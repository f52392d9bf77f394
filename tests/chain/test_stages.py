"""Training as a stage: what is damaged is never published as sound, and all processes of torchrun decide alike."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file

from pile_toolkit.chain.config import load_run_config
from pile_toolkit.chain.stages import train
from pile_toolkit.chain.verify import verify
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import read_manifest
from tests.chain.small_chain import process_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pile_toolkit.core.console import Reporter
    from trainer.result import TrainStageResult

SMALL = {
    "model.layers": 1,
    "model.hidden_size": 32,
    "model.feed_forward_size": 64,
    "data.sequence_length": 64,
    "checkpoint.interval": 2,
    "train.steps": 6,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the undisturbed run was trained: the number of threads decides the last digits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def copied(undisturbed, tmp_path) -> Path:
    """A finished root that a test may damage."""
    shutil.copytree(undisturbed, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


class Recorder:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.done: list[int] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextlib.contextmanager
    def progress(self, label: str, *, total: int, unit: str) -> Iterator[Callable[..., None]]:
        yield lambda units, note="": self.done.append(units)


def train_again(folder: Path, reporter: Reporter = SILENT) -> TrainStageResult:
    """As `pile run` of the folder's configuration calls it."""
    table = load_run_config(folder / "pile.toml").train
    return train(table.recipe, root=folder / "root", steps=table.steps, overrides=table.set, reporter=reporter)


def weights_of(folder: Path, step: int) -> Path:
    (path,) = (folder / "checkpoints" / f"step-{step:08d}").glob("*.safetensors")
    return path


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_trained_anew_and_not_published_as_it_is(copied, undisturbed):
    folder = copied / "root" / "runs" / "debug"
    flip_a_byte(weights_of(folder, 12))
    reporter = Recorder()
    train_again(copied, reporter)
    # Steps 9 to 12 come after the checkpoint of step 8.
    assert reporter.done == [9, 1, 1, 1]
    assert any("step-00000012" in text and "is not as it was written" in text for text in reporter.said)
    assert verify(copied / "root").faults == []
    here, there = (load_file(weights_of(one, 12)) for one in (folder, undisturbed / "root" / "runs" / "debug"))
    assert all(here[name].equal(there[name]) for name in there)


def test_an_old_damaged_checkpoint_is_named_and_left_out(copied):
    folder = copied / "root" / "runs" / "debug"
    flip_a_byte(weights_of(folder, 8))
    reporter = Recorder()
    train_again(copied, reporter)
    assert any("step 8 can be neither loaded nor exported" in text for text in reporter.said)
    paths = {output.path for output in read_manifest(folder).outputs}
    assert {path.split("/")[1] for path in paths if "/" in path} == {"step-00000012"}
    assert verify(copied / "root").faults == []


# Every one of them trains from the last checkpoint on: of the files that no checkpoint holds, one is enough every day.
@pytest.mark.parametrize(
    "name",
    [
        "metrics.jsonl",
        *(pytest.param(name, marks=pytest.mark.campaign) for name in ("recipe.toml", "phases.json")),
        "checkpoints/step-00000012/manifest.json",
    ],
)
def test_the_printed_command_repairs_a_run_folder(copied, name):
    path = copied / "root" / "runs" / "debug" / name
    sound = path.read_bytes()
    path.write_bytes(b"junk")
    (fault,) = verify(copied / "root").faults
    repair = re.sub(r"(^|&& )pile ", rf"\1{sys.executable} -m pile_toolkit ", fault.repair)
    subprocess.run(repair, shell=True, check=True, capture_output=True, env=process_environment(), cwd=copied)
    assert path.read_bytes() == sound
    assert verify(copied / "root").faults == []


def test_an_edited_log_is_not_published_as_sound(copied):
    path = copied / "root" / "runs" / "debug" / "metrics.jsonl"
    path.write_text(path.read_text().replace('"step":1,"loss":', '"step":1,"loss":1', 1))
    with pytest.raises(CorruptData, match="is not as it was at step 8"):
        train_again(copied)


@pytest.mark.parametrize("name", ["../../elsewhere", "a/b", ".hidden"])
def test_a_run_or_a_mix_has_one_word_for_a_name(undisturbed, name):
    with pytest.raises(UsageError, match="is no name for a run"):
        train("debug", root=undisturbed / "root", name=name)
    with pytest.raises(UsageError, match="is no name for a mix"):
        train("debug", root=undisturbed / "root", mix=name)


def test_no_steps_are_not_the_recipes_steps(undisturbed):
    with pytest.raises(UsageError, match=r"'train\.steps'"):
        train("debug", root=undisturbed / "root", steps=0, name="none")


def test_two_processes_train_and_agree_that_there_is_nothing_left_to_do(copied):
    root = copied / "root"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "pile_toolkit",
    ]
    command += ["train", "debug", "--root", root, "--name", "two"]
    command += [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    folder = root / "runs" / "two"
    places = {"cwd": Path(__file__).resolve().parents[2], "env": process_environment() | {"PYTHONPATH": os.getcwd()}}

    def started() -> dict[Path, int]:
        done = subprocess.run(command, check=False, capture_output=True, text=True, **places)
        assert done.returncode == 0, done.stderr
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}

    first = started()
    assert started() == first
    flip_a_byte(folder / "checkpoints" / "step-00000006" / "shard-00002-model-00001-of-00001.safetensors")
    assert started() != first
    assert verify(root).faults == []
