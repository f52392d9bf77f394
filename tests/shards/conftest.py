"""Small shards with every kind of sequence, written document by document, and what is in them in plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

from shards.format import data_path, index_path, write_index
from shards.provenance import provenance_path, write_provenance

if TYPE_CHECKING:
    from pathlib import Path

COMPONENTS = ["arxiv", "github", "ubuntu-irc"]
FILES = {"arxiv": ["a.jsonl.zst", "b.jsonl.zst"], "github": ["c.jsonl.zst"], "ubuntu-irc": ["d.jsonl.zst"]}


@dataclass
class Written:
    """A prefix on the disk and its content: `documents` as stored, `entries` of the index in order."""

    prefix: Path
    documents: list[list[int]]
    entries: list[int]
    rows: list[dict] = field(default_factory=list)

    @property
    def sequences(self) -> list[list[int]]:
        return [self.documents[entry] for entry in self.entries]


@pytest.fixture(scope="session")
def write_documents(tmp_path_factory):
    """A function that writes documents (lists of ids) and index entries, with provenance unless told otherwise."""

    def write(documents, entries=None, *, dtype="u2", provenance=True) -> Written:
        prefix = tmp_path_factory.mktemp("shards") / "train"
        entries = list(range(len(documents))) if entries is None else list(entries)
        data_path(prefix).write_bytes(b"".join(np.array(ids, dtype).tobytes() for ids in documents))
        starts = [sum(len(ids) for ids in documents[:number]) for number in range(len(documents))]
        write_index(
            index_path(prefix),
            dtype=dtype,
            sizes=[len(documents[entry]) for entry in entries],
            pointers=[starts[entry] * np.dtype(dtype).itemsize for entry in entries],
            doc_idx=range(len(entries) + 1),
        )
        rows = [row_of(entry, entries[:place].count(entry)) for place, entry in enumerate(entries)]
        if provenance:
            columns = {name: [row[name] for row in rows] for name in ("component", "file", "line", "copy", "bytes")}
            write_provenance(provenance_path(prefix), **columns, components=COMPONENTS, files=FILES)
        return Written(prefix, [list(ids) for ids in documents], entries, rows)

    return write


def row_of(entry: int, copy: int) -> dict:
    component = entry % len(COMPONENTS)
    slug = COMPONENTS[component]
    file = entry % len(FILES[slug])
    return {
        "component": component,
        "file": file,
        "line": entry + 1,
        "copy": copy,
        "bytes": 7 * entry + 3,
        "slug": slug,
        "document": f"{slug}/{FILES[slug][file]}:{entry + 1}",
    }
