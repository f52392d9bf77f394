"""Small corpora on disk: downloaded roots, random documents with planted duplicates, runs that are killed midway."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pile_toolkit.core.documents import DocumentWriter
from pipelines.dedup import dedup
from pipelines.download import download

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parents[2]

# Ends itself for good at the nth report of progress: the point of death does not depend on the machine's speed.
KILLED_RUN = """
import contextlib, os, signal, sys

class Deadly:
    left = int(sys.argv[1])
    def say(self, text): pass
    @contextlib.contextmanager
    def progress(self, label, *, total, unit):
        yield self.advance
    def advance(self, units):
        Deadly.left -= 1
        if Deadly.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    from pile_toolkit.core.plan import Plan
    from pipelines.build import build
    from pipelines.dedup import dedup
    reporter = Deadly()
    {call}
"""


def _write(path: Path, documents: list) -> None:
    with DocumentWriter(path) as writer:
        for document in documents:
            text, meta = (document, {}) if isinstance(document, str) else document
            writer.write(text, meta)


@pytest.fixture
def write_source() -> Callable[..., Path]:
    """(folder, {slug: documents, or {file name: documents}}): writes a source; a document is a text or (text, meta)."""

    def write(folder: Path, components: dict) -> Path:
        for slug, documents in components.items():
            if isinstance(documents, dict):
                for name, part in documents.items():
                    _write(folder / slug / name, part)
            else:
                _write(folder / f"{slug}.jsonl.zst", documents)
        return folder

    return write


@pytest.fixture
def make_root(tmp_path, write_source) -> Callable[..., Path]:
    """(components, name): the root of that name with these components downloaded from a folder of its own."""

    def make(components: dict, name: str = "root") -> Path:
        source = write_source(tmp_path / f"{name}-source", components)
        root = tmp_path / name
        download(root, components=list(components), source=str(source))
        return root

    return make


@pytest.fixture
def random_corpus() -> Callable[..., dict]:
    """(seed, documents): three components, one of them in two files, with copies and variants of each other's texts."""
    return _random_corpus


def _random_corpus(seed: int, documents: int = 60) -> dict:
    rng = random.Random(seed)
    words = [f"{rng.choice('bcdfgk')}{rng.choice('aeiou')}{number}" for number in range(200)]
    texts = ["", " \n", "One"]
    while len(texts) < documents:
        fresh = rng.choices(words, k=rng.choice((3, 20, 60, 120)))
        near = rng.choice(texts).split()
        if near:
            near[rng.randrange(len(near))] = rng.choice(words)
        old = rng.choice(texts)
        kinds = (
            " ".join(fresh),
            " ".join(fresh),
            old,
            " ".join(near),
            old.upper(),
            old.replace(" ", "\n\t"),
            old + " é",
        )
        texts.append(rng.choice(kinds))
    rng.shuffle(texts)
    parts = [[(text, {"n": n}) for n, text in enumerate(texts)][start::4] for start in range(4)]
    return {"enron-emails": parts[0], "arxiv": {"b.jsonl.zst": parts[1], "a.jsonl.zst": parts[2]}, "pile-cc": parts[3]}


@pytest.fixture
def ready(make_root, random_corpus) -> Callable[..., Path]:
    """(seed of the corpus, name): a deduplicated root that holds every document, equal texts included."""

    def make(seed: int, name: str = "root") -> Path:
        root = make_root(random_corpus(seed, 160), name)
        dedup(root, method="none")
        return root

    return make


@pytest.fixture
def run_killed() -> Callable[[str, int], int]:
    """(call, n): runs `call` in a process that kills itself at the nth finished task; the process's return code."""

    def run(call: str, reports: int) -> int:
        code = KILLED_RUN.replace("{call}", call)
        command = [sys.executable, "-c", code, str(reports)]
        return subprocess.run(command, cwd=REPOSITORY, check=False).returncode

    return run
