"""`pile run` is killed with SIGKILL, whole process group at once, and run again: the bytes of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess

import psutil
import pytest

from pile_toolkit.chain.verify import find_manifests, verify
from tests.chain.small_chain import deterministic_outputs, pile_command, process_environment

# Files whose appearance is the moment to kill: a stage of tasks and the training, each in mid-work.
MOMENTS = ["corpus/.work-*/deal-*", "runs/debug/checkpoints/step-00000004"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_in_mid_stage_and_run_again_gives_the_same_bytes(undisturbed, configure, tmp_path, moment):
    config = configure(tmp_path)
    root = tmp_path / "root"
    command = pile_command(["run", config, "--jobs", "2"])
    victim = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=process_environment(), start_new_session=True)
    try:
        while not any(root.glob(moment)):
            assert victim.poll() is None, f"the run ended before {moment} appeared"
    finally:
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
    finished = {folder for folder, _ in find_manifests(root)}
    assert not any(folder.name == "reports" for folder in finished)
    # What has a manifest is whole, even now.
    assert verify(root).faults == []
    again = subprocess.run(command, capture_output=True, text=True, env=process_environment())
    assert again.returncode == 0, again.stderr
    assert deterministic_outputs(root) == deterministic_outputs(undisturbed / "root")
    assert not list(root.rglob(".work-*")), "work folders of a finished stage are removed"


def test_ctrl_c_leaves_no_process_and_says_how_to_go_on(configure, tmp_path):
    config = configure(tmp_path)
    command = pile_command(["run", config, "--jobs", "2"])
    victim = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=process_environment(),
        start_new_session=True,
    )
    while not any((tmp_path / "root").glob("dedup/.work-*/*")):
        assert victim.poll() is None
    os.killpg(victim.pid, signal.SIGINT)
    _, said = victim.communicate()
    assert victim.returncode == 130
    assert "run the same command to continue" in said
    assert "Traceback" not in said
    left = [process for process in psutil.process_iter() if _group(process) == victim.pid]
    _, alive = psutil.wait_procs(left, timeout=30)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None
