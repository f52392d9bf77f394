"""One flipped byte anywhere is found, named, and repaired by the command that is printed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from pile_toolkit.chain.run import run
from pile_toolkit.chain.verify import find_manifests, refuse_faults, verify
from pile_toolkit.core.errors import CorruptData, UsageError
from tests.chain.small_chain import process_environment


@pytest.fixture
def copied(undisturbed, tmp_path):
    """A finished root that a test may damage."""
    shutil.copytree(undisturbed, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def test_a_sound_root_has_no_faults(undisturbed):
    result = verify(undisturbed / "root")
    assert result.faults == []
    assert result.stages == 13
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


@pytest.mark.parametrize(
    "name", ["plan/plan.parquet", "corpus/train/01.jsonl.zst", "shards/train.bin", "tokenizer/tokenizer.json"]
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
