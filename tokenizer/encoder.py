"""Text in, ids out, and back: any byte-level BPE tokenizer.json of the GPT-2 / GPT-NeoX kind, as `tokenizers` has it.

The work is done by compiled kernels (`tokenizer/encoding`, `tokenizer/pretokens`), which the first text to be encoded
loads, or compiles once a machine. Their caches take at most 256 MiB a process, for all encoders and threads together.

Guaranteed: the same ids for any number of threads and whatever was encoded before; the ids of the text alone (a
post-processor's additions are left to who wants them); special tokens inside a document are text, so that one that
quotes `<|endoftext|>` does not end there; and `decode(encode(text)) == text` where the tokenizer has neither a
normalizer, a prefix space, a gap in its byte alphabet nor added tokens that swallow white space (`lstrip`, `rstrip`).
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import write_bytes
from tokenizer.definition import OTHER_FILE, REPAIR, Definition, parse, render
from tokenizer.encoding.ids import GrowingIds
from tokenizer.encoding.merges import check_size
from tokenizer.encoding.pieces import Cutter, check_added_tokens
from tokenizer.layout import END_OF_TEXT, byte_characters, id_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from tokenizer.encoding.engine import Engine

# The largest known tokenizer.json of this kind has 10 MB; a file from outside must not fill the memory.
LARGEST_FILE_BYTES = 64 << 20
# What a thread encodes at a time: text and ids stay in a core's second cache, and calls into the kernels are few.
CHUNK_CHARACTERS = 1 << 18
PORTIONS_PER_THREAD = 2
_loading = threading.Lock()


class Encoder:
    """A loaded tokenizer. Safe to share between threads; pickled by its tokenizer.json."""

    def __init__(self, definition: Definition, *, name: str = "the tokenizer") -> None:
        self.definition = definition
        self._json = render(definition)
        self._ids = definition.vocab | {token.content: token.id for token in definition.added_tokens}
        if not self._ids:
            raise CorruptData(f"{name} has an empty vocabulary", hint=REPAIR)
        self.vocab_size = max(self._ids.values()) + 1
        self.dtype = np.dtype(id_dtype(self.vocab_size))
        check_size(definition, name=name)
        check_added_tokens(definition, data=self._json, name=name)
        self._as_text = Cutter(definition, allow_special=False)
        self._with_special = Cutter(definition, allow_special=True)

    @classmethod
    def load(cls, path: str | Path) -> Encoder:
        """The tokenizer in a tokenizer.json of at most 64 MiB.

        Raises UsageError for no file or another kind of tokenizer, CorruptData for bytes that are none.
        """
        path = Path(path)
        if path.is_dir():
            raise UsageError(f"{path} is a folder", hint=str(path / "tokenizer.json"))
        if not path.is_file():
            raise UsageError(
                f"there is no tokenizer file {path}",
                hint="pile tokenizer train --root ROOT, or the path of a tokenizer.json",
            )
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
        if len(data) > LARGEST_FILE_BYTES:
            raise UsageError(
                f"{path} has more than {LARGEST_FILE_BYTES:,} bytes, no tokenizer.json has", hint=OTHER_FILE
            )
        return cls(parse(data, name=str(path)), name=str(path))

    @classmethod
    def from_json(cls, data: bytes) -> Encoder:
        """The tokenizer in the bytes of a tokenizer.json; raises as `load` does."""
        return cls(parse(data, name="the tokenizer.json"))

    def __reduce__(self) -> tuple:
        return Encoder.from_json, (self._json,)

    def save(self, path: str | Path) -> None:
        """Writes the canonical tokenizer.json: the same bytes whoever wrote the file that was loaded."""
        write_bytes(Path(path), self._json)

    @cached_property
    def hash(self) -> str:
        """XXH3-128 of the bytes that `save` writes, 32 hexadecimal digits."""
        return xxhash.xxh3_128_hexdigest(self._json)

    def encode(self, text: str, *, allow_special: bool = False) -> NDArray:
        """The ids of a text, `dtype` of shape [tokens]. `allow_special` reads special tokens in it as what they name.

        Raises CorruptData for a lone surrogate: no UTF-8 file holds one, so the text was damaged before it came here.
        """
        return self._encode_chunks([(0, [text])], allow_special=allow_special)[0]

    def encode_batch(
        self, texts: Iterable[str], *, threads: int = 1, allow_special: bool = False
    ) -> tuple[NDArray, NDArray[np.int64]]:
        """The ids of all texts, one after the other, and where they begin: text i is `ids[offsets[i]:offsets[i + 1]]`.

        `threads` texts are encoded at a time, outside Python's lock; the result does not depend on it.
        Raises CorruptData for a lone surrogate, naming the text.
        """
        if isinstance(texts, str):
            raise UsageError("encode_batch takes a list of texts, this is one text", hint="encoder.encode(text)")
        if threads < 1:
            raise UsageError(f"threads is {threads}, at least 1 is needed", hint="threads=1")
        texts = list(texts)
        chunks = list(_chunks(texts))
        encode_chunks = partial(self._encode_chunks, allow_special=allow_special)
        if threads == 1 or len(chunks) < 2:
            ids, counts = encode_chunks(chunks)
        else:
            # A few portions for each thread, so that none waits long for the last, put together as they come.
            joined, all_counts = GrowingIds(self.dtype, sum(map(len, texts))), []
            with ThreadPoolExecutor(threads) as pool:
                for found, counts in pool.map(
                    encode_chunks, _portions(chunks, max(1, len(chunks) // (PORTIONS_PER_THREAD * threads)))
                ):
                    joined.append(found)
                    all_counts.append(counts)
            ids, counts = joined.all(), np.concatenate(all_counts)
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        return ids, offsets

    def decode(self, ids: ArrayLike) -> str:
        """The text of ids, special tokens included; bytes that are no UTF-8 become U+FFFD.

        Raises UsageError for an id that the tokenizer does not have.
        """
        array = np.asarray(ids)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise UsageError(
                f"decode takes a list of integers, got {array.dtype}, shape {array.shape}", hint="decode([0])"
            )
        try:
            pieces = list(map(self._bytes_of_id.__getitem__, array.tolist()))
        except KeyError as error:
            raise self._unknown_id(error.args[0]) from None
        return b"".join(pieces).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for; raises UsageError for an id that the tokenizer does not have."""
        if token_id not in self._bytes_of_id:
            raise self._unknown_id(token_id)
        return self._bytes_of_id[token_id]

    def token(self, token_id: int) -> str:
        """A token as readable text; bytes that are no UTF-8 by themselves are written as `\\xe2`."""
        return self.token_bytes(token_id).decode("utf-8", errors="backslashreplace")

    def token_id(self, token: str) -> int:
        """The id of a token as tokenizer.json spells it ("<|endoftext|>", "Ġthe"); raises UsageError without one."""
        if token not in self._ids:
            raise UsageError(f"the tokenizer has no token {token!r}", hint="pile tokenizer show")
        return self._ids[token]

    @property
    def end_of_text(self) -> int:
        """The id of `<|endoftext|>`; raises UsageError where the tokenizer has no such token."""
        return self.token_id(END_OF_TEXT)

    @cached_property
    def _bytes_of_id(self) -> dict[int, bytes]:
        byte_of = {character: byte for byte, character in enumerate(byte_characters())}
        table = {}
        for token, token_id in self.definition.vocab.items():
            table[token_id] = bytes(map(byte_of.__getitem__, token)) if byte_of.keys() >= set(token) else token.encode()
        # An added token is text, not byte characters: "é" is C3 A9, where the library's decoder makes it E9.
        return table | {added.id: added.content.encode() for added in self.definition.added_tokens}

    @cached_property
    def _engine(self) -> Engine:
        # Here and not in `__init__`: who only looks at a tokenizer does not wait for a compiler.
        from tokenizer.encoding.loading import load_engine

        with _loading:
            return load_engine(self.definition, owner=self.hash, dtype=self.dtype)

    def _unknown_id(self, token_id: object) -> UsageError:
        return UsageError(
            f"no token has the id {token_id}, the {len(self._ids):,} ids lie between 0 and {self.vocab_size - 1:,}",
            hint="decode with the tokenizer.json that encoded",
        )

    def _encode_chunks(
        self, chunks: list[tuple[int, list[str]]], *, allow_special: bool
    ) -> tuple[NDArray, NDArray[np.int64]]:
        cutter = self._with_special if allow_special else self._as_text
        try:
            return self._engine.encode([texts for _, texts in chunks], cutter)
        except (AttributeError, TypeError, UnicodeEncodeError):
            for first, texts in chunks:
                if (problem := _unfit_text(first, texts)) is not None:
                    raise problem from None
            raise


def _chunks(texts: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Consecutive texts of about CHUNK_CHARACTERS together, with the number of the first."""
    first, characters = 0, 0
    for number, text in enumerate(texts, start=1):
        characters += len(text) if isinstance(text, str) else 0
        if characters >= CHUNK_CHARACTERS or number == len(texts):
            yield first, texts[first:number]
            first, characters = number, 0


def _portions(chunks: list, size: int) -> list[list]:
    return [chunks[first : first + size] for first in range(0, len(chunks), size)]


def _unfit_text(first: int, texts: list[str]) -> Exception | None:
    for number, text in enumerate(texts, start=first):
        if not isinstance(text, str):
            return UsageError(f"text {number} is of type {type(text).__name__}, expected str", hint="encode(str(text))")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return lone_surrogate(f"text {number}", error)
    return None


def lone_surrogate(name: str, error: UnicodeEncodeError) -> CorruptData:
    """The error for a text that cannot be UTF-8; `error` is what `text.encode()` raised."""
    code = ord(error.object[error.start])
    return CorruptData(
        f"{name} has the lone surrogate U+{code:04X} at character {error.start}, which no UTF-8 text holds",
        hint="repair it with text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')",
    )
