"""What a function loads is loaded when it is first asked for, once for all threads, and again where that failed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pile_toolkit.core import kernels
from pile_toolkit.core.loading import loads_once

THREADS = 4


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """What says that a part was compiled does not stay on this machine."""
    monkeypatch.setattr(kernels, "code_folder", lambda: tmp_path)


def test_threads_that_start_together_load_once_and_get_the_same():
    calls, together = [], threading.Barrier(THREADS)

    @loads_once("tested", seconds=1)
    def load() -> object:
        """What is loaded."""
        calls.append(1)
        return object()

    def ask(_: int) -> object:
        together.wait()
        return load()

    assert (load.is_loaded(), load.__doc__) == (False, "What is loaded.")
    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(ask, range(THREADS)))
    assert (len(calls), len(set(map(id, found)))) == (1, 1)
    assert load.is_loaded()


def test_what_returns_nothing_is_loaded_once_too_and_compiling_is_said_once(tmp_path, capsys):
    calls = []
    for _ in range(2):
        # As two processes, one after the other.
        load = loads_once("tested", seconds=7)(lambda: calls.append(1))
        assert [load(), load()] == [None, None]
    assert len(calls) == 2
    assert (tmp_path / "tested-compiled").exists()
    assert capsys.readouterr().err.count("compiling the tested kernels for this machine, once: some 7 s") == 1


def test_what_could_not_be_loaded_is_tried_again(tmp_path):
    outcomes = iter([OSError("the disk is away"), "kernels"])

    @loads_once("tested", seconds=1)
    def load() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    with pytest.raises(OSError, match="away"):
        load()
    assert not load.is_loaded()
    assert not (tmp_path / "tested-compiled").exists()
    assert load() == "kernels"
