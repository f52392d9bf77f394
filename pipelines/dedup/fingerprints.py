"""Document files in, fingerprints of their documents out, kept from run to run: a file is read once for some settings.

`dedup/fingerprints/` has a folder per document file, named by the file's hash and the settings' digest: rows (where a
document stands, its size, both hashes), the hash that makes texts equal as two columns of 64 bits, and band hashes.
What a folder holds depends on these two only. It is checked by its hashes before it is used again, and made again where
they do not hold.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import xxhash

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import hash_file, remove
from pile_toolkit.core.jsonfile import decode_json
from pile_toolkit.core.tasks import RESULT, Task, run_tasks
from pipelines.minhash import SignatureSettings, fingerprint_texts
from pipelines.minhash.settings import unicode_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np

    from pile_toolkit.core.components import ComponentDocuments
    from pile_toolkit.core.tasks import Workers
    from pipelines.dedup.settings import Settings

STORE = "fingerprints"
ROWS_FILE = "rows"
EXACT_FILE = "exact.bands"
NEAR_FILE = "near.bands"
# On the disk for each document: its row and the two halves of its hash.
ROW_BYTES = 48 + 16
# Bound the texts held at a time.
BATCH_DOCUMENTS = 1024
BATCH_CHARACTERS = 1 << 20
_FORMAT = 1
_UNSAFE = re.compile(r"[^A-Za-z0-9._]")
_NAME_LENGTH = 60


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What the content of a fingerprint folder depends on beside the document file."""

    exact_on: str | None
    signature: SignatureSettings | None
    bands: tuple[int, int] | None

    @property
    def digest(self) -> str:
        """32 hexadecimal digits; other settings and other versions of Unicode have others."""
        signature = self.signature.digest if self.signature else None
        described = (_FORMAT, unicode_version(), self.exact_on, signature, self.bands)
        return xxhash.xxh3_128_hexdigest(msgspec.json.encode(described))


class Stored(NamedTuple):
    """The fingerprints of one document file: where they lie, and of how many documents."""

    folder: Path
    component: int
    file: int
    documents: int


def recipe_of(settings: Settings) -> Recipe:
    """What these settings need to know of a document."""
    return Recipe(exact_on=settings.exact_on, signature=settings.signature, bands=settings.bands)


def row_type() -> np.dtype:
    """What is stored of a document: its line, the UTF-8 bytes of its text, and its two 128-bit hashes."""
    import numpy as np

    numbers = [("line", np.uint64), ("bytes", np.uint64)]
    return np.dtype([*numbers, ("text_hash", np.uint64, 2), ("normalized_hash", np.uint64, 2)])


def fingerprint_all(
    components: Sequence[ComponentDocuments], recipe: Recipe, *, store: Path, workers: Workers
) -> list[Stored]:
    """The fingerprints of all document files, in order; only those that `store` does not have are made."""
    tasks: dict[str, Task] = {}
    named = []
    for component, item in enumerate(components):
        for number, file in enumerate(item.files):
            name = entry_name(item.slug, file.counts.name, file.hash, recipe)
            arguments = (str(file.path.absolute()), file.hash, msgspec.to_builtins(recipe))
            # Equal files of one name are one.
            tasks[name] = Task(name, arguments, size=file.counts.text_bytes)
            named.append((name, component, number))
    remove_damaged(store, tasks)
    results = run_tasks(
        fingerprint_file, list(tasks.values()), work=store, workers=workers, label="fingerprints", unit="bytes"
    )
    found = dict(zip(tasks, results, strict=True))
    return [Stored(store / name, component, number, found[name]["documents"]) for name, component, number in named]


def entry_name(slug: str, file_name: str, file_hash: str, recipe: Recipe) -> str:
    """The folder of a document file; its name stands in it for people, shortened, the hashes make it one's own."""
    return f"{slug}-{_UNSAFE.sub('_', file_name)[:_NAME_LENGTH]}-{file_hash}-{recipe.digest[:16]}"


def remove_damaged(store: Path, names: Iterable[str]) -> None:
    """Removes of these entries those whose files are not what was written, so that they are made again."""
    for name in names:
        if (store / name).exists() and not _is_sound(store / name):
            remove(store / name)


def _is_sound(entry: Path) -> bool:
    try:
        hashes = decode_json((entry / RESULT).read_bytes(), dict[str, Any], name=RESULT, hint="")["hashes"]
        return all(hash_file(entry / name) == wanted for name, wanted in hashes.items())
    except (OSError, CorruptData, KeyError, AttributeError):
        return False


def forget_others(store: Path, entries: Iterable[Stored]) -> None:
    """Removes what is of other files or other settings than these entries."""
    kept = {entry.folder.name for entry in entries}
    for path in store.glob("*"):
        if path.name not in kept:
            remove(path)


def fingerprint_file(folder: Path, path: str, file_hash: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """A task: writes what is known of each document of a file to `folder`; returns their number and the files' hashes.

    Raises CorruptData where the file is no longer the one of `file_hash` that was taken in.
    """
    refuse_changed(Path(path), file_hash)
    wanted = msgspec.convert(recipe, Recipe)
    documents = 0
    with contextlib.ExitStack() as stack:
        rows_file = stack.enter_context((folder / ROWS_FILE).open("wb"))
        writers = _Columns(folder, wanted, stack)
        for lines, texts in _batches(path):
            found = fingerprint_texts(texts, wanted.signature, bands=wanted.bands)
            rows_file.write(_rows(lines, found).data)
            writers.add(found)
            documents += len(lines)
    names = [name for name in (ROWS_FILE, EXACT_FILE, NEAR_FILE) if (folder / name).exists()]
    return {"documents": documents, "hashes": {name: hash_file(folder / name) for name in names}}


class _Columns:
    """Writes the columns that buckets are made of."""

    def __init__(self, folder: Path, recipe: Recipe, stack: contextlib.ExitStack) -> None:
        from pipelines.lsh.columns import write_bands

        self._exact_on = recipe.exact_on
        self._exact = self._near = None
        if recipe.exact_on:
            exact = write_bands(folder / EXACT_FILE, bands=2, digest=recipe.digest)
            self._exact = stack.enter_context(exact)
        if recipe.bands:
            near = write_bands(folder / NEAR_FILE, bands=recipe.bands[0], digest=recipe.digest)
            self._near = stack.enter_context(near)

    def add(self, found: Any) -> None:
        if self._exact is not None:
            self._exact.add(found.text_hash if self._exact_on == "text" else found.normalized_hash)
        if self._near is not None:
            self._near.add(found.band_hashes)


def _rows(lines: list[int], found: Any) -> np.ndarray:
    import numpy as np

    rows = np.empty(len(lines), row_type())
    rows["line"], rows["bytes"] = lines, found.sizes
    rows["text_hash"], rows["normalized_hash"] = found.text_hash, found.normalized_hash
    return rows


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


def refuse_changed(path: Path, file_hash: str) -> None:
    """Raises CorruptData where a document file is not the one that was taken in."""
    # A keep-list bears the hashes of the components' manifests, and must be of these very files.
    if not path.exists() or hash_file(path) != file_hash:
        fact = "is gone" if not path.exists() else "changed"
        raise CorruptData(f"{path} {fact} since it was downloaded", hint="pile download again, then pile dedup")
