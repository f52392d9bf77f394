"""What would end a training of many ranks later is found before its first step, on the rank and host where it is."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pile_toolkit.core.errors import OutOfSpace
from trainer.distributed import join_world
from trainer.preflight import check_ranks

REPOSITORY = Path(__file__).resolve().parents[2]
CASES = """
import sys
from pathlib import Path

from pile_toolkit.core.errors import PileError
from trainer import preflight
from trainer.distributed import choose_device, join_world

folder = Path(sys.argv[1])

def missing():
    raise FileNotFoundError(2, "No such file or directory", "train.idx")

with join_world(choose_device("cpu")) as world:
    second = world.rank == 1
    same = lambda: {"token shards": "aa", "tokenizer": "bb"}
    cases = {
        "fine": (folder / "run", 10, same),
        "other shards": (folder / "run", 10, lambda: {"token shards": "cc" if second else "aa", "tokenizer": "bb"}),
        "no shards": (folder / "run", 10, missing if second else same),
        "two folders": (folder / ("elsewhere" if second else "run"), 10, same),
        "full disk": (folder / "run", 10**15 if second else 10, same),
        "fine again": (folder / "run", 10, same),
    }
    for name, (run, parameters, facts) in cases.items():
        try:
            preflight.check_ranks(world, run=run, parameters=parameters, facts=facts)
            said = "fine"
        except PileError as error:
            said = f"{type(error).__name__}: {error.message}"
        for rank, each in enumerate(world.gather(said)):
            if world.is_first:
                print(f"{name} | {rank} | {each}", flush=True)
"""


def test_one_process_is_told_of_a_disk_without_room_for_two_checkpoints(tmp_path):
    run = tmp_path / "runs" / "a"
    with join_world(torch.device("cpu")) as world:
        check_ranks(world, run=run, parameters=1000, facts=dict)
        with pytest.raises(OutOfSpace, match="two checkpoints of this model take 24,000,000,000,000,000") as error:
            check_ranks(world, run=run, parameters=10**15, facts=dict)
        assert error.value.message.startswith(f"{tmp_path} has ")
        # What a run has written already needs no more room.
        (run / "checkpoints").mkdir(parents=True)
        with (run / "checkpoints" / "sparse").open("wb") as file:
            file.truncate(1 << 40)
        parameters = (shutil.disk_usage(tmp_path).free + (1 << 39)) // 24
        check_ranks(world, run=run, parameters=parameters, facts=dict)


def test_a_rank_that_differs_is_named_with_its_host_on_all_ranks(tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text(CASES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", worker, tmp_path]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    said = [line.split(" | ") for line in done.stdout.splitlines()]
    here = f"rank 1 on {socket.gethostname()}: "
    expected = {
        "fine": "fine",
        "other shards": f"CorruptData: {here}token shards: the content is cc, on rank 0 aa",
        "no shards": f"CorruptData: {here}[Errno 2] No such file or directory: 'train.idx'",
        "two folders": f"UsageError: {here}{tmp_path / 'elsewhere'} is not the folder that rank 0 writes to",
        "full disk": f"OutOfSpace: {here}{tmp_path / 'run'} has ",
        "fine again": "fine",
    }
    assert [name for name, rank, _ in said if rank == "0"] == list(expected)
    for name, _, found in said:
        assert found.startswith(expected[name]), name
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["worker.py"]
