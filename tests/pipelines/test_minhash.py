"""Signatures are datasketch's over our shingle hashes, and those are what a reader of the docs computes."""

from __future__ import annotations

import itertools
import unicodedata

import numpy as np
import pytest
import xxhash
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import UsageError
from pipelines.minhash import (
    NUM_PERM,
    SCHEME,
    SHINGLE_WORDS,
    SIGNATURE_SEED,
    bands,
    join_pairs,
    minhash,
    near_duplicate_pairs,
    shingle_hashes,
)

MASK = (1 << 64) - 1
# Words that meet normalization: white space of Unicode, case that changes length, accents in two spellings.
TEXTS = st.text(st.sampled_from("abAB é\u0301ßſİ \t\n\u00a0\u2003\u3000\u200b中"), max_size=80) | st.text(max_size=40)


def plain_shingle_hashes(text: str, words: int) -> list[int]:
    """The definition in Python's integers."""
    parts = unicodedata.normalize("NFC", text).casefold().split()
    if not parts:
        return []
    found = []
    for start in range(max(1, len(parts) - words + 1)):
        key = 0
        for word in parts[start : start + words]:
            key = (key * 0xD6E8FEB86659FD93 + xxhash.xxh64_intdigest(word.encode())) & MASK
        key ^= key >> 29
        key = key * 0xBF58476D1CE4E5B9 & MASK
        key ^= key >> 32
        found.append(key & 0xFFFFFFFF)
    return found


def identity(value: int) -> int:
    return value


@given(TEXTS, st.integers(1, 7))
def test_shingle_hashes_are_the_definition_in_plain_integers(text, words):
    hashes = shingle_hashes(text, words=words)
    assert hashes.dtype == np.uint32
    assert hashes.tolist() == plain_shingle_hashes(text, words)


def test_a_shingle_is_five_words_unless_asked_otherwise():
    text = "the quick brown fox jumps over the lazy dog"
    assert shingle_hashes(text).tolist() == plain_shingle_hashes(text, SHINGLE_WORDS)
    assert shingle_hashes(text).size == 9 - 5 + 1


@given(st.lists(st.sampled_from(["one", "two", "ß"]), min_size=1, max_size=5))
def test_a_text_no_longer_than_a_shingle_is_one_shingle(words):
    assert shingle_hashes(" ".join(words)).size == 1


def test_texts_that_differ_in_case_white_space_and_composition_have_the_same_shingles():
    one, other = "Caf\u00e9 STRASSE at\u00a0noon", "\tcafe\u0301\nstraße  AT noon "
    assert shingle_hashes(one).tolist() == shingle_hashes(other).tolist()


def test_texts_without_words_have_no_shingle_and_all_equal_each_other_only():
    signatures = minhash(["", " \t\n", "\u3000", "word"])
    assert [shingle_hashes(text).size for text in ("", " \t\n", "\u3000")] == [0, 0, 0]
    assert (signatures[:3] == 0xFFFFFFFF).all()
    pairs = near_duplicate_pairs(signatures, threshold=0.8, seed=SIGNATURE_SEED)
    assert join_pairs(4, pairs, range(4)).tolist() == [0, 0, 0, 3]


@pytest.mark.parametrize("words", [0, -1])
def test_a_shingle_of_no_words_is_refused(words):
    with pytest.raises(UsageError, match="at least 1"):
        shingle_hashes("a b c", words=words)


@settings(max_examples=30, deadline=None)
@given(st.lists(TEXTS, max_size=4), st.sampled_from([2, 16, 128, 200]), st.integers(0, 2**32 - 1))
def test_signatures_are_datasketchs_of_the_same_hashes(texts, num_perm, seed):
    signatures = minhash(texts, num_perm=num_perm, seed=seed)
    assert signatures.dtype == np.uint32
    assert signatures.shape == (len(texts), num_perm)
    for text, signature in zip(texts, signatures, strict=True):
        # No scheme is named here: ours is what datasketch does by default.
        sketch = MinHash(num_perm=num_perm, seed=seed, hashfunc=identity)
        for value in plain_shingle_hashes(text, SHINGLE_WORDS):
            sketch.update(value)
        assert signature.tolist() == sketch.hashvalues.tolist()


