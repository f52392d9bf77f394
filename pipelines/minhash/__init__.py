"""Texts in, shingle hashes, MinHash signatures and band hashes out.

The definition is that of `docs/formats.md`: signatures are datasketch's for the same 32-bit shingle hashes.
"""

from pipelines.minhash.banding import Bands, band_hashes, bands
from pipelines.minhash.fingerprint import Fingerprints, fingerprint_texts, minhash, shingle_hashes, shingle_keys
from pipelines.minhash.settings import (
    NUM_PERM,
    SCHEME,
    SHINGLE_WORDS,
    SIGNATURE_SEED,
    SignatureSettings,
)

__all__ = [
    "NUM_PERM",
    "SCHEME",
    "SHINGLE_WORDS",
    "SIGNATURE_SEED",
    "Bands",
    "Fingerprints",
    "SignatureSettings",
    "band_hashes",
    "bands",
    "fingerprint_texts",
    "minhash",
    "shingle_hashes",
    "shingle_keys",
]
