"""A folder of evaluation sets in, every text of every record out, with where it stands.

Texts are all strings of a record, however deep, in order; keys are none. `.jsonl` and `.jsonl.zst` hold a record a
line, `.json` one or a list of them, `.txt` is one. Other files are ignored, and named. Raises CorruptData for a file
that is not what it is called, with its line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import xxhash

from pile_toolkit.core.documents import TooLong, read_lines
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import hash_file
from pile_toolkit.core.jsonfile import decode_json, read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIXES = (".jsonl", ".jsonl.zst", ".json", ".txt")
LONGEST_LINE_BYTES = 64 << 20
LARGEST_FILE_BYTES = 1 << 30
BLANK = "_"
_MARK = b"\xef\xbb\xbf"


class Leaf(NamedTuple):
    """One string of a record; `field` is where it stands in it, such as `question.choices[2].text`."""

    field: str
    text: str


class Record(NamedTuple):
    """One example of an evaluation set; `line` counts physical lines, in `.json` records, from 1.

    `leaves` are its strings in order. `options`: pairs of places in `leaves`, of the string before a list and of the
    first one of each element of that list, of those that do not stand behind it anyway.
    """

    line: int
    leaves: list[Leaf]
    options: list[tuple[int, int]]


class EvaluationSets(NamedTuple):
    """`files` by the names of the sets, which are their paths in the folder; `ignored` are names of other files."""

    files: dict[str, Path]
    ignored: list[str]
    digest: str

    def records(self, name: str) -> Iterator[Record]:
        """Every record of one set."""
        for line, value in _values(self.files[name]):
            yield _record(line, value)


def read_evaluation_sets(folder: Path) -> EvaluationSets:
    """The sets in a folder and the folders below it, sorted by name; texts are read when they are asked for.

    Raises UsageError where there is no such folder, or no set in it.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder} of evaluation sets", hint="--against FOLDER with *.jsonl in it")
    paths = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    files = {name: path for name, path in paths if name.endswith(SUFFIXES)}
    if not files:
        raise UsageError(f"{folder} holds no evaluation set", hint=f"--against FOLDER with *{', *'.join(SUFFIXES)}")
    hasher = xxhash.xxh3_128()
    for name, path in files.items():
        hasher.update(f"{len(name.encode())} {name} {hash_file(path)}\n".encode())
    return EvaluationSets(files, [name for name, _ in paths if name not in files], hasher.hexdigest())


def _values(path: Path) -> Iterator[tuple[int, Any]]:
    """The records of a file, decoded, with their lines."""
    if path.name.endswith(".txt"):
        data = read_bounded(path, limit_bytes=LARGEST_FILE_BYTES)
        try:
            yield 1, data.removeprefix(_MARK).decode()
        except UnicodeDecodeError as error:
            raise CorruptData(f"{path} is no UTF-8 text: {error}", hint="save it as UTF-8") from error
    elif path.name.endswith(".json"):
        data = read_bounded(path, limit_bytes=LARGEST_FILE_BYTES).removeprefix(_MARK)
        value = decode_json(data, Any, name=str(path))
        yield from enumerate(value if isinstance(value, list) else [value], start=1)
    else:
        for number, line in enumerate(_lines(path), start=1):
            line = line.removeprefix(_MARK) if number == 1 else line
            if line.strip():
                hint = "one JSON value a line; a .json file may hold one of many lines"
                yield number, decode_json(line, Any, name=f"line {number:,} of {path}", hint=hint)


def _lines(path: Path) -> Iterator[bytes]:
    if path.name.endswith(".zst"):
        for number, found in enumerate(read_lines(path), start=1):
            line_bytes = found.line_bytes if isinstance(found, TooLong) else len(found)
            _refuse_long(path, number, line_bytes)
            if not isinstance(found, TooLong):
                yield bytes(found)
        return
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE_BYTES + 2):
            number += 1
            _refuse_long(path, number, len(line.rstrip(b"\n")))
            yield line


def _refuse_long(path: Path, number: int, line_bytes: int) -> None:
    if line_bytes > LONGEST_LINE_BYTES:
        raise CorruptData(
            f"line {number:,} of {path} has more than {LONGEST_LINE_BYTES:,} bytes",
            hint="a line of an evaluation set is one example",
        )


def _record(line: int, value: Any) -> Record:
    leaves: list[Leaf] = []
    options: list[tuple[int, int]] = []

    def visit(field: str, value: Any) -> None:
        if isinstance(value, str):
            leaves.append(Leaf(field, value))
        elif isinstance(value, dict):
            for key, item in value.items():
                visit(f"{field}.{key}" if field else str(key), item)
        elif isinstance(value, list):
            before, firsts = len(leaves) - 1, []
            for number, item in enumerate(value):
                first = len(leaves)
                visit(f"{field}[{number}]", item)
                firsts += [first] if len(leaves) > first else []
            options.extend((before, first) for first in firsts[1:] if before >= 0)

    visit("", value)
    return Record(line, leaves, options)
