"""Signatures are datasketch's over our shingle hashes, and those are what a reader of the docs computes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import UsageError
from pipelines.minhash import (
    SCHEME,
    SignatureSettings,
    minhash,
    shingle_hashes,
    shingle_keys,
)
from pipelines.minhash.kernels import CHUNK
from tests.pipelines.minhash_twin import TEXTS, hashes, shingle_hash, shingles, signature

SETTINGS = st.builds(
    SignatureSettings,
    num_perm=st.sampled_from([2, 15, 16, 17, 128, 200, 257]),
    seed=st.integers(0, 2**32 - 1),
    scheme=st.sampled_from(["affine32", "legacy"]),
    unit=st.sampled_from(["words", "characters"]),
    size=st.integers(1, 9) | st.sampled_from([24, 1000]),
    hash=st.sampled_from(["xxh64", "sha1"]),
    remove_punctuation=st.booleans(),
)


def fields(chosen: SignatureSettings) -> dict:
    return {name: getattr(chosen, name) for name in chosen.__struct_fields__}


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, chosen=SETTINGS)
def test_shingle_hashes_are_the_definition_in_plain_python(text, chosen):
    found = shingle_hashes(text, words=chosen.size, **{k: v for k, v in fields(chosen).items() if k != "size"})
    assert found.dtype == np.uint32
    assert found.tolist() == hashes(text, chosen)


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, chosen=SETTINGS)
def test_keys_are_as_many_as_different_shingles_and_end_in_their_hashes(text, chosen):
    found = shingle_keys(text, words=chosen.size, **{k: v for k, v in fields(chosen).items() if k != "size"})
    different = set(shingles(text, chosen))
    assert (found.dtype, len(found)) == (np.uint64, len(different))
    assert (found[1:] > found[:-1]).all()
    xxh64 = SignatureSettings(**{**fields(chosen), "hash": "xxh64"})
    assert sorted(int(key) & 0xFFFFFFFF for key in found) == sorted(shingle_hash(one, xxh64) for one in different)


def test_shingles_of_one_hash_have_different_keys():
    chosen = SignatureSettings(size=2)
    text = " ".join(f"w{number}" for number in range(200_000))
    assert len(set(shingle_hashes(text, words=2).tolist())) < len(set(shingles(text, chosen)))
    assert len(shingle_keys(text, words=2)) == len(set(shingles(text, chosen)))


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXTS, max_size=4), chosen=SETTINGS)
def test_signatures_are_datasketchs_of_the_same_shingles(texts, chosen):
    found = minhash(texts, **fields(chosen))
    assert (found.dtype, found.shape) == (np.uint32, (len(texts), chosen.num_perm))
    assert found.tolist() == [signature(text, chosen) for text in texts]


@pytest.mark.parametrize("unit", ["words", "characters"])
@pytest.mark.parametrize("size", [1, 5, CHUNK, 3 * CHUNK])
@pytest.mark.parametrize("count", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3, 5 * CHUNK])
def test_texts_of_many_pieces_have_the_shingles_of_the_whole(unit, size, count):
    text = " ".join(str(number) * (1 + number % 40 // 39 * 9) for number in range(count))
    text = text if unit == "words" else text[:count]
    chosen = SignatureSettings(unit=unit, size=size, num_perm=8)
    assert shingle_hashes(text, words=size, unit=unit).tolist() == hashes(text, chosen)
    assert minhash([text], num_perm=8, unit=unit, size=size).tolist() == [signature(text, chosen)]


def test_a_word_of_any_length_is_one():
    text = "short " + "x" * 100_000 + " " + "é" * 70 + " end"
    assert shingle_hashes(text, words=1).tolist() == hashes(text, SignatureSettings(size=1))


def test_real_documents_of_all_components_have_datasketchs_signatures(minipile):
    files = sorted(minipile.glob("*.jsonl.zst"))
    texts = [document.text[:20_000] for file in files for document in itertools.islice(read_documents(file), 6)]
    assert len(files) == 22
    assert sum(not text.isascii() for text in texts) > 20
    for chosen in (SignatureSettings(), SignatureSettings(num_perm=32, scheme="legacy", seed=7)):
        found = minhash(texts, **fields(chosen))
        assert found.tolist() == [signature(text, chosen) for text in texts]
    chosen = SignatureSettings(num_perm=16, hash="sha1")
    assert minhash(texts[::5], num_perm=16, hash="sha1").tolist() == [signature(text, chosen) for text in texts[::5]]


def test_hello_has_the_known_signature_of_old_datasketch():
    found = minhash(["hello"], num_perm=3, scheme="legacy", hash="sha1")
    assert found.tolist() == [[228630785, 3503718443, 1010295474]]


def test_our_scheme_is_the_one_datasketch_takes_by_default():
    assert MinHash().scheme == SCHEME == SignatureSettings().scheme == "affine32"


def test_a_shingle_is_five_words_unless_asked_otherwise():
    text = "the quick brown fox jumps over the lazy dog"
    assert shingle_hashes(text).tolist() == hashes(text, SignatureSettings(size=5))
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
    assert (signatures[3] != 0xFFFFFFFF).any()


@pytest.mark.parametrize("words", [0, -1])
def test_a_shingle_of_no_words_is_refused(words):
    with pytest.raises(UsageError, match="at least 1"):
        shingle_hashes("a b c", words=words)


COMPILED = """
from numba.core import event
from pipelines.minhash import SignatureSettings, band_hashes, fingerprint_texts, minhash, shingle_hashes, shingle_keys
from pipelines.minhash.loading import load_kernels

load_kernels()
print("loaded", flush=True)
with event.install_recorder("numba:compile") as recorder:
    for scheme in ("affine32", "legacy"):
        for num_perm in (16, 128, 200):
            found = minhash(["some words", "\u00e9"], num_perm=num_perm, scheme=scheme)
            band_hashes(found, bands=(2, 8))
            settings = SignatureSettings(num_perm=num_perm, scheme=scheme, hash="sha1", unit="characters")
            fingerprint_texts(["some words"], settings, bands=(2, 8), signatures=True)
    for hash in ("xxh64", "sha1"):
        shingle_hashes("some words", hash=hash), shingle_keys("some words", hash=hash)
print(len(recorder.buffer))
"""


def test_no_setting_compiles_anything_that_was_not_announced(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COMPILED],
        capture_output=True, text=True, check=True, env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.split() == ["loaded", "0"]
    assert done.stderr.count("compiling the MinHash kernels") == 1