def test_our_scheme_is_the_one_datasketch_takes_by_default():
    assert MinHash().scheme == SCHEME == "affine32"


def test_a_text_longer_than_a_batch_has_the_signature_of_all_its_shingles():
    text = " ".join(str(number) for number in range(70_000))
    sketch = MinHash(num_perm=8, seed=1, hashfunc=identity)
    sketch.update_batch(plain_shingle_hashes(text, SHINGLE_WORDS))
    assert minhash([text], num_perm=8)[0].tolist() == sketch.hashvalues.tolist()


@pytest.mark.parametrize(("num_perm", "seed"), [(1, 1), (0, 1), (128, -1), (128, 2**32)])
def test_a_signature_that_cannot_be_made_is_refused(num_perm, seed):
    with pytest.raises(UsageError):
        minhash(["text"], num_perm=num_perm, seed=seed)


@pytest.mark.parametrize(
    ("num_perm", "threshold", "published"),
    [(128, 0.5, (25, 5)), (128, 0.7, (14, 9)), (128, 0.8, (9, 13)), (128, 0.9, (5, 25)), (256, 0.8, (17, 15))],
)
def test_the_banding_is_the_published_one(num_perm, threshold, published):
    assert bands(num_perm=num_perm, threshold=threshold) == published


@pytest.mark.parametrize("threshold", [-0.1, 0.0, 1.0, 1.5, float("nan")])
def test_a_threshold_outside_zero_and_one_is_refused_with_what_to_type(threshold):
    with pytest.raises(UsageError, match="between 0 and 1") as error:
        bands(num_perm=NUM_PERM, threshold=threshold)
    assert error.value.hint == "--threshold 0.8"


def test_a_threshold_that_needs_more_permutations_is_refused_with_the_numbers():
    with pytest.raises(UsageError, match=r"4 permutations are too few for a similarity threshold of 0\.99"):
        bands(num_perm=4, threshold=0.99)


def test_pairs_are_exactly_those_that_share_a_band():
    rng = np.random.default_rng(3)
    # Two values only, so that some bands collide by chance.
    signatures = rng.integers(0, 2, (120, 16), dtype=np.uint32)
    count, rows = bands(num_perm=16, threshold=0.6)
    expected = {
        (later, earlier)
        for earlier, later in itertools.combinations(range(len(signatures)), 2)
        if any(
            (
                signatures[earlier, band * rows : (band + 1) * rows]
                == signatures[later, band * rows : (band + 1) * rows]
            ).all()
            for band in range(count)
        )
    }
    found = list(near_duplicate_pairs(signatures, threshold=0.6, seed=1))
    assert set(found) == expected
    assert len(found) == len(expected) > 0


def test_equal_signatures_make_one_pair_each_and_the_same_clusters():
    rng = np.random.default_rng(4)
    some = rng.integers(0, 3, (12, 16), dtype=np.uint32)
    rows = rng.integers(0, len(some), 300)
    pairs = list(near_duplicate_pairs(some[rows], threshold=0.6, seed=1))
    assert len(pairs) < len(rows) + len(some) ** 2
    # The clusters of the few, seen through the many.
    few = join_pairs(len(some), near_duplicate_pairs(some, threshold=0.6, seed=1), range(len(some)))
    many = join_pairs(len(rows), pairs, range(len(rows)))
    together = [few[row] for row in rows]
    assert many.tolist() == [together.index(cluster) for cluster in together]
    assert 1 < len(set(many)) < len(some)


@given(st.data())
def test_joined_rows_follow_the_smallest_rank_of_their_cluster_in_any_order_of_pairs(data):
    count = data.draw(st.integers(1, 12))
    row = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(row, row), max_size=15))
    rank = data.draw(st.permutations(range(count)))
    clusters = [{number} for number in range(count)]
    for left, right in pairs:
        joined = clusters[left] | clusters[right]
        for member in joined:
            clusters[member] = joined
    expected = [min(cluster, key=lambda member: rank[member]) for cluster in clusters]
    assert join_pairs(count, pairs, rank).tolist() == expected
    assert join_pairs(count, reversed(pairs), np.array(rank)).tolist() == expected
