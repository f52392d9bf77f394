"""What is not the root's own is named and never touched; what killed runs left is named and removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from pile_toolkit.chain.repair import JOURNAL
from pile_toolkit.chain.verify import verify
from pile_toolkit.core.errors import CorruptData, TryAgain
from pile_toolkit.core.lease import hold_root
from tests.faults.flips import hashes, repair_problem, turn_over


@pytest.fixture
def copied(undisturbed, tmp_path):
    """A finished root that a test may damage."""
    shutil.copytree(undisturbed, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def test_what_killed_writers_left_is_named_with_its_size_and_removed_by_a_repair(copied):
    root = copied / "root"
    dead = subprocess.Popen(["true"])
    dead.wait()
    work, temporary = root / "dedup" / ".work-0123456789abcdef", root / "plan" / f".plan.parquet.{dead.pid}.tmp"
    (work / "part").mkdir(parents=True)
    (work / "part" / "rows").write_bytes(bytes(1000))
    temporary.write_bytes(bytes(10))
    begun = root / "dedup" / "fingerprints" / f"arxiv-a.jsonl.zst-00.partial-{dead.pid}-0123abcd"
    begun.mkdir(parents=True)
    (begun / "rows").write_bytes(bytes(30))
    writing = root / "plan" / f".plan.parquet.{os.getpid()}.tmp"
    writing.write_bytes(bytes(20))
    found = verify(root)
    assert found.faults == []
    assert {(item.path, item.bytes) for item in found.leftovers} == {
        (str(work), 1000),
        (str(temporary), 10),
        (str(begun), 30),
    }
    with hold_root(root):
        # Of a run at work nothing is a leftover.
        assert verify(root).leftovers == []
    assert verify(root, repair=True).leftovers == []
    assert not work.exists()
    assert writing.exists()


def test_files_outside_the_root_are_named_and_never_touched(copied, pile, source):
    root = copied / "root"
    mine = copied / "mine"
    shutil.copytree(source, mine)
    done = pile("download", "github", "--from", mine, "--root", root)
    assert done.returncode == 0, done.stderr
    turn_over(mine / "github.jsonl.zst", 800)
    bytes_before = (mine / "github.jsonl.zst").read_bytes()
    done = pile("verify", "--repair", "--root", root)
    assert done.returncode == 4
    assert f"{mine}/github.jsonl.zst has the hash" in done.stderr
    assert "never written" in done.stderr
    assert (mine / "github.jsonl.zst").read_bytes() == bytes_before


@pytest.mark.parametrize("name", ["../../outside", "../outside", "link/outside"])
def test_an_output_that_leads_out_of_the_root_is_never_removed(copied, name):
    root = copied / "root"
    (root / "dedup" / "link").symlink_to(copied)
    outside = (root / "dedup" / name).resolve()
    outside.write_bytes(b"mine")
    manifest = root / "dedup" / "manifest.json"
    content = json.loads(manifest.read_bytes())
    content["outputs"].append({"path": name, "bytes": 5, "hash": "0" * 32})
    manifest.write_text(json.dumps(content))
    # As if the stage itself had written it so.
    timings = root / "dedup" / "timings.json"
    timings.write_text(json.dumps({**json.loads(timings.read_bytes()), "manifest": ""}))
    assert {str(manifest), str(root / "dedup" / name)} & {fault.path for fault in verify(root).faults}
    verify(root, repair=True, jobs=1)
    assert outside.read_bytes() == b"mine"


def test_a_repair_that_was_cut_off_is_taken_up_by_the_next(copied):
    root = copied / "root"
    before = hashes(root)
    turn_over(root / "plan" / "plan.parquet", 100)
    (fault,) = verify(root).faults
    # As a kill leaves it in mid-build: the file and the manifest that knows the options are gone.
    (root / JOURNAL).write_text(json.dumps([{"command": fault.remedy.command, "remove": fault.remedy.remove}]))
    (root / "plan" / "plan.parquet").unlink()
    (root / "plan" / "manifest.json").unlink()
    found = verify(root)
    assert [fault.path for fault in found.faults] == [str(root / JOURNAL)]
    assert repair_problem(root, before) is None


def test_a_record_of_a_repair_from_elsewhere_removes_nothing(copied):
    root, mine = copied / "root", copied / "mine"
    mine.write_bytes(b"mine")
    (root / JOURNAL).write_text(json.dumps([{"command": None, "remove": [str(mine)]}]))
    with pytest.raises(CorruptData, match="of another root"):
        verify(root, repair=True)
    assert mine.read_bytes() == b"mine"


def test_a_repair_waits_for_nobody_and_removes_nothing_while_another_run_holds_the_root(copied, pile):
    root = copied / "root"
    turn_over(root / "plan" / "plan.parquet", 100)
    with hold_root(root):
        done = pile("verify", "--repair", "--root", root)
    assert done.returncode == TryAgain.exit_code
    assert (root / "plan" / "plan.parquet").exists()
