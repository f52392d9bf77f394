"""A corpus of which documents were cut: statistics know pieces from documents, and its lock needs the sets again."""

from __future__ import annotations

import json

import pytest

from pile_toolkit.chain.lock import lock
from pile_toolkit.chain.locked import LockedRun
from pile_toolkit.chain.run import run
from pile_toolkit.chain.statistics import stats
from pile_toolkit.core.components import read_component
from pile_toolkit.core.documents import DocumentWriter, read_documents
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import read_manifest
from shards.stats import shard_stats
from tests.chain.small_chain import deterministic_outputs
from tokenizer.encoder import Encoder

CONFIG = """
root = "root"
[download]
components = ["enron-emails", "stackexchange"]
from = "source"
[dedup]
against = "sets"
against_ngram = 12
[build]
train_shards = 2
val_share = 0.1
test_share = 0.1
[tokenizer]
vocab_size = 500
"""
PASSAGE = "a passage of some evaluation set that nobody wants to find again in the text of any corpus"


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory):
    """A finished run; every fifth text has the passage in its middle."""
    folder = tmp_path_factory.mktemp("cut")
    for slug in ("enron-emails", "stackexchange"):
        texts = [document.text for document in read_documents(source / f"{slug}.jsonl.zst")]
        with DocumentWriter(folder / "source" / f"{slug}.jsonl.zst") as writer:
            for number, text in enumerate(texts):
                cut = slug == "stackexchange" and number % 10 == 0
                around = f"{text} {number} " * (1 + 600 // max(len(text), 1))
                writer.write(f"{around} {PASSAGE} {around}" if cut else text, {})
    (folder / "sets").mkdir()
    (folder / "sets" / "set.jsonl").write_text(json.dumps({"text": PASSAGE}) + "\n")
    (folder / "pile.toml").write_text(CONFIG)
    run(folder / "pile.toml", jobs=1)
    return folder


def test_tokens_of_documents_that_were_cut_are_encoded_and_those_of_pieces_are_in_the_shards(folder):
    root = folder / "root"
    assert read_manifest(root / "dedup").counts["contamination"]["cut"]
    told = stats(root)
    encoder = Encoder.load(root / "tokenizer" / "tokenizer.json")
    (file,) = read_component(root, "stackexchange").files
    tokens = sum(len(encoder.encode(document.text)) + 1 for document in read_documents(file.path))
    whole = next(row for row in told.groups if (row.of, row.component) == ("components", "stackexchange"))
    assert (whole.tokens, whole.tokens_from) == (tokens, "encoded")
    planned, counted = told.total("plan", "train"), shard_stats(root / "shards" / "train")
    assert (planned.tokens, planned.tokens_from, planned.bytes) == (counted.tokens, "shards", counted.bytes)
    assert planned.copies == counted.sequences > planned.documents


def test_a_lock_of_it_takes_the_sets_from_where_they_lie_now(folder, tmp_path):
    lock(folder / "root", tmp_path / "pile.lock")
    assert str(folder) not in (tmp_path / "pile.lock").read_text()
    overrides = {"root": str(tmp_path / "again"), "download.from": str(folder / "source")}
    with pytest.raises(UsageError, match="evaluation sets") as raised:
        LockedRun(tmp_path / "pile.lock", overrides)
    assert "--against" in raised.value.hint
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "set.jsonl").write_text(json.dumps({"text": f"{PASSAGE} again"}) + "\n")
    with pytest.raises(CorruptData, match="are not those of"):
        LockedRun(tmp_path / "pile.lock", {**overrides, "dedup.against": str(tmp_path / "sets")}).check()
    again = {**overrides, "dedup.against": str(folder / "sets")}
    run(locked=tmp_path / "pile.lock", overrides=again, jobs=1)
    found, wanted = (deterministic_outputs(root) for root in (tmp_path / "again", folder / "root"))
    assert {name: value for name, value in found.items() if not name.startswith("stats/")} == {
        name: value for name, value in wanted.items() if not name.startswith("stats/")
    }
