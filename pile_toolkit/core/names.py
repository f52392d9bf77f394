"""Names from outside in, relative paths that stay in their folder on any disk out, or a reason why not."""

from __future__ import annotations

import re
import unicodedata

# A file system takes 255 bytes a part; a file that is being written needs some for its temporary name.
LONGEST_PART_BYTES = 240
LONGEST_NAME_BYTES = 1024
_DRIVE = re.compile(r"[A-Za-z]:")
# Controls, halves of surrogate pairs (bytes that are no UTF-8), line and paragraph separators.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# They turn the text around them, so that a name is shown as another one.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class UnsafeName(ValueError):
    """A name that is not used, and why."""


def safe_name(name: str) -> str:
    """A relative name with "/" between its parts, "." and doubled slashes left out.

    Raises UnsafeName for one that leads elsewhere or could not be written as it stands: absolute, with "..", a drive
    letter or a backslash, with control characters, no UTF-8, empty or too long.
    """
    if strange := next((char for char in name if _is_refused(char)), None):
        kind = "bytes that are no UTF-8" if unicodedata.category(strange) == "Cs" else f"the character {strange!a}"
        raise UnsafeName(f"its name has {kind}")
    if name.startswith("/"):
        raise UnsafeName("its name is absolute")
    if "\\" in name:
        raise UnsafeName("its name has a backslash")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnsafeName("its name leads upwards with '..'")
    if not parts:
        raise UnsafeName("its name is empty")
    if _DRIVE.match(parts[0]):
        raise UnsafeName("its name has a drive letter")
    longest_bytes = max(len(part.encode()) for part in parts)
    safe = "/".join(parts)
    if longest_bytes > LONGEST_PART_BYTES or len(safe.encode()) > LONGEST_NAME_BYTES:
        limits = f"{LONGEST_PART_BYTES} bytes a part and {LONGEST_NAME_BYTES:,} in all"
        raise UnsafeName(f"its name is longer than {limits}")
    return safe


def _is_refused(char: str) -> bool:
    return not char.isprintable() and (unicodedata.category(char) in _REFUSED_CATEGORIES or char in _TURNING)


class NameTree:
    """The names met so far, as a disk that knows neither upper case nor two forms of one accent would keep them."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._files) + len(self._folders)

    def add_file(self, name: str) -> None:
        """Takes in a safe name and its folders. Raises UnsafeName where it is not the only one of its kind."""
        folder, _, _ = name.rpartition("/")
        if folder:
            self.add_folder(folder)
        key = folded(name)
        if (other := self._files.get(key)) is not None:
            raise UnsafeName("it is there twice" if other == name else f"its name differs from {other!r} in case only")
        if key in self._folders:
            raise UnsafeName(f"it is a file where {self._folders[key]!r} is a folder")
        self._files[key] = name

    def add_folder(self, name: str) -> None:
        """Takes in a folder and those above it; the same one may come again."""
        while name:
            key = folded(name)
            if (other := self._folders.get(key)) == name:
                return  # And so those above it are known.
            if other is not None:
                raise UnsafeName(f"its folder {name!r} differs from {other!r} in case only")
            if key in self._files:
                raise UnsafeName(f"it needs a folder where {self._files[key]!r} is a file")
            self._folders[key] = name
            name = name.rpartition("/")[0]


def folded(name: str) -> str:
    """The same for names that only case or composition of accents tells apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
