"""The same bytes from any workers, any memory, after any kill, and from fingerprints that earlier runs left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from pile_toolkit.core.components import read_component
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import MANIFEST, read_manifest
from pile_toolkit.core.tasks import RESULT
from pipelines.dedup import dedup
from pipelines.dedup.fingerprints import EXACT_FILE, NEAR_FILE, ROWS_FILE, STORE
from pipelines.download import download
from tests.chain.small_chain import pile_command, process_environment
from tests.making import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

VERIFIED = {"method": "minhash", "threshold": 0.6, "verify": True}
COMMAND = ["dedup", "--method", "minhash", "--threshold", "0.6", "--verify"]
DEADLY = REPOSITORY / "tests" / "faults" / "deadly"


def tree(root: Path) -> dict[str, bytes]:
    """Everything in the stage's folder that does not say when it was made, fingerprints included."""
    folder = root / "dedup"
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "timings.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def entries(root: Path) -> set[str]:
    return {path.name for path in (root / "dedup" / STORE).iterdir()}


def run_pile(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    variables = {**process_environment(), "PYTHONPATH": f"{DEADLY}:{os.environ.get('PYTHONPATH', '')}", **environment}
    command = pile_command([*COMMAND, "--root", root, *arguments])
    return subprocess.run(command, env=variables, cwd=REPOSITORY, capture_output=True, text=True, check=False)


# Every phase starts its own workers. Daily a stage of several phases has Dask in tests/faults: "tcp, minhash".
@pytest.mark.parametrize(
    ("options", "workers"),
    [
        (VERIFIED, {"jobs": 4, "scheduler": "serial"}),
        (VERIFIED, {"jobs": 2}),
        pytest.param({"method": "exact"}, {"jobs": 2, "scheduler": "dask"}, marks=pytest.mark.campaign),
    ],
)
def test_the_bytes_do_not_depend_on_workers_or_the_root(make_root, random_corpus, options, workers):
    expected = make_root(random_corpus(4), "one")
    dedup(expected, **options, memory="1GiB")
    root = make_root(random_corpus(4), "other")
    dedup(root, **options, **workers, memory="3GiB")
    assert tree(root) == tree(expected)


# What is being written, in the order of the phases.
PHASES = {
    "fingerprints": r"/fingerprints/enron-emails.*/\.?near\.bands",
    "buckets": r"/near/edges-\w+.*/edges-0$",
    "verification": r"/stars/stars-.*/edges$",
    "tables": r"/\.clusters\.parquet\.",
}


def test_killed_in_any_phase_it_continues_to_the_same_bytes(make_root, random_corpus, tmp_path):
    log, whole = tmp_path / "log", make_root(random_corpus(5), "whole")
    # An earlier keep-list of other parameters must not pass for this one's.
    dedup(whole, method="exact")
    done = run_pile(whole, "--jobs", "1", FAULT_FOLDER=f"{whole}/dedup", FAULT_LOG=str(log))
    assert done.returncode == 0, done.stderr
    operations = log.read_text().splitlines()
    for phase, pattern in PHASES.items():
        root = make_root(random_corpus(5), phase)
        dedup(root, method="exact")
        at = next(number for number, line in enumerate(operations, start=1) if re.search(pattern, line))
        fault = {"FAULT_FOLDER": f"{root}/dedup", "FAULT_AT": str(at), "FAULT_KILLS": "process"}
        killed = run_pile(root, "--jobs", "1", **fault)
        assert killed.returncode == -signal.SIGKILL, (phase, killed.stderr)
        assert not (root / "dedup" / MANIFEST).exists(), phase
        assert any(re.search(r"/\.work-", str(path)) for path in root.glob("dedup/.work-*")), phase
        dedup(root, **VERIFIED)
        assert tree(root) == tree(whole), phase


def test_what_a_killed_run_had_finished_is_not_read_again(make_root, random_corpus, run_killed):
    root = make_root(random_corpus(5))
    assert run_killed(f"dedup({str(root)!r}, method='minhash', reporter=reporter)", 2) == -9
    finished = {path.parent.name for path in (root / "dedup" / STORE).glob(f"*/{RESULT}")}
    assert len(finished) == 2
    for slug in ("pile-cc", "arxiv", "enron-emails"):
        for file in read_component(root, slug).files:
            if any(file.hash in name for name in finished):
                file.path.unlink()
    assert dedup(root, method="minhash").documents == 60


@pytest.mark.parametrize("change", ["changed", "is gone"])
@pytest.mark.parametrize("options", [{}, {"method": "minhash", "verify": True}])
def test_a_file_that_is_not_the_one_taken_in_is_refused(make_root, write_source, change, options):
    # The keep-list would bear the name of contents that it was not made of.
    root = make_root({"arxiv": ["one", "two", "two"]})
    source = root.with_name("root-source")
    if options:
        # Its fingerprints are there; the sets are made of the file as it is now.
        dedup(root, method="minhash")
    if change == "changed":
        write_source(source, {"arxiv": ["two", "one", "one"]})
    else:
        (source / "arxiv.jsonl.zst").unlink()
    with pytest.raises(CorruptData, match=rf"arxiv\.jsonl\.zst {change} since it was downloaded") as error:
        dedup(root, **options)
    assert error.value.hint == "pile download again, then pile dedup"
    assert not (root / "dedup" / MANIFEST).exists()


def test_an_added_component_is_read_and_nothing_else(make_root, random_corpus, tmp_path):
    corpus = random_corpus(6)
    whole = make_root(corpus, "whole")
    dedup(whole, method="minhash")
    added = {"arxiv": corpus.pop("arxiv")}
    root = make_root(corpus, "root")
    dedup(root, method="minhash")
    before = {path: path.stat().st_mtime_ns for path in (root / "dedup" / STORE).rglob("*") if path.is_file()}
    other = make_root(added, "added")
    download(root, components=["arxiv"], source=str(other.with_name("added-source")))
    # What is gone cannot be read.
    for slug in corpus:
        for file in read_component(root, slug).files:
            file.path.unlink()
    assert not dedup(root, method="minhash").up_to_date
    assert tree(root) == tree(whole)
    after = {path: path.stat().st_mtime_ns for path in (root / "dedup" / STORE).rglob("*") if path.is_file()}
    assert before.items() <= after.items()
    assert len(after) == 2 * len(before)


def test_a_file_of_the_same_name_with_other_documents_is_read(make_root, write_source):
    root = make_root({"arxiv": {"a.jsonl.zst": ["x", "y"], "b.jsonl.zst": ["y"]}})
    assert dedup(root).kept == 2
    write_source(root.with_name("root-source"), {"arxiv": {"a.jsonl.zst": ["x", "z"]}})
    download(root, components=["arxiv"], source=str(root.with_name("root-source")))
    assert dedup(root).kept == 3


def test_fingerprints_of_files_that_are_gone_and_of_other_settings_are_forgotten(make_root, random_corpus, tmp_path):
    corpus = random_corpus(7)
    root = make_root(corpus)
    dedup(root, method="minhash")
    first = entries(root)
    assert len(first) == 4
    dedup(root, method="minhash", num_perm=64)
    second = entries(root)
    assert len(second) == 4
    assert not first & second
    for path in (root / "components" / "arxiv").iterdir():
        path.unlink()
    dedup(root, method="minhash", num_perm=64)
    assert {name.split("-")[0] for name in entries(root)} == {"pile", "enron"}
    assert entries(root) < second


def test_verification_and_another_threshold_of_the_same_bands_use_the_fingerprints_that_are_there(make_root):
    root = make_root({"arxiv": ["a b c d e f g"] * 3})
    options = {"method": "minhash", "bands": 9, "rows": 13}
    dedup(root, **options)
    (rows,) = (root / "dedup" / STORE).glob(f"*/{ROWS_FILE}")
    written = rows.stat().st_ino
    assert dedup(root, **options, verify=True, threshold=0.5).kept == 1
    assert rows.stat().st_ino == written


@pytest.mark.parametrize("name", [ROWS_FILE, EXACT_FILE, NEAR_FILE, RESULT])
@pytest.mark.parametrize("damage", ["a bit", "gone"])
def test_damaged_fingerprints_are_made_again(make_root, random_corpus, name, damage):
    root, whole = make_root(random_corpus(8), "root"), make_root(random_corpus(8), "whole")
    dedup(whole, method="minhash")
    dedup(root, method="minhash")
    (root / "dedup" / MANIFEST).unlink()
    for path in (root / "dedup" / STORE).glob(f"*/{name}"):
        if damage == "gone":
            path.unlink()
            continue
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    dedup(root, method="minhash")
    assert tree(root) == tree(whole)


def test_two_files_of_one_content_count_twice(make_root):
    root = make_root({"arxiv": {"a.jsonl.zst": ["x", "y"], "b.jsonl.zst": ["x", "y"]}, "github": ["y"]})
    result = dedup(root, method="minhash")
    assert (result.documents, result.kept, result.clusters) == (5, 2, 2)
    assert result.shared == {"arxiv": {"arxiv": 4, "github": 2}, "github": {"arxiv": 1}}


@pytest.mark.parametrize(("jobs", "least"), [(1, 320), (3, 928)])
def test_too_little_memory_is_refused_before_anything_is_touched(make_root, jobs, least):
    root = make_root({"arxiv": ["a"]})
    dedup(root)
    before = tree(root)
    with pytest.raises(UsageError, match=f"are too little for {jobs} worker.*it takes {least} MiB") as error:
        dedup(root, method="minhash", jobs=jobs, memory=f"{least - 1}MiB")
    assert f"--memory {least}MiB" in error.value.hint
    assert tree(root) == before
    if jobs == 1:
        assert not dedup(root, method="minhash", memory=f"{least}MiB").up_to_date


def test_memory_is_no_parameter_of_the_result(make_root):
    root = make_root({"arxiv": ["a", "a"]})
    dedup(root, method="minhash", memory="2GiB")
    assert dedup(root, method="minhash").up_to_date
    assert "memory" not in read_manifest(root / "dedup").key.parameters
