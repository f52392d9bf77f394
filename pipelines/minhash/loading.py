"""The first signature of a process loads the kernels; the first on a machine compiles them, and says so."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

_loading = threading.Lock()
_loaded: list[ModuleType] = []


def load_kernels() -> ModuleType:
    """The module of kernels, loaded or compiled."""
    with _loading:
        if not _loaded:
            from pile_toolkit.core.kernels import load_once

            _loaded.append(load_once("MinHash", _use, seconds=10))
    return _loaded[0]


def _use() -> ModuleType:
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
