"""Texts in, MinHash signatures and near-duplicate pairs out, by datasketch: this module fixes the definition.

A shingle is `words` consecutive words of the normalized text (NFC, case-folded, split at Unicode white space). Its
32-bit hash is made of the words' XXH64 hashes, so that each word is hashed once: `docs/formats.md` spells it out.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xxhash

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.seeds import normalized

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

SHINGLE_WORDS = 5
NUM_PERM = 128
SIGNATURE_SEED = 1
# datasketch's default scheme since 2.0; signatures of different schemes do not compare, so every manifest names it.
SCHEME = "affine32"
_WORD_MULTIPLIER = 0xD6E8FEB86659FD93
# datasketch makes a table of shingles x permutations: a whole book at once would be gigabytes.
_BATCH_SHINGLES = 1 << 16


def shingle_hashes(text: str, *, words: int = SHINGLE_WORDS) -> np.ndarray:
    """The 32-bit hashes of a text's shingles in order, repeats included: uint32[max(1, number of words - words + 1)].

    A text of fewer words is one shingle of all of them; a text without words has none and equals every such text.
    Raises UsageError where `words` is below 1.
    """
    import numpy as np

    if words < 1:
        raise UsageError(f"a shingle of {words} words is none, it needs at least 1", hint=f"words={SHINGLE_WORDS}")
    hashes = np.array([xxhash.xxh64_intdigest(word.encode()) for word in normalized(text).split()], dtype=np.uint64)
    if hashes.size == 0:
        return np.empty(0, np.uint32)
    count = max(1, hashes.size - words + 1)
    key = np.zeros(count, dtype=np.uint64)
    for offset in range(min(words, hashes.size)):
        key = key * np.uint64(_WORD_MULTIPLIER) + hashes[offset : offset + count]
    key ^= key >> np.uint64(29)
    key *= np.uint64(0xBF58476D1CE4E5B9)
    key ^= key >> np.uint64(32)
    return key.astype(np.uint32)


def minhash(texts: Iterable[str], *, num_perm: int = NUM_PERM, seed: int = SIGNATURE_SEED) -> np.ndarray:
    """MinHash signatures of texts by datasketch's scheme affine32: uint32[len(texts), num_perm].

    Source: Broder, On the resemblance and containment of documents, 1997; the arithmetic is datasketch's.
    Raises UsageError where `num_perm` is below 2 or `seed` has more than 32 bits.
    """
    import numpy as np

    if num_perm < 2:
        raise UsageError(f"num_perm is {num_perm}, a signature needs at least 2", hint=f"--num-perm {NUM_PERM}")
    if not 0 <= seed < 1 << 32:
        raise UsageError(f"the signature seed is {seed}, it lies between 0 and 2^32 - 1", hint=f"seed={SIGNATURE_SEED}")
    sketches = _sketches(num_perm, seed)
    rows = []
    for text in texts:
        sketch = next(sketches)
        hashes = np.unique(shingle_hashes(text))
        for start in range(0, hashes.size, _BATCH_SHINGLES):
            sketch.update_batch(hashes[start : start + _BATCH_SHINGLES])
        rows.append(sketch.hashvalues)
    return np.array(rows, dtype=np.uint32).reshape(-1, num_perm)


def near_duplicate_pairs(signatures: np.ndarray, *, threshold: float, seed: int) -> Iterator[tuple[int, int]]:
    """Pairs of rows (the later one first) that share an LSH bucket at a Jaccard `threshold`, by datasketch.

    Of rows with equal signatures only the first is paired with others, and each of the rest with it: joined, the pairs
    are the same clusters, and a text that stands there a million times makes a million pairs, not their square.
    Raises UsageError as `bands` does.
    """
    from datasketch import MinHashLSH

    num_perm = signatures.shape[1]
    lsh = MinHashLSH(num_perm=num_perm, params=bands(num_perm=num_perm, threshold=threshold))
    sketches = _sketches(num_perm, seed)
    first_of: dict[bytes, int] = {}
    for row, signature in enumerate(signatures):
        # 128 bits of the signature, because the signatures themselves are in memory once already.
        first = first_of.setdefault(xxhash.xxh3_128_digest(signature.tobytes()), row)
        if first != row:
            yield row, first
            continue
        sketch = next(sketches)
        sketch.hashvalues = signature
        # Asked before it is inserted, so that each pair comes once.
        yield from ((row, other) for other in lsh.query(sketch))
        lsh.insert(row, sketch, check_duplication=False)


@functools.cache
def bands(*, num_perm: int, threshold: float) -> tuple[int, int]:
    """(bands, rows per band) by datasketch's rule: least false positives plus false negatives at `threshold`.

    Raises UsageError where `threshold` is not inside (0, 1), or needs more permutations than `num_perm`.
    """
    from datasketch import MinHashLSH

    if not 0.0 < threshold < 1.0:
        raise UsageError(f"the similarity threshold is {threshold}, it lies between 0 and 1", hint="--threshold 0.8")
    try:
        lsh = MinHashLSH(threshold=threshold, num_perm=num_perm)
    except ValueError as error:
        raise UsageError(
            f"{num_perm} permutations are too few for a similarity threshold of {threshold}: {error}",
            hint=f"--num-perm {NUM_PERM} --threshold 0.8",
        ) from error
    return lsh.b, lsh.r


def _sketches(num_perm: int, seed: int) -> Iterator[Any]:
    from datasketch import MinHash

    first = MinHash(num_perm=num_perm, seed=seed, hashfunc=_identity, scheme=SCHEME)
    while True:
        # One draw of the permutations serves all.
        yield MinHash(num_perm=num_perm, seed=seed, hashfunc=_identity, scheme=SCHEME, permutations=first.permutations)


def _identity(value: int) -> int:
    return value


def join_pairs(count: int, pairs: Iterable[tuple[int, int]], rank: Sequence[int] | np.ndarray) -> array[int]:
    """The representative of each of `count` rows after joining `pairs`: the row of smallest `rank` in its cluster.

    Eight bytes a row beside `rank`, which may be an array of numpy.
    """
    # Machine numbers and not Python's; a view of them is read as fast as a list.
    parent = array("q", range(count))
    places = rank if isinstance(rank, Sequence) else rank.data

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for left, right in pairs:
        a, b = root(left), root(right)
        if a != b:
            # The smaller rank on top, so that the result does not depend on the order of the pairs.
            parent[a if places[a] > places[b] else b] = b if places[a] > places[b] else a
    for row in range(count):
        parent[row] = root(row)
    return parent
