"""Document files in, one row per document out: where it is, its size, and the hashes that decide its fate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import atomic_path, hash_file
from pile_toolkit.core.seeds import normalized, text_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

ROWS_FILE = "rows.npy"
SIGNATURES_FILE = "signatures.npy"
# Bounds the texts held for one batch of signatures.
BATCH_DOCUMENTS = 256


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
    lines, sizes, hashes, normal_hashes = [], [], [], []
    signatures: list[np.ndarray] = []
    texts: list[str] = []
    for document in read_documents(Path(path)):
        lines.append(document.line)
        sizes.append(len(document.text.encode()))
        hashes.append(text_hash(document.text))
        normal_hashes.append(xxhash.xxh3_128_digest(normalized(document.text).encode()))
        if signature is not None:
            texts.append(document.text)
            if len(texts) == BATCH_DOCUMENTS:
                signatures.append(_sign(texts, signature))
                texts = []
    rows = np.empty(len(lines), row_type())
    rows["component"], rows["file"], rows["line"], rows["bytes"] = component, file, lines, sizes
    rows["text_hash"], rows["normalized_hash"] = _hash_columns(hashes), _hash_columns(normal_hashes)
    with atomic_path(folder / ROWS_FILE) as temporary, temporary.open("wb") as stream:
        np.save(stream, rows, allow_pickle=False)
    if signature is not None:
        signatures.append(_sign(texts, signature))
        with atomic_path(folder / SIGNATURES_FILE) as temporary, temporary.open("wb") as stream:
            np.save(stream, np.concatenate(signatures), allow_pickle=False)
    return len(lines)


def _refuse_changed(path: Path, file_hash: str) -> None:
    # A keep-list bears the hashes of the components' manifests, and must be of these very files.
    if not path.exists() or hash_file(path) != file_hash:
        fact = "is gone" if not path.exists() else "changed"
        raise UsageError(f"{path} {fact} since it was downloaded", hint="pile download again, then pile dedup")


def _sign(texts: list[str], signature: dict[str, int]) -> np.ndarray:
    from pipelines.minhash import minhash

    return minhash(texts, **signature)


def _hash_columns(hashes: list[bytes]) -> np.ndarray:
    import numpy as np

    return np.frombuffer(b"".join(hashes), dtype=np.uint64).reshape(-1, 2)


def gather_rows(folders: Sequence[Path]) -> dict[str, Any]:
    """The columns of all tasks' rows, in the order of `folders`."""
    import numpy as np

    rows = np.concatenate([np.load(folder / ROWS_FILE, allow_pickle=False) for folder in folders])
    return {name: np.ascontiguousarray(rows[name]) for name in row_type().names or ()}


def gather_signatures(folders: Sequence[Path]) -> np.ndarray:
    """The signatures of all tasks, in the order of `folders`: uint32[documents, num_perm]."""
    import numpy as np

    return np.concatenate([np.load(folder / SIGNATURES_FILE, allow_pickle=False) for folder in folders])
