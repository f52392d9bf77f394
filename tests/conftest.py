"""Real data where it lies beside the repository; tests that need it skip elsewhere and say so."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def minipile() -> Path:
    """The folder of real documents for all 22 components, one `<slug>.jsonl.zst` each."""
    return _shared_folder("data/minipile")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of published facts and tokenizers."""
    return _shared_folder("reference")


def _shared_folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the shared folder {name} does not lie beside this checkout")
    return folder
