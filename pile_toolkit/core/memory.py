"""A size as people type it in, bytes out; and how many bytes of memory this machine has."""

from __future__ import annotations

import re
from pathlib import Path

import psutil

from pile_toolkit.core.errors import UsageError

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<unit>[KMGT]?)(?P<binary>i?)B?", re.IGNORECASE)
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def parse_memory(text: str) -> int:
    """The bytes of "4GiB", "512MB" or "1000000". Raises UsageError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--memory is {text!r}, expected a size", hint="--memory 4GiB")
    base = 1024 if found["binary"] or not text.strip().upper().endswith("B") else 1000
    return int(float(found["number"]) * base ** " KMGT".index(found["unit"].upper() or " "))


def machine_bytes() -> int:
    """The memory of this machine, or of the container that this process is in."""
    total = psutil.virtual_memory().total
    try:
        return min(total, int(_CONTAINER_LIMIT.read_text()))
    except (OSError, ValueError):
        return total
