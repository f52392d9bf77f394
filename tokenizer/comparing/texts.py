"""A split of a plan, or files of documents, in; texts with their component and their place out, one after the other.

Files are `.jsonl.zst`, `.jsonl`, `.jsonl.gz` and `.json.gz` (as C4 has them) with a document a line, and `.txt`, a
document each. The text of a line is its `text`; of a line without one, such as an item of an evaluation set, all its
strings in their order, joined by newlines. The component is `meta.pile_set_name` where there is one, else the name of
the file, for `.txt` of its folder. Lines that are no JSON are counted and passed over. One line is in memory at a time.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pile_toolkit.core.archives.unpack import GZIP, Budget, unpacked
from pile_toolkit.core.documents import LONGEST_LINE_BYTES, TooLong, read_lines
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.plan import SPLITS, Plan, read_file_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Lines = Iterator[bytes | bytearray | TooLong]

ZSTD, PLAIN, GZIPPED, C4, TEXT = ".jsonl.zst", ".jsonl", ".jsonl.gz", ".json.gz", ".txt"
SUFFIXES = (ZSTD, PLAIN, GZIPPED, C4, TEXT)
# Beside the documents of a component lie the lines that are none.
NO_DOCUMENTS = frozenset({"rejects.jsonl"})
KINDS = "*.jsonl.zst, *.jsonl, *.jsonl.gz, *.json.gz or *.txt"
BLOCK_BYTES = 1 << 20
_MARKS = (b"\xef\xbb\xbf", b"\x1e")


class PlacedText(NamedTuple):
    """One text: `place` is where to find it again, `<slug>/<file>:<line>` or `<file>:<line>`."""

    component: str
    text: str
    place: str


class _Meta(msgspec.Struct):
    pile_set_name: str | None = None


class _Line(msgspec.Struct):
    text: str
    meta: _Meta | None = None


_DECODER = msgspec.json.Decoder(_Line)


class Texts:
    """The texts of a source in their order, and of those given so far what is not as usual."""

    def __init__(self, name: str) -> None:
        # What messages and pages call the source.
        self.name = name
        self.files = 0
        self.files_done = 0
        self.without_text = 0
        self.rejected = 0
        # Where the first rejected line is, and what is wrong with it.
        self.first_rejected: str | None = None

    def __iter__(self) -> Iterator[PlacedText]:
        raise NotImplementedError


def open_texts(data: str | Path, root: Path) -> Texts:
    """The texts of a split of the plan in `root`, or of a file or folder; a folder named as a split is `./val`.

    Raises UsageError where there is neither, or no file of documents in the folder.
    """
    if data in SPLITS:
        return PlanTexts(root, str(data))
    path = Path(data)
    if not path.exists():
        raise UsageError(f"{path} is no file, no folder and no split", hint="--data val, or --data FOLDER")
    if (path / "plan").is_dir() and (path / "components").is_dir():
        raise UsageError(f"{path} is a root folder, not one of documents", hint=f"--data val --root {path}")
    return FileTexts(path)


class PlanTexts(Texts):
    """Every piece of a split once, straight from the components, however often it is copied."""

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(f"the {split} split of {root}")
        self._plan, self._split = Plan.read(root), split

    def __iter__(self) -> Iterator[PlacedText]:
        files = list(self._plan.files())
        self.files = len(files)
        for component, file, _ in files:
            part, planned = self._plan.part(component, file), self._plan.header.components[component]
            for row in read_file_rows(part, component, file, part.rows_of(component, file, self._split)):
                yield PlacedText(planned.slug, row.text, f"{planned.slug}/{planned.files[file]}:{row.line}")
            self.files_done += 1


class FileTexts(Texts):
    """The documents of one file, or of all files in a folder and below it, in the order of their paths."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._folder = path if path.is_dir() else path.parent
        self._paths = _document_files(path) if path.is_dir() else [path]
        self.files = len(self._paths)
        if not path.is_dir() and not path.name.endswith(SUFFIXES):
            raise UsageError(f"{path} is no file of documents", hint=f"a file or folder of {KINDS}")
        if not self._paths:
            raise UsageError(f"there are no documents to compare on in {path}", hint=f"--data FOLDER with {KINDS}")

    def __iter__(self) -> Iterator[PlacedText]:
        for path in self._paths:
            name = path.relative_to(self._folder).as_posix()
            try:
                yield from self._text_file(path, name) if name.endswith(TEXT) else self._json_lines(path, name)
            except OSError as error:
                raise UsageError(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
            self.files_done += 1

    def _text_file(self, path: Path, name: str) -> Iterator[PlacedText]:
        with path.open("rb") as file:
            data = file.read(LONGEST_LINE_BYTES + 1)
        if len(data) > LONGEST_LINE_BYTES:
            raise UsageError(f"{path} has more than {LONGEST_LINE_BYTES:,} bytes, one document", hint="split it")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise CorruptData(
                f"{path} is not UTF-8 at byte {error.start:,}: {error.reason}", hint="iconv -t utf-8 FILE > NEW"
            ) from error
        folder = path.parent.relative_to(self._folder).as_posix()
        yield PlacedText(self._folder.resolve().name if folder == "." else folder, text, name)

    def _json_lines(self, path: Path, name: str) -> Iterator[PlacedText]:
        of_file = name.removesuffix(next(suffix for suffix in SUFFIXES if name.endswith(suffix)))
        for number, line in enumerate(_lines(path), start=1):
            try:
                decoded = _decode(line)
            except ValueError as error:
                self.rejected += 1
                self.first_rejected = self.first_rejected or f"{name}:{number}: {error}"
                continue
            if decoded is None:
                continue
            component, text, named = decoded
            self.without_text += not named
            yield PlacedText(component or of_file, text, f"{name}:{number}")


def _document_files(folder: Path) -> list[Path]:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UsageError(f"the folder {folder} cannot be read", hint=f"ls -ld {folder}")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.name.endswith(SUFFIXES) and path.name not in NO_DOCUMENTS and path.is_file()
    )


