"""Fingerprints are the hashes of each text alone, whatever was asked for beside them and however texts are divided."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.seeds import normalized, text_hash
from pipelines.minhash import SignatureSettings, band_hashes, fingerprint_texts, minhash
from pipelines.minhash.fingerprint import CHUNK_CHARACTERS
from tests.pipelines.minhash_twin import TEXTS, signature

SETTINGS = SignatureSettings(num_perm=32)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS, max_size=5), fold_case=st.booleans())
def test_fingerprints_are_those_of_each_text(texts, fold_case):
    chosen = SignatureSettings(num_perm=32, fold_case=fold_case)
    found = fingerprint_texts(texts, chosen, bands=(4, 7), signatures=True)
    assert found.sizes.tolist() == [len(text.encode()) for text in texts]
    assert [row.tobytes() for row in found.text_hash] == list(map(text_hash, texts))
    normal = [xxhash.xxh3_128_digest(normalized(text).encode()) for text in texts]
    assert [row.tobytes() for row in found.normalized_hash] == normal
    assert found.signatures.tolist() == [signature(text, chosen) for text in texts]
    assert np.array_equal(found.band_hashes, band_hashes(found.signatures, bands=(4, 7)))
    assert found.settings_digest == chosen.digest


def test_what_is_not_asked_for_is_not_there_and_changes_nothing():
    texts = ["one text of some more words than five", "", "another"]
    everything = fingerprint_texts(texts, SETTINGS, bands=(2, 3), signatures=True)
    hashes, banded, signed = (
        fingerprint_texts(texts),
        fingerprint_texts(texts, SETTINGS, bands=(2, 3)),
        fingerprint_texts(texts, SETTINGS, signatures=True),
    )
    assert (hashes.signatures, hashes.band_hashes, hashes.settings_digest) == (None, None, None)
    assert (banded.signatures, signed.band_hashes) == (None, None)
    assert np.array_equal(banded.band_hashes, everything.band_hashes)
    assert np.array_equal(signed.signatures, everything.signatures)
    for found in (hashes, banded, signed):
        assert np.array_equal(found.normalized_hash, everything.normalized_hash)


def test_texts_longer_than_a_chunk_and_many_short_ones_are_divided_without_a_trace():
    long = " ".join(f"Word{number}É" for number in range(CHUNK_CHARACTERS // 8))
    texts = ["short"] * 3 + [long, "", "after it"] + [long[: 1 << 12]] * 100 + [long]
    together = fingerprint_texts(iter(texts), SETTINGS, signatures=True)
    for number in (0, 3, 4, 5, 60, 106):
        alone = fingerprint_texts([texts[number]], SETTINGS, signatures=True)
        assert all(np.array_equal(one[number], other[0]) for one, other in zip(together[:4], alone[:4], strict=True))
    assert np.array_equal(together.signatures, minhash(texts, num_perm=32))
    assert together.signatures[3].tolist() == signature(long, SETTINGS)


def test_no_texts_have_no_rows_of_the_right_shape():
    found = fingerprint_texts([], SETTINGS, bands=(2, 3), signatures=True)
    assert [part.shape for part in found[:5]] == [(0,), (0, 2), (0, 2), (0, 32), (0, 2)]


def test_bands_without_settings_and_bands_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="need settings"):
        fingerprint_texts(["a"], bands=(2, 3))
    with pytest.raises(UsageError, match="do not fit"):
        fingerprint_texts(["a"], SETTINGS, bands=(11, 3))


def test_what_is_no_text_is_refused_with_its_number():
    with pytest.raises(UsageError, match="text 1 is of type bytes"):
        fingerprint_texts(["a", b"b"])
    with pytest.raises(CorruptData, match=r"text 2 holds half a surrogate pair, '\\ud800' at character 1"):
        minhash(["a", "b", "c\ud800"])
