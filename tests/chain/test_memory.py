"""Bounds grow with what they are said to depend on, `pile plan` prints them, the benchmark sees all processes."""

from __future__ import annotations

import sys

import msgspec
import pytest

from benchmarks.memory import MIB, STAGES, measure, show
from pile_toolkit.chain.forecast import plan
from pile_toolkit.chain.memory import MemoryInput, counted, memory_bounds
from pile_toolkit.core.memory import machine_bytes
from pipelines.catalog import components

WORK = MemoryInput(
    documents=1000,
    copies=1500,
    text_bytes=10_000_000,
    copied_bytes=15_000_000,
    largest_file_documents=500,
    largest_component_documents=600,
    longest_bytes=100_000,
    against_bytes=10_000,
    train_shards=10,
)


def test_more_of_anything_never_needs_less():
    small = memory_bounds(WORK)
    for name in WORK.__struct_fields__:
        more = memory_bounds(msgspec.structs.replace(WORK, **{name: getattr(WORK, name) * 100}))
        if name != "train_shards":
            assert all(more[stage] >= bound for stage, bound in small.items()), name
        assert more != small, name
    assert all(memory_bounds(WORK, jobs=2)[stage] >= bound for stage, bound in small.items())


def test_more_output_files_make_the_sorting_of_one_smaller():
    whole = msgspec.structs.replace(WORK, copied_bytes=1 << 40, train_shards=1)
    parts = msgspec.structs.replace(whole, train_shards=100)
    assert memory_bounds(parts)["corpus"] < memory_bounds(whole)["corpus"] / 90


def test_every_stage_that_is_measured_has_a_bound_and_the_other_way_round():
    assert {stage.bound for stage in STAGES} == set(memory_bounds(WORK))


def test_the_bounds_of_a_plan_are_those_of_its_numbers(tmp_path):
    (tmp_path / "pile.toml").write_text('[download]\nfrom = "https://localhost/pile/"\n[dedup]\nmethod = "minhash"\n')
    stages = {
        jobs: {row.stage: row.memory_bytes for row in plan(tmp_path / "pile.toml", jobs=jobs).stages} for jobs in (1, 4)
    }
    documents = [component.documents for component in components()]
    assert stages[1]["dedup"] > 60 * sum(documents)
    # A shard of 1,254 GiB / 30 for each job is more than is taken: half of the machine's memory.
    assert stages[4]["corpus"] == stages[1]["corpus"] == max(machine_bytes() // 2, stages[1]["plan"])
    given = plan(tmp_path / "pile.toml", overrides={"build.memory": "5GiB"}).stages
    assert next(row.memory_bytes for row in given if row.stage == "corpus") == max(5 << 30, stages[1]["plan"])
    assert set(stages[1]) <= {"dedup", *memory_bounds(WORK)}


def test_what_a_root_holds_is_counted(undisturbed):
    root = undisturbed / "root"
    work = counted(root, train_shards=3)
    forecast = plan(undisturbed / "pile.toml")
    assert work.documents == sum(row.documents for row in forecast.components)
    assert work.text_bytes == sum(row.bytes for row in forecast.components)
    assert work.largest_file_documents <= work.largest_component_documents < work.documents
    assert work.longest_bytes * work.copies > work.copied_bytes > work.text_bytes


def test_the_memory_of_a_command_is_that_of_all_its_processes():
    # Long enough to be seen.
    work = "sum(range(10_000_000))"
    block = f"import subprocess, sys; block = b'x' * (64 * {MIB}); "
    child = f"subprocess.run([sys.executable, '-c', {block + work!r}])"
    alone, both = (measure([sys.executable, "-c", block + code]) for code in (work, child))
    assert 64 * MIB < alone < 100 * MIB
    assert 128 * MIB < both < 200 * MIB
    with pytest.raises(SystemExit, match="no such thing"):
        measure([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_a_bound_that_is_exceeded_is_said_and_remembered():
    bound = memory_bounds(WORK)["verify"]
    larger = msgspec.structs.replace(WORK, text_bytes=WORK.text_bytes * 10)
    for peak, held in ((bound, True), (bound + 1, False)):
        text, all_held = show("text", [WORK, larger], [{("verify", 1): MIB}, {("verify", 1): peak}])
        assert (all_held, "| yes |" in text, "| **no** |" in text) == (held, held, not held)
