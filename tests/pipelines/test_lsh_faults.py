"""Clustering in a process of its own: killed in mid-run it continues to the same bytes, and its memory is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from pipelines.lsh.loading import load_buckets, load_verification
from pipelines.lsh.sets import write_sets
from tests.making import REPOSITORY
from tests.pipelines.lsh_twin import DIGEST, write_rows


def cluster(folder, *numbers, **environment):
    """Runs the twin's command on the files in a folder: jobs, MiB, rows a worker (0: as the memory says)."""
    deadly = REPOSITORY / "tests" / "faults" / "deadly"
    variables = {**os.environ, "PYTHONPATH": f"{deadly}:{REPOSITORY}", **environment}
    command = [sys.executable, "-m", "tests.pipelines.lsh_twin", str(folder), *map(str, numbers)]
    return subprocess.run(command, env=variables, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of band hashes and sets of 600,000 documents, in buckets of some two."""
    folder, count = tmp_path_factory.mktemp("made"), 600_000
    kinds = np.random.default_rng(4).integers(0, 300_000, count)
    write_rows(folder, np.stack([kinds, kinds // 2, kinds % 199_999], axis=1).astype(np.uint64), [count])
    with write_sets(folder / "0.sets", digest=DIGEST) as writer:
        sets = kinds[:, None] * 10 + np.stack(
            [np.zeros(count, np.int64), 1 + kinds % 3, 4 + np.arange(count) % 3], axis=1
        )
        writer.add(np.arange(count), np.arange(count + 1) * 3, sets.astype(np.uint64).ravel())
    return folder


def prepared(folder, made):
    folder.mkdir()
    for path in made.iterdir():
        (folder / path.name).hardlink_to(path)
    return folder


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_killed_run_continues_to_the_same_bytes(tmp_path, made):
    load_buckets()
    load_verification()
    log = tmp_path / "log"
    undisturbed = prepared(tmp_path / "undisturbed", made)
    done = cluster(undisturbed, 1, 1024, 250_000, FAULT_FOLDER=f"{undisturbed}/work", FAULT_LOG=str(log))
    assert done.returncode == 0, done.stderr
    operations = len(log.read_text().splitlines())
    expected = tree(undisturbed)
    assert sum(name.endswith("result.json") for name in expected) >= 6
    for number, (share, jobs) in enumerate([(0.8, 1), (0.1, 2)]):
        folder = prepared(tmp_path / str(number), made)
        fault = {"FAULT_FOLDER": f"{folder}/work", "FAULT_AT": str(int(share * operations) if jobs == 1 else 5)}
        killed = cluster(folder, jobs, 1024, 250_000, FAULT_KILLS="process", **fault)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (folder / "result.npy").exists()
        again = cluster(folder, jobs, 1024, 250_000)
        assert again.returncode == 0, again.stderr
        assert tree(folder) == expected


def test_the_memory_that_is_given_is_kept(tmp_path):
    """Two passes over each band: all rows of one would take 15 MB more than there is."""
    load_buckets()
    rows = np.random.default_rng(6).integers(0, 3_000_000, (3_500_000, 2), dtype=np.uint64)
    write_rows(tmp_path, rows, [3_500_000])
    done = cluster(tmp_path, 1, 205, 0)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "work").glob("edges-*"))) == 4
    assert int(done.stdout) << 10 <= 205 << 20


def test_sets_larger_than_the_memory_are_verified_in_it(tmp_path):
    """100 MB of sets, which are mapped, and count as the process's as long as they are."""
    load_verification()
    count, size = 50_000, 250
    write_rows(tmp_path, np.arange(count, dtype=np.uint64)[:, None] // 2, [count])
    with write_sets(tmp_path / "0.sets", digest=DIGEST) as writer:
        values = np.arange(size, dtype=np.uint64)[None, :] + np.arange(count, dtype=np.uint64)[:, None]
        writer.add(np.arange(count), np.arange(count + 1) * size, values.ravel())
    done = cluster(tmp_path, 1, 220, 0)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "result.npy") // 2, np.arange(count) // 2)
    assert int(done.stdout) << 10 <= 220 << 20
