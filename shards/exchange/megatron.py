"""`.bin/.idx` pairs of Megatron-LM and gpt-neox in and out, with integers of any type and with or without copies."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.files import atomic_path
from shards.dataset import TokenDataset
from shards.exchange.blocks import blocks
from shards.exchange.origins import ROWS, origins_of
from shards.exchange.shapes import NO_ENDS, READ_IDS, Incoming, Layout, Part, Reading, Writing, Written
from shards.format import data_path, index_path, write_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shards.exchange.origins import Origins

SPLITS = {"train": "train", "val": "valid", "test": "test"}


def read(source: Path, reading: Reading) -> Incoming:
    """A pair by its prefix; shared pointers and several sequences per document stay as they are."""
    dataset = TokenDataset(source)

    def parts() -> Iterator[Part]:
        for first in range(0, len(dataset.ids), READ_IDS):
            yield Part(dataset.ids[first : first + READ_IDS], NO_ENDS)

    def layout() -> Layout:
        bounds = dataset.doc_idx
        whole = len(bounds) and bounds[0] == 0 and bounds[-1] == len(dataset)
        return Layout(
            dataset.pointers // dataset.dtype.itemsize,
            dataset.sizes.astype(np.int64),
            # Files whose documents were lost in a merge are read as one document per sequence.
            bounds if whole else np.arange(len(dataset) + 1),
        )

    return Incoming(
        parts=parts(),
        tokens=len(dataset.ids),
        layout=layout,
        origins=_origins(dataset) if dataset.has_provenance else None,
    )


def _origins(dataset: TokenDataset) -> Iterator[Origins]:
    for first in range(0, len(dataset), ROWS):
        yield origins_of(dataset.provenance, range(first, min(first + ROWS, len(dataset))))


def write(dataset: TokenDataset, output: Path, writing: Writing, advance: Callable[[int], None]) -> Written:
    """The pair at the prefix `output`, each copy written out; with `keep_pointers` as it is stored."""
    files = [data_path(output), index_path(output)]
    if writing.keep_pointers:
        with atomic_path(files[0], needs_bytes=dataset.ids.nbytes) as temporary:
            shutil.copyfile(data_path(dataset.prefix), temporary)
        pointers = dataset.pointers
        advance(dataset.total_tokens)
    else:
        _materialize(dataset, files[0], advance)
        pointers = np.zeros(len(dataset), np.int64)
        np.cumsum(dataset.sizes[:-1], dtype=np.int64, out=pointers[1:])
        pointers *= dataset.dtype.itemsize
    write_index(files[1], dtype=dataset.dtype, sizes=dataset.sizes, pointers=pointers, doc_idx=dataset.doc_idx)
    return Written(files=files, said=_said(dataset, writing))


def _materialize(dataset: TokenDataset, path: Path, advance: Callable[[int], None]) -> None:
    needs_bytes = dataset.total_tokens * dataset.dtype.itemsize
    with atomic_path(path, needs_bytes=needs_bytes) as temporary, temporary.open("wb") as file:
        for block in blocks(dataset):
            file.write(np.ascontiguousarray(block.ids).data)
            advance(len(block.ids))


def _said(dataset: TokenDataset, writing: Writing) -> list[str]:
    if not writing.keep_pointers:
        return []
    return ["copies share their bytes: readers that take slices, and tools that merge or split files, get them wrong"]


def neox_options(outputs: dict[str, Path]) -> list[str]:
    """The lines of a gpt-neox configuration that read these files, by split; it takes all three or none."""
    lines = []
    for split, name in SPLITS.items():
        if split in outputs:
            lines += [f'"{name}-data-paths": ["{outputs[split]}"],', f'"{name}-data-weights": [1.0],']
    return [*lines, '"data-impl": "mmap",']


def megatron_options(outputs: dict[str, Path]) -> list[str]:
    """The options of Megatron-LM's command line that read these files, by split."""
    return [f"--{name}-data-path {outputs[split]}" for split, name in SPLITS.items() if split in outputs]
