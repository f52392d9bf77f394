"""Read-only folders, missing permissions, a root that is none or goes away: one sentence with the path and what to do.

Commands run as processes that file modes bind, also where the tests run as the superuser.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil
import pytest

from pile_toolkit.chain.verify import verify
from tests.chain.small_chain import TRAIN_TABLES, pile_command, process_environment
from tests.faults.unprivileged import pile_bound_by_modes, skip_unless_modes_bind
from tests.making import small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# By name: the words of a command that has something to write in a finished root, and the folder it writes in.
WRITING = {
    "download": (["download", "arxiv", "--from", "sample:"], "components"),
    "dedup": (["dedup", "--method", "none"], "dedup"),
    "build": (["build", "--seed", "9", "--val-share", ".1", "--test-share", ".1"], "plan"),
    "tokenizer": (["tokenizer", "train", "--vocab-size", "1400"], "tokenizer"),
    "shards": (["shards", "write"], "shards"),
    "mix": (["shards", "mix", "more", "--weights", "weights.toml"], "mixes"),
    "train": (["train", "debug", "--steps", "1", "--name", "other"], "runs"),
    "report": (["report"], "reports"),
    "repair": (["verify", "--repair"], "plan"),
}
READING = {
    "verify": ["verify"],
    "why": ["why", "ubuntu-irc/ubuntu-irc.jsonl.zst:1"],
    "show": ["shards", "show"],
    "stats": ["shards", "stats"],
    "check": ["shards", "verify"],
    "encode": ["tokenizer", "encode", "two  spaces"],
    "components": ["components"],
}


@pytest.fixture
def root(undisturbed, tmp_path) -> Iterator[Path]:
    """A copy of a finished root in which shards, report and one file of the plan are to be made anew."""
    skip_unless_modes_bind(tmp_path)
    root = tmp_path / "root"
    shutil.copytree(undisturbed / "root", root, symlinks=True)
    (root / "mixes").mkdir()
    (root / "reports" / "manifest.json").unlink()
    (root.parent / "weights.toml").write_text(
        "".join(f"{slug.name} = 1.0\n" for slug in (root / "components").iterdir())
    )
    yield root
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())):
        folder.chmod(0o755)


def the_sentence(done: subprocess.CompletedProcess, *, exit_code: int = 2) -> str:
    """The one error of a process that failed as it should: a sentence and what to do, no more and no less."""
    lines = done.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert done.returncode == exit_code, done.stderr
    assert len(errors) == 1, done.stderr
    assert lines[-1].startswith("  try: "), done.stderr
    assert "Traceback" not in done.stderr
    return errors[0]


def manifests(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("manifest.json")}


@pytest.mark.parametrize("name", WRITING)
def test_a_read_only_folder_is_named_by_every_command_that_writes_into_it(root, name):
    words, folder = WRITING[name]
    if name in ("shards", "repair"):
        (root / folder / "manifest.json").unlink()
    if name == "repair":
        (root / "plan" / ".work-0123456789abcdef").mkdir()
    before = manifests(root)
    (root / folder).chmod(0o555)
    error = the_sentence(pile_bound_by_modes([*words, "--root", root], cwd=root.parent))
    assert f"{root / folder} cannot be written: Permission denied" in error
    assert manifests(root) == before
    assert not list(root.rglob(".lease.json*"))


@pytest.mark.parametrize("name", WRITING)
def test_a_read_only_root_is_named_by_every_command_that_writes(root, name):
    words, folder = WRITING[name]
    if name == "repair":
        (root / "plan" / ".work-0123456789abcdef").mkdir()
    before = manifests(root)
    (root / folder).chmod(0o555)
    root.chmod(0o555)
    error = the_sentence(pile_bound_by_modes([*words, "--root", root], cwd=root.parent))
    assert f"error: {root}" in error
    assert "cannot be written: Permission denied" in error
    assert manifests(root) == before


def test_a_whole_run_names_the_folder_that_it_cannot_write(root, undisturbed):
    (root / "reports").chmod(0o555)
    done = pile_bound_by_modes(["run", undisturbed / "pile.toml", "--root", root, "--jobs", "1"])
    assert f"{root / 'reports'} cannot be written" in the_sentence(done)


def test_an_export_names_the_folder_that_it_cannot_write(root):
    (root / "runs" / "debug").chmod(0o555)
    done = pile_bound_by_modes(["export", root / "runs" / "debug"])
    assert f"{root / 'runs' / 'debug'} cannot be written" in the_sentence(done)


@pytest.mark.parametrize("name", READING)
def test_reading_needs_no_permission_to_write(root, name):
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    done = pile_bound_by_modes([*READING[name], "--root", root])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "manifest"),
    [
        (["dedup", "--method", "none"], "components/github"),
        (["build"], "dedup"),
        (["tokenizer", "train"], "plan"),
        (["shards", "write"], "plan"),
        (["shards", "mix", "more", "--weights", "pile"], "shards"),
        (["train", "debug", "--steps", "1", "--name", "other"], "shards"),
        (["report"], "plan"),
        (["verify"], "plan"),
        (["verify", "--repair"], "plan"),
        (["why", "ubuntu-irc/ubuntu-irc.jsonl.zst:1"], "dedup"),
        (["components"], "components/github"),
    ],
)
def test_a_manifest_that_may_not_be_read_is_named_and_not_taken_for_damaged(root, words, manifest):
    path = root / manifest / "manifest.json"
    path.chmod(0)
    error = the_sentence(pile_bound_by_modes([*words, "--root", root]))
    assert f"{path} cannot be read: Permission denied" in error
    path.chmod(0o644)
    assert verify(root).faults == []


def test_an_output_that_may_not_be_read_is_no_damage(root):
    path = root / "shards" / "train.bin"
    path.chmod(0)
    for words in (["verify"], ["verify", "--repair"], ["shards", "stats"], ["shards", "show"]):
        assert f"{path} cannot be read" in the_sentence(pile_bound_by_modes([*words, "--root", root]))


def test_a_source_that_may_not_be_read_is_named(root, source, tmp_path):
    folder = shutil.copytree(source, tmp_path / "mine")
    (folder / "github.jsonl.zst").chmod(0)
    done = pile_bound_by_modes(["download", "github", "--from", folder, "--root", root])
    assert f"{folder}/github.jsonl.zst cannot be read: Permission denied" in the_sentence(done)
    # Another root would not help.
    assert "--root" not in done.stderr


def test_a_folder_that_may_not_be_entered_is_named(root):
    (root / "plan").chmod(0)
    error = the_sentence(pile_bound_by_modes(["tokenizer", "train", "--root", root]))
    assert f"{root / 'plan'} cannot be entered" in error


def test_a_file_system_mounted_read_only_is_named(tmp_path, undisturbed):
    with small_disk(tmp_path / "disk", size_bytes=32 << 20) as disk:
        shutil.copytree(undisturbed / "root" / "components", disk / "components", symlinks=True)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        done = subprocess.run(pile_command(["dedup", "--root", disk]), capture_output=True, text=True)
    assert f"{disk} cannot be written: Read-only file system" in the_sentence(done)


@pytest.mark.parametrize("words", [words for words, _ in WRITING.values() if words != ["verify", "--repair"]])
@pytest.mark.parametrize("kind", ["a file", "below a file", "a dangling link"])
def test_a_root_that_is_no_folder_is_named(tmp_path, words, kind):
    root = tmp_path / "root"
    if kind == "a dangling link":
        root.symlink_to(tmp_path / "nowhere")
    else:
        root.write_text("mine")
    place = root / "pile" if kind == "below a file" else root
    done = subprocess.run(
        pile_command([*words, "--root", place]), capture_output=True, text=True, env=process_environment(), cwd=tmp_path
    )
    assert str(root) in the_sentence(done)
    assert os.path.lexists(root)
    assert not (tmp_path / "nowhere").exists()


# Names whose appearance is the moment in which the root goes, in a stage of tasks and in training, and what a run that
# is about to come there does not have yet.
MOMENTS = [("corpus/.work-*/deal-*", ["plan", "corpus", "runs"]), ("runs/debug/checkpoints/step-00000004", ["runs"])]


@pytest.mark.parametrize(("moment", "missing"), MOMENTS)
def test_a_root_that_vanishes_ends_the_run_with_a_sentence_and_nothing_half_written(
    undisturbed, tmp_path, moment, missing
):
    folder = shutil.copytree(undisturbed, tmp_path / "copy", symlinks=True)
    config, root = folder / "pile.toml", folder / "root"
    for name in missing:
        shutil.rmtree(root / name)
    if "corpus" in missing:
        # As far as the data: what comes after it is the other case.
        config.write_text(config.read_text().replace(TRAIN_TABLES, ""))
    command = pile_command(["run", config, "--jobs", "2"])
    run = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=process_environment(),
        start_new_session=True,
    )
    try:
        while not any(root.glob(moment)):
            assert run.poll() is None, f"the run ended before {moment} appeared"
        root.rename(tmp_path / "unmounted")
        said, wrong = run.communicate()
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    error = the_sentence(subprocess.CompletedProcess(command, run.returncode, said, wrong), exit_code=75)
    assert f"{root}" in error
    assert "vanished" in error
    assert list(root.rglob("manifest.json")) == []
    # What multiprocessing starts beside the workers ends when it notices that nobody is left.
    _, alive = psutil.wait_procs([one for one in psutil.process_iter() if in_group(one, run.pid)], timeout=30)
    assert not [process for process in alive if in_group(process, run.pid)]
    # Brought back it is as whole as it was.
    for path in [*root.rglob("*")][::-1] if root.exists() else []:
        path.rmdir() if path.is_dir() else path.unlink()
    if root.exists():
        root.rmdir()
    (tmp_path / "unmounted").rename(root)
    again = subprocess.run(command, capture_output=True, text=True, env=process_environment())
    assert again.returncode == 0, again.stderr
    assert verify(root).faults == []


def in_group(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


@pytest.mark.parametrize(
    "words", [["components"], ["components", "--json"], ["verify"], ["tokenizer", "encode", "two"]]
)
def test_a_closed_standard_output_is_no_error(undisturbed, words):
    command = pile_command([*words, "--root", undisturbed / "root"])
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True, env=process_environment()
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
