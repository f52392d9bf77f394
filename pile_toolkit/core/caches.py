"""Nothing in, the folders out where what can be made again is kept, best first: whether they can be written is open."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NAME = "pile-toolkit"


def user_cache_folders() -> list[Path]:
    """`$XDG_CACHE_HOME`, then `~/.cache`; none where there is neither."""
    given = os.environ.get("XDG_CACHE_HOME")
    folders = [Path(given)] if given else []
    # Without a home this raises.
    with contextlib.suppress(RuntimeError):
        folders.append(Path.home() / ".cache")
    return folders
