"""Settings say what a signature is: what cannot be is refused, and what is not the same has another digest."""

from __future__ import annotations

import json
import unicodedata

import pytest
import xxhash

from pile_toolkit.core.errors import UsageError
from pipelines.minhash import SignatureSettings, minhash
from pipelines.minhash.settings import LONGEST_SHINGLE, MOST_PERMUTATIONS, signature_settings

OTHERS = {
    "num_perm": 64,
    "seed": 2,
    "scheme": "legacy",
    "unit": "characters",
    "size": 6,
    "hash": "sha1",
    "nfc": False,
    "fold_case": False,
    "remove_punctuation": True,
    "zero_digits": True,
}


def test_every_setting_changes_the_digest():
    digests = {SignatureSettings(**{name: value}).digest for name, value in OTHERS.items()}
    spaces = [SignatureSettings(unit="characters", fold_spaces=kept).digest for kept in (True, False)]
    assert len(digests | {SignatureSettings().digest, *spaces}) == len(OTHERS) + 2
    assert {*OTHERS, "fold_spaces"} == set(SignatureSettings.__struct_fields__)
    assert SignatureSettings().digest == signature_settings(num_perm=128).digest


def test_the_digest_is_the_pages():
    described = {
        "fold_case": True,
        "fold_spaces": True,
        "format": 1,
        "hash": "xxh64",
        "nfc": True,
        "num_perm": 128,
        "remove_punctuation": False,
        "scheme": "affine32",
        "seed": 1,
        "size": 5,
        "unicode": unicodedata.unidata_version,
        "unit": "words",
        "zero_digits": False,
    }
    assert SignatureSettings().digest == xxhash.xxh3_128_hexdigest(
        json.dumps(described, separators=(",", ":")).encode()
    )


def test_another_version_of_unicode_has_another_digest(monkeypatch):
    before = SignatureSettings().digest
    monkeypatch.setattr(unicodedata, "unidata_version", "99.0.0")
    assert SignatureSettings().digest != before


@pytest.mark.parametrize(
    "fields",
    [
        {"num_perm": 1},
        {"num_perm": MOST_PERMUTATIONS + 1},
        {"num_perm": 12.0},
        {"num_perm": True},
        {"seed": -1},
        {"seed": 2**32},
        {"size": 0},
        {"size": -1},
        {"size": LONGEST_SHINGLE + 1},
        {"size": "5"},
        {"scheme": "affine64"},
        {"scheme": None},
        {"unit": "lines"},
        {"hash": "md5"},
        {"nfc": "yes"},
        {"fold_case": 1},
        {"fold_spaces": False},
        {"words": 5},
    ],
)
def test_settings_that_cannot_be_are_refused(fields):
    with pytest.raises(UsageError) as error:
        minhash(["text"], **fields)
    assert error.value.hint
