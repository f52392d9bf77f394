"""A corpus that was filtered on its way in is locked with its filters and with what was filtered."""

from __future__ import annotations

import json
import shutil

import pytest

from pile_toolkit.chain.lock import lock, read_lock
from pile_toolkit.chain.locked import LockedRun
from pile_toolkit.core.documents import DocumentWriter
from pile_toolkit.core.errors import CorruptData
from tests.chain.small_chain import deterministic_outputs

CONFIG = """
root = "root"
[download]
components = ["github", "enron-emails"]
from = "source"
mask = ["email"]
[download.filters.length]
min_characters = 700
enron-emails = { min_characters = 300, max_characters = 20000 }
[download.filters.blank]
components = ["github"]
[build]
weights = { default = 1.0 }
val_share = 0.2
test_share = 0.2
train_shards = 2
[tokenizer]
vocab_size = 400
"""


@pytest.fixture
def filtered(source, pile, tmp_path):
    """A folder with the sources, a filtered root and its lock."""
    (tmp_path / "source").mkdir()
    for slug in ("github", "enron-emails"):
        shutil.copy(source / f"{slug}.jsonl.zst", tmp_path / "source")
    (tmp_path / "pile.toml").write_text(CONFIG)
    done = pile("run", tmp_path / "pile.toml", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    lock(tmp_path / "root", tmp_path / "pile.lock")
    return tmp_path


def test_it_is_made_again_with_its_filters_and_locks_the_same(filtered, pile):
    again = filtered / "again"
    done = pile("run", "--locked", filtered / "pile.lock", "--root", again, "--from", filtered / "source", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["warnings"] == []
    assert deterministic_outputs(again) == deterministic_outputs(filtered / "root")
    lock(again, filtered / "again.lock")
    assert (filtered / "again.lock").read_bytes() == (filtered / "pile.lock").read_bytes()
    folders = [stage.folder for stage in read_lock(filtered / "pile.lock").stages]
    assert {"components/github", "components/github/source"} <= set(folders)


def test_inputs_are_those_that_were_filtered(filtered):
    overrides = {"download.from": str(filtered / "source"), "root": str(filtered / "again")}
    LockedRun(filtered / "pile.lock", overrides).check()
    with DocumentWriter(filtered / "source" / "github.jsonl.zst") as writer:
        writer.write("another one", {})
    with pytest.raises(CorruptData, match=r"source/github.jsonl.zst has"):
        LockedRun(filtered / "pile.lock", overrides).check()
