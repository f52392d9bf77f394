"""Fuzzes the reader of `.idx`: raw bytes, or a file that the fuzzer made and changed; a plain twin says what is right.

    python -m tests.fuzz.index --seconds 60 [--seed N] [--corpus FOLDER] [--crashes FOLDER] [--input FILE]

The reader must raise CorruptData exactly where the twin finds a value outside of its bounds, and else give the same
values; every sequence read through them must be the bytes of the `.bin` where the twin's pointer says.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pile_toolkit.core.errors import CorruptData
from tests.fuzz.harness import Choices, instrumented, run_target
from tests.shards.twin import CODES, ITEM_BYTES, plain_index, twin_bytes

with instrumented("shards.format", "shards.dataset", active=__name__ == "__main__"):
    from shards.dataset import TokenDataset
    from shards.format import read_index

if TYPE_CHECKING:
    from pathlib import Path

VALID = twin_bytes(8, [3, 4, 3, 0], [0, 6, 0, 14], [0, 1, 2, 3, 4])
ODD_NUMBERS = [0, 1, 2, 2**31 - 1, 2**31, 2**32 - 1, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
# The first byte says what the rest is: 0 an .idx as it stands, after the size of the .bin.
SEEDS = [b"\x00\x0e" + VALID, b"\x00\x0e" + VALID + bytes(4), b"\x00\x00" + twin_bytes(1, [], [], [0])]
SEEDS += [bytes([kind, 14, 5, 3, 1, 2, 8]) * 20 for kind in (1, 2)]


def choose_number(choices: Choices) -> int:
    return choices.one_of(ODD_NUMBERS) if choices.number(8) == 0 else choices.number(20)


def choose_index(choices: Choices, bin_bytes: int) -> bytes:
    """A valid index, or one in which a few values are not what they should be."""
    code = choices.one_of(sorted(CODES.values()))
    itemsize, sizes, pointers = ITEM_BYTES[code], [], []
    for _ in range(choices.number(6)):
        ids = bin_bytes // itemsize
        start = choices.number(ids + 1)
        sizes.append(choices.number(ids - start + 1))
        pointers.append(start * itemsize)
    doc_idx = sorted(choices.number(len(sizes) + 1) for _ in range(choices.number(6)))
    data = bytearray(twin_bytes(code, sizes, pointers, doc_idx) + bytes(len(sizes) * choices.number(2)))
    for _ in range(choices.number(4)):
        kind, at = choices.number(5), choices.number(len(data) + 1)
        if kind == 0 and at < len(data):
            data[at] = choices.number(256)
        elif kind == 1:
            field = choices.one_of([9, 18, 26])
            data[field : field + 8] = struct.pack("<Q", choose_number(choices))
        elif kind == 2:
            del data[at:]
        elif kind == 3 and len(data) >= 42:
            place = 34 + 4 * choices.number((len(data) - 34) // 4 - 1)
            data[place : place + 8] = struct.pack("<Q", choose_number(choices))
        else:
            data[at:at] = choices.take(choices.number(20))
    return bytes(data)


def check(data: bytes, folder: Path) -> None:
    """One input. Raises AssertionError where reader and twin disagree; everything else that is raised is a crash."""
    choices, path = Choices(data), folder / "x.idx"
    raw, bin_bytes = choices.number(3) == 0, choices.number(65)
    content = choices.rest() if raw else choose_index(choices, bin_bytes)
    tokens = bytes(range(100, 100 + bin_bytes))
    path.write_bytes(content)
    path.with_suffix(".bin").write_bytes(tokens)
    expected = plain_index(content, bin_bytes)
    found = read(path)
    if isinstance(found, CorruptData):
        assert str(path.with_suffix("")) in found.message
        assert expected is None, found
        return
    assert found == expected
    dataset = TokenDataset(path.with_suffix(""))
    assert len(dataset) == len(expected[1])
    for number, (size, pointer) in enumerate(zip(expected[1], expected[2], strict=True)):
        assert dataset[number].tobytes() == tokens[pointer : pointer + size * ITEM_BYTES[expected[0]]], number


def read(path: Path) -> tuple[int, list[int], list[int], list[int]] | CorruptData:
    """The values of the index, or the error that tells what is wrong."""
    try:
        index = read_index(path)
    except CorruptData as error:
        return error
    return CODES[index.dtype.str[1:]], index.sizes.tolist(), index.pointers.tolist(), index.doc_idx.tolist()


if __name__ == "__main__":
    run_target(check, seeds=SEEDS)
