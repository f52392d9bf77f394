"""The pinned packages of the benchmarks: what of an archive is read, and what is said of one that is not to be had."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from benchmarks.corpus import named_texts, texts_of_packages

CORPUS = Path(__file__).resolve().parents[1] / "benchmarks" / "corpus.toml"
LETTERS = b"int main(void) { return 0; } /* a file that is long enough to be taken */\n"


@pytest.fixture
def packages(tmp_path):
    """A function of the members of a source archive and of a wheel, that gives (list of packages, their folder)."""

    # As deep as the names of the tests lead out.
    folder = tmp_path / "outer" / "inner"
    folder.mkdir(parents=True)

    def make(members, wheel=()):
        with tarfile.open(folder / "a_1.orig.tar.xz", "w:xz") as archive:
            for member, data in members:
                info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
                info.size = info.size or len(data)
                archive.addfile(info, io.BytesIO(data) if data else None)
        with zipfile.ZipFile(folder / "b-1-py3-none-any.whl", "w") as archive:
            for name, data in wheel:
                archive.writestr(name, data)
        lines = ['debian = "12"', 'endings = [".py"]', 'source_endings = [".c"]']
        lines += ["smallest_bytes = 20", "largest_bytes = 1000"]
        for kind, name, file in (("pypi", "b", "b-1-py3-none-any.whl"), ("debian", "a", "a_1.orig.tar.xz")):
            digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
            lines += ["[[package]]", f'kind = "{kind}"', f'name = "{name}"', 'version = "1"']
            lines += [f'file = "{file}"', f'sha256 = "{digest}"']
        corpus = folder / "corpus.toml"
        corpus.write_text("\n".join(lines))
        return corpus, folder

    return make


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, 300
    return info


def test_texts_come_in_the_order_of_packages_and_each_once(packages):
    second, third = LETTERS + b"2", LETTERS + b"3"
    corpus, folder = packages(
        [("b.c", third), ("a.c", LETTERS), ("copy.c", third), ("z/other.c", second)],
        wheel=[("y.py", second), ("x.py", LETTERS), ("x.c", LETTERS + b"4")],
    )
    expected = [("b-1-py3-none-any.whl", LETTERS), ("b-1-py3-none-any.whl", second), ("a_1.orig.tar.xz", third)]
    assert list(named_texts(corpus, folder)) == [(file, data.decode()) for file, data in expected]
    assert list(texts_of_packages(corpus, folder)) == [data.decode() for _, data in expected]


def test_what_is_no_text_of_a_fitting_size_is_passed_over(packages):
    corpus, folder = packages(
        [
            ("short.c", b"x" * 19),
            ("long.c", b"x" * 1001),
            ("latin.c", LETTERS + b"\xe9 is no UTF-8"),
            ("picture.png", LETTERS),
            ("folder.c/inside.c", LETTERS),
        ]
    )
    assert list(texts_of_packages(corpus, folder)) == [LETTERS.decode()]


def test_links_devices_and_names_that_lead_out_touch_nothing(packages, tmp_path):
    outside = link("escape.c", "../../secret.c", tarfile.SYMTYPE)
    hard, device = link("hard.c", "good.c", tarfile.LNKTYPE), link("null.c", "", tarfile.CHRTYPE)
    corpus, folder = packages(
        [("good.c", LETTERS), (outside, b""), (hard, b""), (device, b""), ("../../up.c", LETTERS)]
    )
    before = sorted(tmp_path.rglob("*"))
    assert list(texts_of_packages(corpus, folder)) == [LETTERS.decode()]
    assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_with_another_hash_is_not_read(packages):
    corpus, folder = packages([("good.c", LETTERS)])
    with (folder / "a_1.orig.tar.xz").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(SystemExit, match=r"a_1\.orig\.tar\.xz is not the file that .*corpus\.toml names"):
        list(texts_of_packages(corpus, folder))


def test_a_package_that_the_archive_has_not_is_named_with_its_version(packages, monkeypatch):
    # apt-get itself, of which no index of sources is known: it needs no network to say so.
    empty = Path(packages([])[1]) / "apt"
    for name in ("parts", "lists/partial", "cache/archives/partial"):
        (empty / name).mkdir(parents=True)
    (empty / "apt.conf").write_text(
        f'Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "{empty}/parts";\n'
        f'Dir::State::Lists "{empty}/lists";\nDir::Cache "{empty}/cache";\n'
    )
    monkeypatch.setitem(os.environ, "APT_CONFIG", str(empty / "apt.conf"))
    corpus, folder = packages([])
    (folder / "a_1.orig.tar.xz").unlink()
    with pytest.raises(SystemExit, match=r"corpus\.toml pins a=1, "):
        list(texts_of_packages(corpus, folder))


def test_every_package_is_pinned_to_a_file_and_depends_on_no_platform():
    pinned = tomllib.loads(CORPUS.read_text())["package"]
    assert len({package["file"] for package in pinned}) == len(pinned)
    for package in pinned:
        assert len(bytes.fromhex(package["sha256"])) == 32
        if package.get("kind") == "debian":
            # Without its epoch and without what Debian added.
            assert f"_{package['version'].split(':')[-1].rsplit('-', 1)[0]}.orig" in package["file"]
        else:
            assert package["file"].endswith("-none-any.whl")
            assert f"-{package['version']}-" in package["file"]
