"""One flipped byte anywhere is found, named, and repaired by the command that is printed and by `--repair`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys

import pytest

import pile_toolkit as pile_package
from pile_toolkit.chain.repair import JOURNAL
from pile_toolkit.chain.run import run
from pile_toolkit.chain.verify import find_manifests, refuse_faults, verify
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import HASH_BLOCK_BYTES
from pile_toolkit.core.manifest import StageKey, describe, publish
from tests.chain.small_chain import process_environment
from tests.faults.flips import hashes, outputs_inside, repair_problem, turn_over

LENGTH = "length:min_characters=400"


@pytest.fixture
def copied(undisturbed, tmp_path):
    """A finished root that a test may damage."""
    shutil.copytree(undisturbed, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def test_a_sound_root_has_no_faults(undisturbed):
    result = verify(undisturbed / "root")
    assert result.faults == []
    assert result.stages == 14
    assert result.files > 30


def test_one_flipped_byte_in_any_output_is_found(copied):
    root = copied / "root"
    paths = [folder / output.path for folder, manifest in find_manifests(root) for output in manifest.outputs]
    inside = [path for path in paths if path.is_relative_to(root)]
    assert len(inside) >= 25
    for path in inside:
        sound, status = path.read_bytes(), path.stat()
        middle = len(sound) // 2
        path.write_bytes(sound[:middle] + bytes([sound[middle] ^ 1]) + sound[middle + 1 :])
        # As a failing disk does it: size and times stay as they were.
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert [fault.path for fault in verify(root).faults] == [str(path)]
        path.write_bytes(sound)


# `verify --repair` below runs the commands of all of them.
@pytest.mark.parametrize(
    "name",
    [
        "plan/plan.parquet",
        "shards/train.bin",
        *(
            pytest.param(name, marks=pytest.mark.campaign)
            for name in ("corpus/train/01.jsonl.zst", "tokenizer/tokenizer.json")
        ),
    ],
)
def test_the_printed_command_repairs_the_damage(copied, pile, name):
    root = copied / "root"
    path = root / name
    run(copied / "pile.toml", overrides={"root": str(root)}, jobs=1)
    sound, status = path.read_bytes(), path.stat()
    path.write_bytes(bytes([sound[0] ^ 1]) + sound[1:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    found = pile("verify", "--root", root, "--json")
    assert found.returncode == 4
    assert str(path) in found.stderr
    (fault,) = json.loads(found.stdout)["faults"]
    # The command as printed, with this interpreter's `pile`.
    subprocess.run(
        fault["repair"].replace("&& pile ", f"&& {sys.executable} -m pile_toolkit "),
        shell=True,
        check=True,
        capture_output=True,
        env=process_environment(),
        cwd=copied,
    )
    assert path.read_bytes() == sound
    assert verify(root).faults == []


def test_a_missing_and_a_shortened_file_are_told_apart(copied):
    root = copied / "root"
    (root / "corpus" / "val.jsonl.zst").unlink()
    with (root / "shards" / "val.bin").open("r+b") as file:
        file.truncate(10)
    facts = {fault.path.rpartition("/")[2]: fault.fact for fault in verify(root).faults}
    assert "No such file" in facts["val.jsonl.zst"]
    assert facts["val.bin"].startswith("has 10 bytes")
    with pytest.raises(CorruptData, match="and 1 more"):
        refuse_faults(verify(root))


def test_a_folder_without_outputs_says_what_to_type(tmp_path):
    with pytest.raises(UsageError, match="pile run"):
        verify(tmp_path)


def damage_everything(root) -> None:
    """One bit in the middle of every output that is the root's own."""
    for path in outputs_inside(root):
        turn_over(path, 4 * path.stat().st_size)


def test_repair_brings_back_every_byte_of_a_root_in_which_every_output_is_damaged(copied):
    root = copied / "root"
    before = hashes(root)
    damage_everything(root)
    assert repair_problem(root, before) is None
    assert not (root / JOURNAL).exists()


def test_repair_brings_back_roots_that_were_made_by_single_commands_with_options(pile, source, tmp_path):
    root, weights, mixed = tmp_path / "a root", tmp_path / "weights.toml", tmp_path / "mixed.toml"
    weights.write_text("github = 3\nubuntu-irc = 2.0\nenron-emails = 3.5\n")
    mixed.write_text("github = 3.0\nubuntu-irc = 1.0\nenron-emails = 0.5\n")
    with_reject(source / "ubuntu-irc.jsonl.zst", tmp_path / "mine" / "ubuntu-irc.jsonl.zst")
    small = ["model.layers=1", "model.hidden_size=32", "data.sequence_length=64", "optimizer.learning_rate=1e-3"]
    for words in (
        ["download", "github", "--from", source],
        [
            *("download", "ubuntu-irc", "--from", tmp_path / "mine"),
            "--max-rejects",
            "2",
            "--filter",
            "length:min_characters=400",
        ],
        ["download", "enron-emails", "--from", "sample:", "--mask", "email=nobody@example.org,ip"],
        ["dedup", "--method", "minhash", "--threshold", "0.7", "--num-perm", "64"],
        [
            "build",
            "--weights",
            weights,
            "--seed",
            "5",
            "--val-share",
            "0.1",
            "--test-share",
            "0",
            "--train-shards",
            "2",
            "--mode",
            "the-pile",
            "--share",
            "github=0.4",
        ],
        ["tokenizer", "train", "--vocab-size", "700", "--max-space-run", "8"],
        ["shards", "write"],
        ["shards", "mix", "more-code", "--weights", mixed, "--temperature", "1.5", "--total", "90k"],
        [
            "train",
            "debug",
            "--steps",
            "2",
            "--name",
            "mine",
            "--mix",
            "more-code",
            *(w for s in small for w in ("--set", s)),
        ],
    ):
        alone = [] if words[0] == "train" or words[1] == "mix" else ["--jobs", "1"]
        done = pile(*words, "--root", root, *alone)
        assert done.returncode == 0, done.stderr
    before = hashes(root)
    damage_everything(root)
    assert {fault.stage for fault in verify(root).faults} == {
        *("download", "dedup", "build", "corpus", "tokenizer", "shards", "mix", "train")
    }
    assert repair_problem(root, before) is None


