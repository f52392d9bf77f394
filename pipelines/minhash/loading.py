"""The first signature of a process loads the kernels; the first on a machine compiles them, and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pile_toolkit.core.loading import loads_once

if TYPE_CHECKING:
    from types import ModuleType


@loads_once("MinHash", seconds=10)
def load_kernels() -> ModuleType:
    """The module of kernels, loaded or compiled."""
    import numpy as np

    from pipelines.minhash import kernels
    from pipelines.minhash.folded import TextFolder
    from pipelines.minhash.settings import NORMALIZED, SignatureSettings
    from pipelines.minhash.signer import Signer

    folder = TextFolder(NORMALIZED)
    folder.fold(["a\u00e9"], [b"a\xc3\xa9"])
    # All that settings may ask for: what is compiled later would be compiled without a word.
    for scheme in ("affine32", "legacy"):
        signer = Signer(SignatureSettings(scheme=scheme, num_perm=2), kernels)
        signer.sign(folder, bands=None, signatures=True)
    signer.shingles(folder)
    signer.key_sets(folder)
    kernels.hash_signatures(np.zeros(16, np.uint8), 2, 2, np.zeros((1, 1), np.uint64))
    return kernels
