"""The real libraries of other formats in, a line for each out: whether they read what we write, and we what they write.

    python -m tests.shards.exchange_libraries            a minute with a network; exit code 1 where a test fails
    python -m tests.shards.exchange_libraries litdata    one of them

Each library is installed, at a pinned version, into a virtual environment of its own in a temporary folder, which sees
this one's packages behind its own. One that cannot be installed is reported, and the others are tested all the same.
The tests are those of `test_exchange_libraries.py`, where a skipped one counts as failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from tests.making import REPOSITORY

TESTS = Path(__file__).with_name("test_exchange_libraries.py")
PATIENCE_S = 600
_AMAZON = (
    "boto3==1.44.5",
    "botocore==1.44.5",
    "jmespath==1.1.0",
    "s3transfer==0.19.3",
    "six==1.17.0",
    "urllib3==2.8.0",
)
_WEB = ("certifi==2026.10.18", "charset-normalizer==3.5.2", "requests==2.34.2")
_FOR_MDS = (
    "brotli==1.2.1",
    "catalogue==2.0.10",
    "cramjam==2.14.0",
    "pillow==13.0.0",
    "python-snappy==0.7.3",
    "zstd==1.5.7.2",
)
_FOR_DOLMA = (
    "anyascii==0.3.3",
    "blingfire==0.1.8",
    "defusedxml==0.7.1",
    "joblib==1.6.0",
    "necessary==0.4.3",
    "nltk==3.10.4",
    "omegaconf==2.4.0",
    "requirements-parser==0.13.1",
    "smart-open==9.0.2",
    "uniseg==0.10.1",
    "wrapt==1.17.3",
)


@dataclass(frozen=True, kw_only=True)
class Library:
    """What is installed, without what it depends on: that would bring another numpy or a torch of several gigabytes.

    `needs` is what importing it takes; `stand_ins` are files in place of packages that it imports for something else.
    """

    package: str
    tests: str
    needs: tuple[str, ...] = ()
    stand_ins: dict[str, str] = field(default_factory=dict)


LIBRARIES = {
    "datasets": Library(package="datasets", tests="datasets or data_sets"),
    "mosaicml-streaming": Library(
        package="mosaicml-streaming==0.13.0",
        tests="mds",
        needs=(*_AMAZON, *_WEB, *_FOR_MDS),
        # Pictures: compiled for one build of torch, which need not be the one that is here.
        stand_ins={
            "torchvision/datasets.py": "class VisionDataset: ...\n",
            "torchvision/transforms/functional.py": "to_tensor = None\n",
        },
    ),
    "litdata": Library(
        package="litdata==0.2.76",
        tests="litdata",
        needs=(*_AMAZON, *_WEB, "lightning-utilities==0.15.3", "obstore==0.12.1", "tifffile==2026.3.3"),
    ),
    "dolma": Library(
        package="dolma==1.2.1",
        tests="dolma",
        needs=(*_AMAZON, *_WEB, *_FOR_DOLMA),
        # Classifiers of languages: compiled for minutes on this machine.
        stand_ins={
            "fasttext/__init__.py": "train_supervised = None\n",
            "fasttext/FastText.py": "_FastText = None\n",
        },
    ),
}


def install(library: Library, folder: Path) -> str | None:
    """Makes the environment of one library; what stood in the way, None where nothing did."""
    venv.create(folder, with_pip="==" in library.package)
    own = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    ours = dict.fromkeys(map(sysconfig.get_path, ("purelib", "platlib")))
    # Behind the folder itself: what is installed into it goes first.
    (own / "behind.pth").write_text("\n".join(ours))
    for name, text in library.stand_ins.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text)
    if "==" not in library.package:
        return None
    command = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    done = _run([*command, library.package, *library.needs])
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return None if done.returncode == 0 else " ".join(errors) or f"pip ended with {done.returncode}"


def run_tests(library: Library, folder: Path) -> tuple[int, list[str]]:
    """(tests that passed, what became of the others)."""
    report = folder / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", library.tests, f"--junitxml={report}"]
    done = _run([folder / "bin" / "python", "-m", "pytest", *options, TESTS])
    if not report.exists():
        return 0, [done.stdout + done.stderr]
    passed, others = 0, []
    for case in ElementTree.parse(report).iter("testcase"):
        fact = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        if fact is None:
            passed += 1
        else:
            others.append(f"{case.get('name')}: {fact.tag}, {fact.get('message')}")
    return passed, others if passed or others else ["no test is about it"]


def _run(command: list) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        list(map(str, command)), cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )


def version_of(library: Library, folder: Path) -> str:
    """What is installed, asked of the environment itself."""
    name = library.package.partition("==")[0]
    code = f"import importlib.metadata as m; print({name!r}, m.version({name!r}))"
    return _run([folder / "bin" / "python", "-c", code]).stdout.strip() or name


def main() -> None:
    """Exit code 1 where a test failed or was skipped."""
    sound = True
    for name in sys.argv[1:] or LIBRARIES:
        library = LIBRARIES[name]
        with tempfile.TemporaryDirectory(prefix="pile-exchange-") as scratch:
            folder = Path(scratch)
            if missing := install(library, folder):
                print(f"{name}: not tested, {library.package} cannot be installed here: {missing}", flush=True)
                continue
            passed, others = run_tests(library, folder)
            sound &= not others
            verdict = "FAILED" if others else "all passed"
            print(f"{version_of(library, folder)}: {passed} tests passed, {verdict}", flush=True)
            for fact in others:
                print(f"  {fact}", flush=True)
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
