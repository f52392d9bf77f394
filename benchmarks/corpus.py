"""A list of pinned packages in, their distinct text files out, in an order that never changes.

What is missing is fetched by the ordinary clients: wheels by pip, all of them at once, Debian's source packages by
apt-get, each when its turn comes, so that nobody fetches more than the text asked for. A file that has not the pinned
sha256 is not read. Archives are read forward in memory: nothing of one is unpacked to the disk, none of the names in it
becomes a path, and links and devices are passed over (so is core/archives, which refuses an archive with links).
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEBIAN = "debian"


def fetch(corpus: Path, folder: Path) -> None:
    """Fetches the wheels that are not there yet; pip refuses one whose hash is another."""
    folder.mkdir(parents=True, exist_ok=True)
    wheels = [package for package in _packages(corpus) if package.get("kind") != DEBIAN]
    missing = [package for package in wheels if not (folder / package["file"]).exists()]
    if not missing:
        return
    lines = [f"{package['name']}=={package['version']} --hash=sha256:{package['sha256']}\n" for package in missing]
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(lines))
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, "--requirement", str(requirements)], check=True)


def texts_of_packages(corpus: Path, folder: Path) -> Iterator[str]:
    """Every distinct UTF-8 file with one of the listed endings, in the order of packages and names.

    Exits where a package cannot be had as it is pinned.
    """
    return (text for _, text in named_texts(corpus, folder))


def named_texts(corpus: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """The same, each with the file name of its package."""
    pinned = tomllib.loads(corpus.read_text())
    seen: set[bytes] = set()
    for package in pinned["package"]:
        path = folder / package["file"]
        is_debian = package.get("kind") == DEBIAN
        if is_debian and not path.exists():
            _fetch_source(package, folder, corpus, pinned)
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != package["sha256"]:
                sys.exit(f"{path} is not the file that {corpus} names: remove it, and it is fetched again")
        files = _of_tar(path, pinned) if is_debian else _of_wheel(path, pinned)
        for data in files:
            digest = hashlib.blake2b(data, digest_size=16).digest()
            if digest not in seen and len(data) >= pinned["smallest_bytes"]:
                seen.add(digest)
                try:
                    yield package["file"], data.decode()
                except UnicodeDecodeError:
                    continue


def _packages(corpus: Path) -> list[dict[str, Any]]:
    return tomllib.loads(corpus.read_text())["package"]


def _fetch_source(package: dict[str, Any], folder: Path, corpus: Path, pinned: dict[str, Any]) -> None:
    """All files of a source package, checked by apt-get against the archive's signed index."""
    pin = f"{package['name']}={package['version']}"
    command = ["apt-get", "source", "--download-only", "--only-source", "-qq", pin]
    try:
        # What it says goes to standard error: standard output belongs to the benchmark.
        status = subprocess.run(command, cwd=folder, stdout=sys.stderr, check=False).returncode
    except FileNotFoundError:
        sys.exit(f"{corpus} pins {pin}, a Debian source package, and there is no apt-get here")
    # Of a package whose other files are not to be had, this one is all that is read.
    if not (folder / package["file"]).exists():
        sys.exit(
            f"{corpus} pins {pin}, of which apt-get did not fetch {package['file']} (exit code {status}).\n"
            f"`apt-cache showsrc --only-source {package['name']}` lists what it knows. Nothing: the sources of apt "
            f"need deb-src lines of Debian {pinned['debian']}.\nAnother version only: the archive has dropped this "
            "one; pin that one, with its file and the Checksums-Sha256 listed there."
        )


def _of_wheel(path: Path, pinned: dict[str, Any]) -> Iterator[bytes]:
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(tuple(pinned["endings"])):
                yield archive.read(name)


def _of_tar(path: Path, pinned: dict[str, Any]) -> Iterator[bytes]:
    """In the order of the archive, because a compressed tar can only be read forward."""
    endings = tuple(pinned["source_endings"])
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            is_text = member.isreg() and member.name.endswith(endings)
            if is_text and pinned["smallest_bytes"] <= member.size <= pinned["largest_bytes"]:
                stream = archive.extractfile(member)
                yield stream.read() if stream else b""
            # It would keep the header of every member.
            archive.members = []  # type: ignore[attr-defined]
