"""The installed Python in, the texts of its standard library out: the same modules for every build of one version.

Builds of one Python version differ in what they ship: Debian splits off tkinter, idlelib, distutils and venv, slim
container images remove every `test` folder, and some distributors patch the modules that describe the installation.
What is read here is the part that all of them have: `sys.stdlib_module_names` (a constant of the version) less
LEFT_OUT. Nothing is imported and nothing outside the standard library's own folder is read, so that third-party
packages cannot show. Line ends are "\\n" whatever the platform; the locale has no say.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import sys
import sysconfig
import tokenize
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from pile_toolkit.core.errors import SourceUnavailable
from pile_toolkit.core.seeds import keyed

if TYPE_CHECKING:
    from collections.abc import Mapping

# Optional in some distributions, or describing one machine or build.
LEFT_OUT = frozenset(
    {
        *("distutils", "ensurepip", "idlelib", "lib2to3", "msilib", "test", "tkinter", "turtledemo", "venv"),
        *("_aix_support", "_bootsubprocess", "_osx_support", "_sysconfigdata", "site", "sysconfig"),
    }
)
LEFT_OUT_FOLDERS = frozenset({"__pycache__", "macholib", "site-packages", "dist-packages", "test", "tests"})
FEWEST_MODULES = 300

TOPICS_SOURCE = "pydoc_data/topics.py"

# The Pile keeps GitHub files below this size (github_small).
GITHUB_LIMIT_CHARS = 100_000
# Near that size in one release or another: named, so that they do not change sides with every correction.
_LARGE = frozenset(
    {
        *("_pydecimal.py", "argparse.py", "doctest.py", "email/_header_value_parser.py", "inspect.py", "pydoc.py"),
        *("tarfile.py", "turtle.py", "typing.py", "unittest/mock.py", "urllib/request.py"),
    }
)
_HELD_BACK_PERCENT = 33
_SEED = 22


@functools.lru_cache(maxsize=1)
def library_texts() -> Mapping[str, str]:
    """The text of every module, by its path inside the library ("email/parser.py"), in the order of the paths.

    Raises SourceUnavailable where the installation carries no sources (zipped and frozen builds).
    """
    folder = Path(sysconfig.get_path("stdlib"))
    paths: dict[str, Path] = {}
    for name in sys.stdlib_module_names - LEFT_OUT:
        for path in (folder / f"{name}.py", *(folder / name).rglob("*.py")):
            relative = path.relative_to(folder)
            if path.is_file() and not LEFT_OUT_FOLDERS.intersection(relative.parts):
                paths[relative.as_posix()] = path
    if len(paths) < FEWEST_MODULES:
        raise SourceUnavailable(
            f"the sample is made from the standard library's sources, and {folder} holds {len(paths)} of its modules",
            hint="use a Python with .py files in its library folder, or another source: --from FOLDER",
        )
    return {relative: _decoded(paths[relative].read_bytes()) for relative in sorted(paths)}


def library_fingerprint() -> str:
    """The 128-bit hash of everything that the sample is made from, 32 hexadecimal digits.

    Two installations with one fingerprint give the same sample, byte for byte. Patch releases (3.11.7, 3.11.8)
    correct docstrings and code, so that each of them has its own.
    """
    hasher = xxhash.xxh3_128()
    for source, text in library_texts().items():
        hasher.update(f"{source}\0{len(text)}\0{text}\0".encode())
    hasher.update(unicodedata.unidata_version.encode())
    return hasher.hexdigest()


def github_sources() -> list[str]:
    """The modules that are documents of the Github stand-in, whole."""
    return [
        source
        for source, text in library_texts().items()
        if text.strip() and len(text) < GITHUB_LIMIT_CHARS and not _is_held_back(source)
    ]


def held_back_sources() -> list[str]:
    """The modules whose code the other components may quote: about a third, and those too large for Github.

    Kept apart, so that the code in articles and books is not a second copy of the Github stand-in.
    """
    texts = library_texts()
    return [
        source
        for source in texts
        if source != TOPICS_SOURCE and (_is_held_back(source) or len(texts[source]) >= GITHUB_LIMIT_CHARS)
    ]


@functools.lru_cache(maxsize=1)
def topics() -> Mapping[str, str]:
    """The chapters of the language reference that `help()` shows: title to text, without the index marks."""
    tree = ast.parse(library_texts()[TOPICS_SOURCE])
    assigned = next(node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign))
    chapters = ast.literal_eval(assigned) if assigned is not None else {}
    return {name: re.sub(r"[ \t]+\n", "\n", chapters[name]).strip() for name in sorted(chapters)}


def _is_held_back(source: str) -> bool:
    # Tables of characters are data rather than code to read; their likeness to each other belongs into one component.
    if source.startswith("encodings/"):
        return False
    return source in _LARGE or keyed(_SEED, "held back", source.encode()) % 100 < _HELD_BACK_PERCENT


def _decoded(data: bytes) -> str:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
