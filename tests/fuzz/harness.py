"""What the fuzz targets share: choices made from the fuzzer's bytes, and the process that atheris runs in.

A target is a module with `check(data, folder)`, which raises where our code and its plain twin disagree, and needs no
atheris: an input that was found once is checked by calling it. `python -m tests.fuzz.records --seconds 60` fuzzes.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# No input takes a second; one that takes this long is a hang.
TIMEOUT_S = 20
RSS_LIMIT_MB = 2048
MEMORY_FOLDER = Path("/dev/shm")


class Choices:
    """Decisions read off the fuzzer's bytes, one after another; where they have ended, everything is 0 or empty."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, limit: int) -> int:
        """A number from 0 up to, not including, `limit`."""
        size = (max(limit - 1, 1).bit_length() + 7) // 8
        return int.from_bytes(self.take(size), "little") % limit

    def one_of(self, options: Sequence[Any]) -> Any:
        """One of these."""
        return options[self.number(len(options))]

    def take(self, size: int) -> bytes:
        """The next bytes, fewer where there are no more."""
        data = self._data[self._at : self._at + size]
        self._at += len(data)
        return data

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(len(self._data))


@contextlib.contextmanager
def instrumented(*modules: str, active: bool) -> Iterator[None]:
    """Modules imported inside tell atheris which of their branches an input took; nothing happens unless `active`."""
    if not active:
        yield
        return
    import atheris

    with atheris.instrument_imports(include=list(modules)):
        yield


def run_target(check: Callable[[bytes, Path], None], *, seeds: Sequence[bytes]) -> None:
    """The command of a target: fuzzes for some seconds, or checks one input that was found before."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="inputs that reach something new are read from here and kept here")
    parser.add_argument("--crashes", type=Path, default=Path(), help="folder for inputs that fail")
    parser.add_argument("--input", type=Path, help="check this one input, and fuzz nothing")
    options = parser.parse_args()
    # In memory where that can be had: on a disk, opening the file takes longer than reading it.
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None) as name:
        folder = Path(name)
        if options.input is not None:
            check(options.input.read_bytes(), folder)
            return
        corpus = options.corpus or folder / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        options.crashes.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (corpus / f"seed-{number}").write_bytes(seed)
        _fuzz(check, options, folder, corpus)


def _fuzz(check: Callable[[bytes, Path], None], options: argparse.Namespace, folder: Path, corpus: Path) -> None:
    import atheris

    arguments = [
        sys.argv[0],
        f"-max_total_time={options.seconds}",
        f"-seed={options.seed}",
        f"-timeout={TIMEOUT_S}",
        f"-rss_limit_mb={RSS_LIMIT_MB}",
        f"-artifact_prefix={options.crashes}/",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup(arguments, lambda data: check(data, folder))
    atheris.Fuzz()
