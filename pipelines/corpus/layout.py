"""The plan's size and the room for sorting in, the files of the corpus and the ranges of keys they are cut into out.

A file of the corpus is a range of the key, cut into so many equal ranges that one of them can be sorted in memory. They
are numbered through all files: the ranges of one file follow each other, and the files are in the order of
`corpus_names`. How many there are changes nothing in the files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pile_toolkit.core.plan import SPLITS, Plan

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

# What a copy takes beside its text: `{"text":"","meta":}`, a usual meta, its key and Python's objects for them.
COPY_BYTES = 320
# Escapes, and ranges that got more than their share. What is larger after all is sorted in several turns.
SLACK = 1.25


class FileSize(NamedTuple):
    """What the plan takes of one document file: its rows, and bytes of text in all copies, by split."""

    component: int
    file: int
    rows: int
    text_bytes: tuple[int, ...]
    copies: tuple[int, ...]


class Layout(msgspec.Struct, frozen=True):
    """The train files, and the ranges of one of them, of val and of test."""

    train_shards: int
    ranges: tuple[int, int, int]

    @property
    def outputs(self) -> int:
        """Files of the corpus."""
        return self.train_shards + len(SPLITS) - 1

    @property
    def buckets(self) -> int:
        """Ranges of all files."""
        return self.of_output(self.outputs - 1).stop

    def of_output(self, output: int) -> range:
        """The ranges of one file."""
        train, *held_out = self.ranges
        if output < self.train_shards:
            return range(output * train, (output + 1) * train)
        before = self.train_shards * train + sum(held_out[: output - self.train_shards])
        return range(before, before + held_out[output - self.train_shards])

    def places(self, split: np.ndarray, key: np.ndarray) -> np.ndarray:
        """The range of every copy, from the split of its document and its key: uint64."""
        import numpy as np

        train, val, test = self.ranges
        counts = np.array([self.train_shards * train, val, test], np.uint64)
        starts = np.array([0, self.train_shards * train, self.train_shards * train + val], np.uint64)
        count, half = counts[split], np.uint64(32)
        # key * count / 2**64, rounded down, in halves: the product itself has up to 96 bits.
        low = (key & np.uint64(0xFFFFFFFF)) * count >> half
        return starts[split] + ((key >> half) * count + low >> half)


def corpus_names(train_shards: int) -> list[str]:
    """The files of the corpus in the Pile's layout, numbered as in this list."""
    digits = max(2, len(str(train_shards - 1)))
    train = [f"train/{shard:0{digits}d}.jsonl.zst" for shard in range(train_shards)]
    return [*train, "val.jsonl.zst", "test.jsonl.zst"]


def choose_layout(sizes: list[FileSize], train_shards: int, room_bytes: int) -> Layout:
    """Ranges of which each can be sorted in `room_bytes`."""
    ranges = []
    for split, name in enumerate(SPLITS):
        needed = sum(size.text_bytes[split] + COPY_BYTES * size.copies[split] for size in sizes)
        files = train_shards if name == "train" else 1
        ranges.append(max(1, -int(-SLACK * needed // (files * room_bytes))))
    return Layout(train_shards, (ranges[0], ranges[1], ranges[2]))


def file_sizes(root: Path) -> list[FileSize]:
    """What the plan takes of every file it names, in its order; a group of its rows is in memory at once."""
    import numpy as np

    plan = Plan.read(root)
    first_of = np.cumsum([0, *(len(component.files) for component in plan.header.components)])
    count = int(first_of[-1])
    rows = np.zeros(count, np.int64)
    # By split and file: copies, and their bytes.
    found = np.zeros((2, len(SPLITS) * count), np.int64)
    for component, file, split, copies, sizes in plan.groups(["component", "file", "split", "copies", "bytes"]):
        number = first_of[component] + file
        place = split * np.int64(count) + number
        rows += np.bincount(number, minlength=count)
        copies = copies.astype(np.int64)
        np.add.at(found[0], place, copies)
        np.add.at(found[1], place, copies * sizes.astype(np.int64))
    by_split = found.reshape(2, len(SPLITS), count)
    places = [(c, f) for c, component in enumerate(plan.header.components) for f in range(len(component.files))]
    return [
        FileSize(c, f, int(rows[n]), tuple(by_split[1, :, n].tolist()), tuple(by_split[0, :, n].tolist()))
        for n, (c, f) in enumerate(places)
    ]
