"""One ground for all fault tests."""

from __future__ import annotations

import pytest

from tests.faults.ground import prepared


@pytest.fixture(scope="session")
def ground(tmp_path_factory):
    """A corpus and its undisturbed runs."""
    with prepared(tmp_path_factory.mktemp("ground"), minhash=False) as ground:
        yield ground
