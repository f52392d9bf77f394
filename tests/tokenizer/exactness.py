"""Much text in, a line for each kind of it out: whether all ids are those of the `tokenizers` library.

    python -m tests.tokenizer.exactness        some minutes; exit code 1 where an id differs

Every document of the mini-Pile and the evaluation sets under the published tokenizers, and every Python file of this
environment and of the standard library; parts of the same are among the tests.
"""

from __future__ import annotations

import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from pile_toolkit.core.documents import read_documents
from tests.conftest import SHARED
from tokenizer.encoder import Encoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BATCH_CHARACTERS = 8 << 20
TOKENIZERS = ("20B_tokenizer.json", "gpt2_tokenizer.json")


def documents() -> Iterator[str]:
    """The mini-Pile, and the lines of the evaluation sets as they are."""
    for path in sorted((SHARED / "data" / "minipile").glob("*.jsonl.zst")):
        for document in read_documents(path):
            yield document.text
    for path in sorted((SHARED / "data" / "eval").rglob("*.json*")):
        if path.suffix in (".json", ".jsonl"):
            yield from path.read_text(encoding="utf-8").splitlines(keepends=True)


def python_files() -> Iterator[str]:
    """What is not UTF-8 is read as Latin-1, which every byte is."""
    for folder in dict.fromkeys(map(sysconfig.get_path, ("purelib", "platlib", "stdlib"))):
        for path in sorted(Path(folder).rglob("*.py")):
            data = path.read_bytes()
            try:
                yield data.decode()
            except UnicodeDecodeError:
                yield data.decode("latin-1")


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Several texts at a time: all would fill the memory, one by one would use one core."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    yield batch


def compared(name: str, texts: Iterable[str], file: Path) -> bool:
    """Whether all ids are equal; prints how much that was."""
    ours, library = Encoder.load(file), Tokenizer.from_file(str(file))
    library.encode_special_tokens = True
    started, size, tokens, different = time.monotonic(), 0, 0, 0
    for batch in batches(texts):
        ids, offsets = ours.encode_batch(batch, threads=2)
        expected = [encoding.ids for encoding in library.encode_batch_fast(batch, add_special_tokens=False)]
        size += sum(len(text.encode()) for text in batch)
        tokens += ids.size
        different += sum(
            not np.array_equal(ids[offsets[number] : offsets[number + 1]], one) for number, one in enumerate(expected)
        )
    verdict = f"{different:,} texts DIFFER" if different else "all ids equal"
    print(
        f"{name}, {file.name}: {size:,} bytes, {tokens:,} ids, {verdict}, {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return different == 0


def main() -> None:
    """Exit code 1 where something differs."""
    folder = SHARED / "reference"
    if not folder.is_dir():
        print(f"{folder} does not lie beside this checkout: there is no published tokenizer to compare")
        return
    equal = [compared("documents", documents(), folder / name) for name in TOKENIZERS]
    equal.append(compared("Python files", python_files(), folder / TOKENIZERS[0]))
    sys.exit(0 if all(equal) else 1)


if __name__ == "__main__":
    main()
