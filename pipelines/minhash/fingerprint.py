"""Texts in, what deduplication knows of each of them out: size, two content hashes, signature, band hashes.

Guaranteed: what a text gets depends on the text and the settings alone. Memory: the texts of a chunk twice, which is
some 2 MB, or three times the bytes of a text that is longer than that; nothing grows with the number of texts but the
result. Raises UsageError where a text is no string and CorruptData where it holds half a surrogate pair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import xxhash

from pile_toolkit.core.errors import CorruptData, UsageError
from pipelines.minhash.banding import check_bands
from pipelines.minhash.settings import (
    NORMALIZED,
    NUM_PERM,
    SHINGLE_WORDS,
    SIGNATURE_SEED,
    SignatureSettings,
    signature_settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from pipelines.minhash.folded import TextFolder
    from pipelines.minhash.settings import Folding

# What the kernels get at a time: as much as stays in a core's second cache.
CHUNK_CHARACTERS = 1 << 18


class Fingerprints(NamedTuple):
    """A row per text: `sizes` uint64 bytes of UTF-8, hashes uint64[rows, 2] (the bytes of the digest, in order).

    `signatures` uint32[rows, num_perm] and `band_hashes` uint64[rows, bands] where they were asked for; they compare
    only with those of the same `settings_digest`.
    """

    sizes: np.ndarray
    text_hash: np.ndarray
    normalized_hash: np.ndarray
    signatures: np.ndarray | None
    band_hashes: np.ndarray | None
    settings_digest: str | None


def fingerprint_texts(
    texts: Iterable[str],
    settings: SignatureSettings | None = None,
    *,
    bands: tuple[int, int] | None = None,
    signatures: bool = False,
) -> Fingerprints:
    """The fingerprints of texts, in order. Without `settings` there are neither signatures nor band hashes.

    Raises UsageError also where `bands`, (bands, rows), do not fit into the signature.
    """
    import numpy as np

    if settings is None and (bands or signatures):
        raise UsageError("signatures and band hashes need settings", hint="settings=SignatureSettings()")
    signing = _Signing(settings, bands=bands, signatures=signatures) if settings else None
    normal = _text_folder(NORMALIZED)
    sizes: list[int] = []
    digests, normal_digests = bytearray(), bytearray()
    for first, chunk in _chunks(texts):
        data = _encoded(first, chunk)
        sizes += map(len, data)
        digests += b"".join(map(xxhash.xxh3_128_digest, data))
        normal.fold(chunk, data)
        normal_digests += b"".join(map(xxhash.xxh3_128_digest, normal.views()))
        if signing:
            signing.add(chunk, data, normal)
    return Fingerprints(
        sizes=np.array(sizes, np.uint64),
        text_hash=np.frombuffer(digests, np.uint64).reshape(-1, 2),
        normalized_hash=np.frombuffer(normal_digests, np.uint64).reshape(-1, 2),
        signatures=signing.signatures() if signing and signatures else None,
        band_hashes=signing.band_hashes() if signing and bands else None,
        settings_digest=settings.digest if settings else None,
    )


def minhash(
    texts: Iterable[str], *, num_perm: int = NUM_PERM, seed: int = SIGNATURE_SEED, **settings: Any
) -> np.ndarray:
    """MinHash signatures of texts: uint32[len(texts), num_perm], datasketch's for the same shingle hashes.

    Further `settings` are those of `SignatureSettings`. Source: Broder, On the resemblance and containment of
    documents, 1997; the arithmetic is datasketch's. Raises UsageError for settings that are none.
    """
    signing = _Signing(signature_settings(num_perm=num_perm, seed=seed, **settings), bands=None, signatures=True)
    for first, chunk in _chunks(texts):
        signing.add(chunk, _encoded(first, chunk), None)
    return signing.signatures()


def shingle_hashes(text: str, *, words: int = SHINGLE_WORDS, **settings: Any) -> np.ndarray:
    """The 32-bit hashes of a text's shingles in order, repeats included: uint32[max(1, number of words - words + 1)].

    A text of fewer words is one shingle of all of them; a text without words has none and equals every such text.
    Further `settings` are those of `SignatureSettings`, where `words` is `size`. Raises UsageError as `minhash` does.
    """
    signing = _Signing(signature_settings(**{"size": words, **settings}), bands=None, signatures=False)
    return signing.shingles(text)


def shingle_keys(text: str, *, words: int = SHINGLE_WORDS, **settings: Any) -> np.ndarray:
    """The set of a text's shingles as 64-bit keys, whose low halves are the hashes of `xxh64`: uint64[n], sorted.

    Further `settings` are those of `shingle_hashes`; `hash`, `scheme`, `num_perm` and `seed` change nothing.
    """
    signing = _Signing(signature_settings(**{"size": words, **settings}), bands=None, signatures=False)
    return signing.keys(text)


class _Signing:
    """What a call with some settings needs, and the rows that it found."""

    def __init__(self, settings: SignatureSettings, *, bands: tuple[int, int] | None, signatures: bool) -> None:
        from pipelines.minhash.loading import load_kernels

        self._bands = check_bands(bands, num_perm=settings.num_perm) if bands else None
        self._signed, self._num_perm = signatures, settings.num_perm
        kernels = load_kernels()
        from pipelines.minhash.signer import Signer

        self._signer = Signer(settings, kernels)
        self._folding = settings.folding
        self._folder = _text_folder(self._folding)
        self._rows: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, chunk: list[str], data: list[bytes], normal: TextFolder | None) -> None:
        """Signs texts; `normal` has them folded already, if only that is what the settings say."""
        folder = normal if normal and self._folding == NORMALIZED else self._folder
        if folder is not normal:
            folder.fold(chunk, data)
        self._rows.append(self._signer.sign(folder, bands=self._bands, signatures=self._signed))

    def shingles(self, text: str) -> np.ndarray:
        self._folder.fold([text], _encoded(0, [text]))
        return self._signer.shingles(self._folder)

    def keys(self, text: str) -> np.ndarray:
        self._folder.fold([text], _encoded(0, [text]))
        return self._signer.key_sets(self._folder)[1]

    def signatures(self) -> np.ndarray:
        import numpy as np

        return np.concatenate([np.empty((0, self._num_perm), np.uint32), *(found for found, _ in self._rows)])

    def band_hashes(self) -> np.ndarray:
        import numpy as np

        count = self._bands.bands if self._bands else 0
        return np.concatenate([np.empty((0, count), np.uint64), *(hashes for _, hashes in self._rows)])


def _text_folder(folding: Folding) -> TextFolder:
    from pipelines.minhash.loading import load_kernels

    load_kernels()
    from pipelines.minhash.folded import TextFolder

    return TextFolder(folding)


def _chunks(texts: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Consecutive texts of about CHUNK_CHARACTERS together, with the number of the first."""
    chunk: list[str] = []
    first, characters = 0, 0
    for number, text in enumerate(texts, start=1):
        chunk.append(text)
        characters += len(text) if isinstance(text, str) else 0
        if characters >= CHUNK_CHARACTERS:
            yield first, chunk
            chunk, first, characters = [], number, 0
    if chunk:
        yield first, chunk


def _encoded(first: int, chunk: list[str]) -> list[bytes]:
    """The UTF-8 of texts, of which the first has that number."""
    try:
        return list(map(str.encode, chunk))
    except (TypeError, UnicodeEncodeError):
        for number, text in enumerate(chunk, start=first):
            if not isinstance(text, str):
                raise UsageError(
                    f"text {number} is of type {type(text).__name__}, expected str", hint="str(text)"
                ) from None
            _check_characters(number, text)
        raise


def _check_characters(number: int, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CorruptData(
            f"text {number} holds half a surrogate pair, {text[error.start]!a} at character {error.start:,}, "
            "which UTF-8 cannot hold",
            hint="replace it before: text.encode('utf-8', 'replace').decode()",
        ) from None
