"""Document files in, one row per document out: where it is, its size, and the hashes that decide its fate."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import atomic_path, hash_file
from pipelines.minhash import SignatureSettings, fingerprint_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

ROWS_FILE = "rows.npy"
SIGNATURES_FILE = "signatures.u32"
# Bound the texts held at a time.
BATCH_DOCUMENTS = 1024
BATCH_CHARACTERS = 4 << 20
# Of 32 bits, at the front of a file of signatures.
_HEADER_NUMBERS = 5


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
    folder: Path, path: str, file_hash: str, component: int, file: int, signature: dict[str, Any] | None
) -> int:
    """A task: writes the rows of one document file to `folder`, and its MinHash signatures if asked for.

    `signature` holds fields of `SignatureSettings`, None asks for no signatures. Returns the number of documents.
    Raises UsageError where the file is no longer the one of `file_hash` that was taken in.
    """
    import numpy as np

    _refuse_changed(Path(path), file_hash)
    settings = None if signature is None else SignatureSettings(**signature)
    parts = [np.empty(0, row_type())]
    with _signatures_file(folder / SIGNATURES_FILE, settings) as write:
        for lines, texts in _batches(path):
            found = fingerprint_texts(texts, settings, signatures=settings is not None)
            rows = np.empty(len(lines), row_type())
            rows["component"], rows["file"], rows["line"], rows["bytes"] = component, file, lines, found.sizes
            rows["text_hash"], rows["normalized_hash"] = found.text_hash, found.normalized_hash
            parts.append(rows)
            write(found.signatures)
    rows = np.concatenate(parts)
    with atomic_path(folder / ROWS_FILE) as temporary, temporary.open("wb") as stream:
        np.save(stream, rows, allow_pickle=False)
    return len(rows)


def _batches(path: str) -> Iterator[tuple[list[int], list[str]]]:
    """The documents of a file, some at a time: their lines and texts."""
    lines: list[int] = []
    texts: list[str] = []
    characters = 0
    for document in read_documents(Path(path)):
        lines.append(document.line)
        texts.append(document.text)
        characters += len(document.text)
        if len(texts) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield lines, texts
            lines, texts, characters = [], [], 0
    if texts:
        yield lines, texts


@contextlib.contextmanager
def _signatures_file(path: Path, settings: SignatureSettings | None) -> Iterator[Callable[[np.ndarray | None], None]]:
    """Yields a function that adds signatures to a file, uint32 behind its header. Without settings there is no file."""

    if settings is None:
        yield lambda signatures: None
        return
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_header(settings).tobytes())

        def write(signatures: np.ndarray | None) -> None:
            if signatures is not None:
                file.write(signatures.tobytes())

        yield write


def _header(settings: SignatureSettings) -> np.ndarray:
    """num_perm and the digest of the settings: uint32[5]."""
    import numpy as np

    return np.frombuffer(np.uint32(settings.num_perm).tobytes() + bytes.fromhex(settings.digest), np.uint32)


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
    """The signatures of all tasks, in the order of `folders`: uint32[documents, num_perm].

    Raises UsageError where they are not all of the same settings, so that comparing them would mean nothing.
    """
    import numpy as np

    counts = [_stored_rows(folder) for folder in folders]
    headers = [np.fromfile(folder / SIGNATURES_FILE, np.uint32, count=_HEADER_NUMBERS) for folder in folders]
    for folder, header in zip(folders, headers, strict=True):
        if not np.array_equal(header, headers[0]):
            raise UsageError(
                f"the signatures of {folder} have other settings than those of {folders[0]}: they do not compare",
                hint="pile dedup again, with one version of Python everywhere",
            )
    signatures = np.empty((sum(counts), int(headers[0][0])), np.uint32)
    first = 0
    for folder, count in zip(folders, counts, strict=True):
        with (folder / SIGNATURES_FILE).open("rb") as file:
            file.seek(headers[0].nbytes)
            file.readinto(signatures[first : first + count].reshape(-1).data)
        first += count
    return signatures
