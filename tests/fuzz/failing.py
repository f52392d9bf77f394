"""A target that fails on purpose, on inputs that begin with an odd byte: what fuzzing does with them is tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.harness import run_target

if TYPE_CHECKING:
    from pathlib import Path


def check(data: bytes, folder: Path) -> None:
    """Raises where the first byte is odd."""
    (folder / "input").write_bytes(data)
    if data and data[0] & 1:
        raise AssertionError(f"{data[0]} is odd")


if __name__ == "__main__":
    run_target(check, seeds=[b"\x02"])
