"""Small things on a disk for tests: components as a download leaves them, a plan over them, a disk soon full."""

from __future__ import annotations

import contextlib
import contextvars
import os
import subprocess
import time
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import settings

from pile_toolkit.core.components import ComponentDocuments, component_folder, read_component
from pile_toolkit.core.documents import Document, DocumentWriter, read_records
from pile_toolkit.core.lease import Lease, hold_root
from pile_toolkit.core.manifest import StageKey, describe, publish
from pile_toolkit.core.plan import PLAN_FILE, SPLITS, Plan, PlanComponent, PlanHeader, schema, write_plan
from pile_toolkit.core.seeds import text_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parents[1]
# The profile of hypothesis that `make campaign` chooses (tests/conftest.py).
CAMPAIGN = "campaign"


def examples(full: int, *, daily: int) -> int:
    """How many examples a hypothesis test tries where each costs much: `full` in `make campaign`, else `daily`."""
    return full if settings.get_current_profile_name() == CAMPAIGN else daily


def write_component(root: Path, slug: str, files: Mapping[str, Sequence[str | tuple[str, Any]] | bytes]) -> None:
    """A component under `root/components/`, as a finished download leaves it.

    `files` maps names such as `00.jsonl.zst` to texts, to (text, meta), or to the bytes of all lines as they stand.
    """
    folder, started_at = component_folder(root, slug), time.time()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(content))
            continue
        with DocumentWriter(folder / name) as writer:
            for item in content:
                writer.write(*((item, {"pile_set_name": slug}) if isinstance(item, str) else item))
    publish(
        folder,
        StageKey(stage="download", format=1, parameters={"component": slug}),
        outputs=[describe(folder, folder / name) for name in files],
        counts={"files": [_counts(folder / name) for name in files]},
        started_at=started_at,
    )


def _counts(path: Path) -> dict[str, Any]:
    records = list(read_records(path))
    texts = [record.text for record in records if isinstance(record, Document)]
    return {
        "name": path.name,
        "documents": len(texts),
        "text_bytes": sum(len(text.encode()) for text in texts),
        "rejects": len(records) - len(texts),
    }


def plan_rows(component: ComponentDocuments, number: int = 0) -> list[dict[str, Any]]:
    """One row of the plan per document of a component: in train, one copy, whole."""
    return [
        {
            "component": number,
            "file": file_number,
            "line": record.line,
            "piece_start": None,
            "piece_end": None,
            "split": SPLITS.index("train"),
            "copies": 1,
            "bytes": len(record.text.encode()),
            "text_hash": text_hash(record.text),
            "ordinal": 0,
        }
        for file_number, file in enumerate(component.files)
        for record in read_records(file.path)
        if isinstance(record, Document)
    ]


def make_plan(
    root: Path, slugs: Sequence[str], *, seed: int = 1234, change: Callable[[dict[str, Any]], Any] | None = None
) -> Plan:
    """Writes and reads the plan of components that are there; `change` may alter each row, a dictionary, in place.

    Ordinals among equal texts are counted here, as the build counts them: in plan order, over all components.
    """
    components = [read_component(root, slug) for slug in slugs]
    rows = [row for number, component in enumerate(components) for row in plan_rows(component, number)]
    for _, same in groupby(sorted(rows, key=lambda row: row["text_hash"]), key=lambda row: row["text_hash"]):
        for ordinal, row in enumerate(same):
            row["ordinal"] = ordinal
    for row in rows:
        if change is not None:
            change(row)
    return put_plan(root, components, rows, seed=seed)


def put_plan(
    root: Path, components: Sequence[ComponentDocuments], rows: Sequence[dict[str, Any]], *, seed: int = 1234
) -> Plan:
    """Writes and reads the plan of these rows, in their order."""
    header = PlanHeader(
        seed=seed,
        components=[
            PlanComponent(slug=component.slug, files=[file.counts.name for file in component.files])
            for component in components
        ],
    )
    columns = {name: [row[name] for row in rows] for name in schema().names}
    write_plan(root / "plan" / PLAN_FILE, header, columns)
    return Plan.read(root)


@contextlib.contextmanager
def held_by_another_run(root: Path) -> Iterator[Lease]:
    """`root` held for this block by a run that this thread's own calls do not belong to."""
    context, held = contextvars.Context(), hold_root(root)
    lease = context.run(held.__enter__)
    try:
        yield lease
    finally:
        context.run(held.__exit__, None, None, None)


@contextlib.contextmanager
def small_disk(folder: Path, *, size_bytes: int) -> Iterator[Path]:
    """A real file system of `size_bytes` mounted on `folder`; the test skips where this user may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder)]
    if os.geteuid() != 0:
        pytest.skip("a full disk needs a small file system, and only root may mount one")
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        if subprocess.run(["umount", str(folder)], capture_output=True).returncode != 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
            pytest.fail(f"a file on {folder} was left open")


def resize_disk(folder: Path, *, size_bytes: int) -> None:
    """Gives a small disk another size, in place."""
    subprocess.run(["mount", "-o", f"remount,size={size_bytes}", str(folder)], check=True, capture_output=True)