def with_reject(sound, path) -> None:
    """The documents of a file and a line that is none."""
    import zstandard

    path.parent.mkdir()
    path.write_bytes(sound.read_bytes() + zstandard.ZstdCompressor().compress(b"no document\n"))


def test_a_run_goes_on_from_its_last_sound_checkpoint_and_keeps_what_is_sound(copied, monkeypatch):
    # The bytes of a training are those of its number of threads.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = copied / "root"
    before = hashes(root)
    last = max(root.glob("runs/debug/checkpoints/step-*"))
    (damaged,) = last.glob("*.safetensors")
    turn_over(damaged, 8000)
    sound = {path: path.stat().st_ino for path in (root / "runs").rglob("*") if path.is_file() and path != damaged}
    result = pile_package.verify(root, repair=True, jobs=1, reporter=Told([]))
    assert result.faults == []
    assert hashes(root) == before
    assert len(result.repaired) == 1
    assert result.repaired[0].startswith("pile train debug")
    assert {path: path.stat().st_ino for path in sound} == sound
    assert not list(root.glob("runs/*.repair"))


class Told:
    """A reporter that keeps what it is told, and every advance."""

    def __init__(self, said: list[str]) -> None:
        self.said, self.advances = said, []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextlib.contextmanager
    def progress(self, label, *, total, unit):
        yield lambda units, note="": self.advances.append(units)


def test_a_dry_run_names_the_commands_and_changes_nothing(copied, pile):
    root = copied / "root"
    turn_over(root / "plan" / "plan.parquet", 100)
    (root / "corpus" / ".work-0123456789abcdef").mkdir()
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    done = pile("verify", "--repair", "--dry-run", "--root", root)
    assert done.returncode == 4
    assert f"would run: rm {root}/plan/plan.parquet && pile build --seed 7" in done.stdout
    assert f"would remove {root}/corpus/.work-0123456789abcdef" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize("name", ["plan", "shards"])
def test_a_damaged_manifest_is_a_fault_among_others_and_the_stage_is_run_again(copied, name):
    root = copied / "root"
    before = hashes(root)
    manifest = root / name / "manifest.json"
    manifest.write_bytes(b'{"key"' + bytes(40))
    turn_over(root / "shards" / "val.idx", 40)
    damaged = {fault.path for fault in verify(root).faults}
    assert {str(manifest)} <= damaged <= {str(manifest), str(root / "shards" / "val.idx")}
    assert repair_problem(root, before) is None


def test_damaged_timings_are_removed_and_nothing_is_made_anew(copied):
    root = copied / "root"
    before = hashes(root)
    (root / "shards" / "timings.json").write_bytes(b"{")
    (fault,) = verify(root).faults
    assert (fault.stage, fault.repair) == ("shards", f"rm {root}/shards/timings.json")
    assert verify(root, repair=True).faults == []
    assert hashes(root) == before


def test_stages_of_another_input_are_named_and_made_anew_but_no_training_is(copied, pile):
    root = copied / "root"
    words = ["build", "--seed", "8", "--val-share", "0.1", "--test-share", "0.1", "--train-shards", "3", "--root", root]
    assert pile(*words, "--jobs", "1").returncode == 0
    found = verify(root)
    assert found.faults == []
    assert [fault.stage for fault in found.stale] == ["tokenizer", "shards", "stats", "report"]
    assert "was made of another 'plan'" in found.stale[0].fact
    assert found.stale[1].repair == f"pile shards write --root {root}"
    trained = hashes(root / "runs" / "debug")
    after = verify(root, repair=True)
    assert after.faults == []
    # The run is a result of its own: named, and kept as it is.
    assert [fault.stage for fault in after.stale] == ["train"]
    assert hashes(root / "runs" / "debug") == trained
    assert json.loads((root / "plan" / "manifest.json").read_bytes())["key"]["parameters"]["seed"] == 8


def test_progress_advances_within_a_large_file(tmp_path):
    folder = tmp_path / "root" / "dedup"
    folder.mkdir(parents=True)
    (folder / "large").write_bytes(bytes(3 * HASH_BLOCK_BYTES))
    key = StageKey(stage="dedup", format=1, parameters={"method": "exact"})
    publish(folder, key, outputs=[describe(folder, folder / "large")], counts={}, started_at=0.0)
    told = Told([])
    assert verify(tmp_path / "root", jobs=3, reporter=told).faults == []
    assert told.advances == [HASH_BLOCK_BYTES] * 3


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_faults_do_not_depend_on_the_number_of_readers(copied, jobs):
    root = copied / "root"
    for name in ("plan/plan.parquet", "shards/val.bin", "corpus/train/01.jsonl.zst"):
        turn_over(root / name, 100)
    found = [fault.path.removeprefix(f"{root}/") for fault in verify(root, jobs=jobs).faults]
    assert found == ["plan/plan.parquet", "corpus/train/01.jsonl.zst", "shards/val.bin"]