def _lines(path: Path) -> Lines:
    if path.name.endswith(ZSTD):
        yield from read_lines(path)
        return
    with path.open("rb") as file:
        if path.name.endswith(PLAIN):
            yield from _split(iter(lambda: file.read(BLOCK_BYTES), b""))
        else:
            budget = Budget(path, compressed_bytes=os.fstat(file.fileno()).st_size)
            yield from _split(unpacked(file.read, GZIP, name=str(path), budget=budget))


def _split(blocks: Iterable[bytes]) -> Lines:
    """The lines of blocks, without their newlines; what is longer than a line may be is only measured."""
    pending, line_bytes = bytearray(), 0
    for block in blocks:
        first, *rest = block.split(b"\n")
        line_bytes += len(first)
        if line_bytes <= LONGEST_LINE_BYTES:
            pending += first
        else:
            pending = bytearray()
        if rest:
            yield pending if line_bytes <= LONGEST_LINE_BYTES else TooLong(line_bytes)
            yield from rest[:-1]
            pending, line_bytes = bytearray(rest[-1]), len(rest[-1])
    if line_bytes:
        yield pending if line_bytes <= LONGEST_LINE_BYTES else TooLong(line_bytes)


def _decode(line: bytes | bytearray | TooLong) -> tuple[str | None, str, bool] | None:
    """Component, text and whether it is the `text` of a line; None of a blank one, ValueError where it is no JSON."""
    if isinstance(line, TooLong):
        raise ValueError(f"the line has {line.line_bytes:,} bytes, the limit is {LONGEST_LINE_BYTES:,}")
    for mark in _MARKS:
        line = line.removeprefix(mark)
    if not line or line.isspace():
        return None
    try:
        record = _DECODER.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return _decode_others(line)
    return record.meta.pile_set_name if record.meta else None, record.text, True


def _decode_others(line: bytes | bytearray) -> tuple[str | None, str, bool]:
    """A line of another shape; NaN and Infinity, which other writers know, are read as the documents' reader does."""
    try:
        value = json.loads(line)
        strings = list(_strings(value))
        for string in strings:
            string.encode()
    except RecursionError as error:
        raise ValueError("brackets are nested too deep") from error
    except UnicodeEncodeError as error:
        raise ValueError("half a surrogate pair") from error
    fields = value if isinstance(value, dict) else {}
    meta, text = fields.get("meta"), fields.get("text")
    name = meta.get("pile_set_name") if isinstance(meta, dict) else None
    if isinstance(text, str):
        return name if isinstance(name, str) else None, text, True
    if not strings:
        raise ValueError("there is no text in it")
    return None, "\n".join(strings), False


def _strings(value: Any) -> Iterator[str]:
    """All strings of a JSON value in the order in which they stand in it, names of fields not among them."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            left += reversed(value.values() if isinstance(value, dict) else value)
