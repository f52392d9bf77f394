"""Roots made by the real stages, from documents that were written for the tests and from real ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.report.roots import (
    RUN,
    SCRIPT,
    STEPS,
    Made,
    hostile_source,
    line_of,
    read_input,
    report_on,
    run_stages,
    write_input,
    write_run,
)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Every stage finished, on documents that would take over the page if they could."""
    folder = tmp_path_factory.mktemp("hostile")
    source = hostile_source(folder / "source")
    root = folder / f"root {SCRIPT.replace('/', '')}"
    run_stages(source, root, method="minhash", vocab_size=700)
    write_run(root, RUN, steps=STEPS)
    return report_on(source, root)


@pytest.fixture(scope="session")
def real(minipile: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Every stage up to the shards on real text: all 22 components, some documents of each, long ones cut."""
    folder = tmp_path_factory.mktemp("real")
    for path in sorted(minipile.glob("*.jsonl.zst")):
        lines = read_input(path)
        some = [json.loads(line)["text"][:6000] for line in lines[:: max(len(lines) // 12, 1)]]
        write_input(folder / "source" / path.name, [line_of(text) for text in some])
    run_stages(folder / "source", folder / "root", method="exact", vocab_size=900)
    return report_on(folder / "source", folder / "root")


@pytest.fixture(params=["hostile", "real"])
def made(request: pytest.FixtureRequest) -> Made:
    """Each of the two in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def copy(hostile: Made, tmp_path: Path) -> Path:
    """A copy of the hostile root that a test may change, file times kept."""
    return Path(shutil.copytree(hostile.root, tmp_path / "copy"))
