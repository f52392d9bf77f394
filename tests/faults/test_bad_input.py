"""Files that are not those of their manifest, by the command line: an exit code, one sentence and what to type."""

from __future__ import annotations

import contextlib
import io
import os
import shutil

import pytest

from pile_toolkit.cli.main import main
from pile_toolkit.core.documents import DocumentWriter
from pile_toolkit.core.manifest import MANIFEST
from tests.faults.ground import copy_root

COUNTS = {"enron-emails": 60, "ubuntu-irc": 40, "github": 0}
ALONE = ("--scheduler", "serial")
SHARES = ("--val-share", "0.1", "--test-share", "0.1", *ALONE)
WEIGHTS = "default = 1\ngithub = 0\n"
BUILD = ("build", *SHARES, "--weights", "weights.toml", "--train-shards", "2")


def call(folder, *words):
    """(exit code, what is said) of a command in this folder."""
    said = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main([*words, "--root", "root"] if "--root" not in words else list(words))
        except SystemExit as ended:
            return ended.code or 0, said.getvalue()
    return 0, said.getvalue()


def write(path, word, count):
    with DocumentWriter(path) as writer:
        for number in range(count):
            writer.write(f"{word} of {path.name} number {number} ", {"word": word})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder with two roots of one shape and different texts, `root` and `other`, and their sources)."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "weights.toml").write_text(WEIGHTS)
    for name in ("root", "other"):
        for slug, count in COUNTS.items():
            write(folder / f"{name}.source" / f"{slug}.jsonl.zst", name, count)
        for command in (("download", *COUNTS, "--from", f"{name}.source", *ALONE), ("dedup", *ALONE), BUILD):
            code, said = call(folder, *command, "--root", name)
            assert code == 0, said
    return folder


@pytest.fixture
def here(made, tmp_path):
    """A copy of both roots; components point at the copy's own sources."""
    copy_root(made, tmp_path / "bad")
    for name in ("root", "other"):
        for path in (tmp_path / "bad" / name / "components").rglob(MANIFEST):
            path.write_text(path.read_text().replace(str(made), str(tmp_path / "bad")))
    return tmp_path / "bad"


def append(path):
    path.write_bytes(path.read_bytes() + b"x")


def turn_over(path):
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))


def other_texts(path):
    write(path, "quite other text", COUNTS["ubuntu-irc"])


def other_metas(path):
    with DocumentWriter(path) as writer:
        for number in range(COUNTS["ubuntu-irc"]):
            writer.write(f"root of {path.name} number {number} ", {"word": "another"})


def other_plan(path):
    shutil.copy(path.parents[2] / "other" / "plan" / "plan.parquet", path)


KEEP_LIST, DOCUMENTS = "root/dedup/documents.parquet", "root.source/ubuntu-irc.jsonl.zst"
ANEW = ("build", *SHARES, "--weights", "weights.toml", "--train-shards", "3")
NOT_THOSE, CHANGED = "are not those that its manifest describes", "changed since it was downloaded"


@pytest.mark.parametrize(
    ("file", "harm", "command", "code", "said", "hint"),
    [
        (KEEP_LIST, append, ANEW, 4, NOT_THOSE, "pile dedup --method exact"),
        (KEEP_LIST, turn_over, ANEW, 4, NOT_THOSE, "pile dedup --method exact"),
        (DOCUMENTS, append, ANEW, 4, CHANGED, "pile download ubuntu-irc"),
        (DOCUMENTS, turn_over, ANEW, 4, "is damaged at byte", "fetch or make the file again"),
        (DOCUMENTS, other_texts, ANEW, 4, "has another text on line 1 than the one the plan names", "pile download"),
        (DOCUMENTS, other_metas, ANEW, 4, CHANGED, "pile download ubuntu-irc"),
        (DOCUMENTS, other_texts, ("dedup", "--method", "none", *ALONE), 4, CHANGED, "pile download"),
        (DOCUMENTS, other_texts, ("stats", *ALONE), 4, CHANGED, "pile download ubuntu-irc"),
        ("root/plan/plan.parquet", other_plan, ("stats", "--of", "plan"), 4, NOT_THOSE, "pile build"),
        ("root/plan/plan.parquet", other_plan, ("tokenizer", "train"), 4, NOT_THOSE, "pile build"),
        (
            "weights.toml",
            lambda path: path.write_text("default = 1\ngithub = 2\n"),
            ANEW,
            2,
            "'github' has no doc",
            "github = 0",
        ),
        ("weights.toml", lambda path: path.write_text(WEIGHTS + "gihtub = 1\n"), ANEW, 2, "'gihtub'", "'github'"),
        ("weights.toml", lambda path: path.write_text("default = -1\n"), ANEW, 2, "'default' is -1", "default = 1.0"),
    ],
)
def test_what_does_not_match_is_one_sentence_and_what_to_type(here, file, harm, command, code, said, hint):
    harm(here / file)
    ended, printed = call(here, *command)
    assert ended == code, printed
    sentence, _, remedy = printed[printed.index("error: ") :].partition("\n")
    assert said in sentence
    assert remedy.strip().startswith("try: ")
    assert hint in remedy
    assert [line.startswith("error: ") for line in printed.splitlines()].count(True) == 1
    assert "Traceback" not in printed
    # What was to be made of it is not there as if it had been.
    if file == DOCUMENTS and command[0] in ("build", "stats"):
        assert not (here / "root" / {"build": "corpus", "stats": "stats"}[command[0]] / MANIFEST).exists()


def test_the_plan_of_other_files_counts_as_none(here):
    shutil.rmtree(here / "root" / "plan")
    copy_root(here / "other" / "plan", here / "root" / "plan")
    code, said = call(here, "stats", "--of", "plan")
    assert code == 2
    assert "has no plan of the components that it holds" in said
    first = here / "root" / "corpus" / "train" / "00.jsonl.zst"
    before = first.read_bytes()
    assert call(here, *BUILD) == (0, "")
    assert first.read_bytes() == before
