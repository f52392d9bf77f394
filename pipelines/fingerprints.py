"""Document files in, one row per document out: where it is, its size, and the hashes that decide its fate."""

from __future__ import annotations

import contextlib
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import atomic_path, hash_file
from pile_toolkit.core.seeds import normalized, text_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

ROWS_FILE = "rows.npy"
SIGNATURES_FILE = "signatures.u32"
# Bound the texts held for one batch of signatures.
BATCH_DOCUMENTS = 256
BATCH_CHARACTERS = 8 << 20


def row_type() -> np.dtype:
    """What is known of a document: its id, the UTF-8 bytes of its text, and its two 128-bit hashes."""
    import numpy as np

    return np.dtype(
        [
            ("component", np.uint8),
            ("file", np.uint32),
            ("line", np.uint64),
            ("bytes", np.uint64),
            ("text_hash", np.uint64, 2),
            ("normalized_hash", np.uint64, 2),
        ]
    )


def fingerprint_file(
    folder: Path, path: str, file_hash: str, component: int, file: int, signature: dict[str, int] | None
) -> int:
    """A task: writes the rows of one document file to `folder`, and its MinHash signatures if asked for.

    `signature` holds num_perm and seed, None asks for no signatures. Returns the number of documents. Raises UsageError
    where the file is no longer the one of `file_hash` that was taken in.
    """
    import numpy as np

    _refuse_changed(Path(path), file_hash)
    # Machine numbers and not Python's, which are five times as large.
    lines, sizes = array("Q"), array("Q")
    hashes, normal_hashes = bytearray(), bytearray()
    with _signing(folder / SIGNATURES_FILE, signature) as sign:
        for document in read_documents(Path(path)):
            lines.append(document.line)
            sizes.append(len(document.text.encode()))
            hashes += text_hash(document.text)
            normal_hashes += xxhash.xxh3_128_digest(normalized(document.text).encode())
            sign(document.text)
    rows = np.empty(len(lines), row_type())
    rows["component"], rows["file"], rows["line"], rows["bytes"] = component, file, lines, sizes
    rows["text_hash"], rows["normalized_hash"] = (
        np.frombuffer(digests, np.uint64).reshape(-1, 2) for digests in (hashes, normal_hashes)
    )
    with atomic_path(folder / ROWS_FILE) as temporary, temporary.open("wb") as stream:
        np.save(stream, rows, allow_pickle=False)
    return len(lines)


@contextlib.contextmanager
def _signing(path: Path, signature: dict[str, int] | None) -> Iterator[Callable[[str], None]]:
    """Yields a function that adds the signature of a text to a file, some texts at a time.

    The file is num_perm and then the signatures, all uint32. Without parameters there is none.
    """
    import numpy as np

    from pipelines.minhash import minhash

    if signature is None:
        yield lambda text: None
        return
    texts: list[str] = []
    waiting_characters = 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(np.uint32(signature["num_perm"]).tobytes())

        def add(text: str) -> None:
            nonlocal waiting_characters
            texts.append(text)
            waiting_characters += len(text)
            if len(texts) == BATCH_DOCUMENTS or waiting_characters >= BATCH_CHARACTERS:
                file.write(minhash(texts, **signature).tobytes())
                texts.clear()
                waiting_characters = 0

        yield add
        file.write(minhash(texts, **signature).tobytes())


def _refuse_changed(path: Path, file_hash: str) -> None:
    # A keep-list bears the hashes of the components' manifests, and must be of these very files.
    if not path.exists() or hash_file(path) != file_hash:
        fact = "is gone" if not path.exists() else "changed"
        raise UsageError(f"{path} {fact} since it was downloaded", hint="pile download again, then pile dedup")


def gather_rows(folders: Sequence[Path]) -> dict[str, np.ndarray]:
    """The columns of all tasks' rows, in the order of `folders`; beside them only one task's rows are in memory."""
    import numpy as np

    kind = row_type()
    counts = [_stored_rows(folder) for folder in folders]
    columns = {name: np.empty((sum(counts), *kind[name].shape), kind[name].base) for name in kind.names or ()}
    first = 0
    for folder, count in zip(folders, counts, strict=True):
        rows = np.load(folder / ROWS_FILE, allow_pickle=False)
        for name, column in columns.items():
            column[first : first + count] = rows[name]
        first += count
    return columns


def _stored_rows(folder: Path) -> int:
    import numpy as np

    return len(np.load(folder / ROWS_FILE, mmap_mode="r", allow_pickle=False))


def gather_signatures(folders: Sequence[Path]) -> np.ndarray:
    """The signatures of all tasks, in the order of `folders`: uint32[documents, num_perm]."""
    import numpy as np

    counts = [_stored_rows(folder) for folder in folders]
    num_perm = int(np.fromfile(folders[0] / SIGNATURES_FILE, np.uint32, count=1)[0])
    signatures = np.empty((sum(counts), num_perm), np.uint32)
    first = 0
    for folder, count in zip(folders, counts, strict=True):
        with (folder / SIGNATURES_FILE).open("rb") as file:
            file.seek(signatures.itemsize)
            file.readinto(signatures[first : first + count].reshape(-1).data)
        first += count
    return signatures
