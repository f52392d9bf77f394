"""Every id is counted as a loop over every sequence counts it, shared and overlapping bytes too."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from shards.dataset import TokenDataset
from shards.format import index_path, write_index
from shards.stats import ShardStudy, Vocabulary, study_shards
from shards.stats.ids import count_all_ids
from shards.stats.study import unread_tokens

DOCUMENTS = [[1, 2, 2, 0], [3, 0], [5, 5, 5, 5, 0], [0]]
ENTRIES = [2, 0, 0, 3]
WORDS = ["<end>", " ", "a", "\\n", "\\x1b", "b", "never", "<pad>"]


def vocabulary():
    white_space = np.array([False, True, False, True, False, False, False, False])
    special = {"<end>": 0, "<pad>": 7}
    return Vocabulary(size=8, token=WORDS.__getitem__, special=special, white_space=white_space)


@settings(deadline=None, max_examples=150)
@given(
    ids=st.lists(st.integers(0, 4), max_size=25),
    vocab_size=st.sampled_from([None, 5, 9]),
    data=st.data(),
)
def test_counts_are_those_of_a_loop_whatever_stretches_are_read(write_documents, ids, vocab_size, data):
    place = st.integers(0, len(ids))
    spans = data.draw(st.lists(st.tuples(place, place).map(sorted), max_size=8))
    prefix = write_documents([ids], provenance=False).prefix
    sizes, pointers = [stop - start for start, stop in spans], [2 * start for start, _ in spans]
    write_index(index_path(prefix), dtype="u2", sizes=sizes, pointers=pointers, doc_idx=range(len(spans) + 1))
    dataset = TokenDataset(prefix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shards.stats.ids.BLOCK_IDS", data.draw(st.integers(1, 9)))
        counts = count_all_ids(dataset, vocab_size=vocab_size, jobs=data.draw(st.integers(1, 3)))
    read = Counter(token for start, stop in spans for token in ids[start:stop])
    length = vocab_size or max(ids, default=-1) + 1
    assert counts.stored.tolist() == [ids.count(token) for token in range(length)]
    assert counts.read.tolist() == [read[token] for token in range(length)]
    reached = {place for start, stop in spans for place in range(start, stop)}
    assert unread_tokens(dataset) == len(ids) - len(reached)


@pytest.mark.parametrize("high", [70_000, 500_000])
def test_counters_grow_with_the_ids_of_a_file_that_names_no_vocabulary(write_documents, monkeypatch, high):
    monkeypatch.setattr("shards.stats.ids.BLOCK_IDS", 4)
    written = write_documents([[1, high, 1, high, high - 1, 2]], [0, 0], dtype="i4")
    counts = count_all_ids(TokenDataset(written.prefix))
    assert len(counts.stored) == high + 1
    assert {int(token): int(counts.read[token]) for token in np.flatnonzero(counts.stored)} == {
        1: 4,
        2: 2,
        high: 4,
        high - 1: 2,
    }


@pytest.mark.parametrize(("ids", "vocab_size"), [([1, -1], None), ([1, 2**31 - 1], None), ([0, 8], 8)])
def test_ids_outside_are_named_with_their_byte(write_documents, ids, vocab_size):
    dataset = TokenDataset(write_documents([ids], dtype="i4").prefix)
    with pytest.raises(CorruptData, match=f"has id {ids[1]} at byte 4, outside") as error:
        count_all_ids(dataset, vocab_size=vocab_size)
    assert error.value.hint.startswith("pile shards verify")


def test_tokens_come_with_their_names_and_shares(write_documents):
    study = study_shards(write_documents(DOCUMENTS, ENTRIES).prefix, vocabulary=vocabulary(), listed=3)
    use = study.token_use
    # Read: [5 5 5 5 0] once, [1 2 2 0] twice, [0] once; [3 0] is stored and never read.
    assert [(row.id, row.token, row.read, row.stored) for row in use.most] == [
        *((0, "<end>", 4, 4), (2, "a", 4, 2), (5, "b", 4, 4)),
    ]
    assert [row.share for row in use.most] == [4 / 14] * 3
    assert [(row.id, row.read) for row in use.least] == [(3, 0), (1, 2), (0, 4)]
    assert [row.token for row in use.special] == ["<end>", "<pad>"]
    assert [row.id for row in use.unused_examples] == [4, 6, 7]
    assert (use.ids, use.used, use.unused, use.unread_tokens, use.padding) == (8, 5, 3, 2, 0)
    space = use.white_space
    assert (space.ids, space.used, space.stored, space.read, space.share) == (2, 2, 2, 2, 2 / 14)
    assert msgspec.json.decode(msgspec.json.encode(study), type=ShardStudy) == study


def test_without_a_tokenizer_ids_stay_numbers(write_documents):
    use = study_shards(write_documents(DOCUMENTS, ENTRIES).prefix).token_use
    assert (use.ids, use.used, use.special, use.white_space) == (6, 5, [], None)
    assert {row.token for row in use.most} == {None}


def test_epochs_are_tokens_of_the_run_over_tokens_stored(write_documents):
    written = write_documents(DOCUMENTS, [0, 1, 2, 3, 0, 0])
    study = study_shards(written.prefix, sequence_length=4, samples=10)
    tokens = sum(map(len, written.sequences))
    assert (study.run.tokens, study.run.epochs) == (40, 40 / tokens)
    # Documents 0 and 3 are of one component: four tokens three times, one token once.
    epochs = {row.slug: row.epochs for row in study.run.components}
    assert epochs["arxiv"] == pytest.approx(40 / tokens * 13 / 5)
    assert epochs["github"] == pytest.approx(40 / tokens)
    assert sum(row.tokens for row in study.run.components) == pytest.approx(40, abs=2)
    for wrong in ({"sequence_length": 4}, {"samples": 4}):
        with pytest.raises(UsageError, match="takes both"):
            study_shards(written.prefix, **wrong)
    with pytest.raises(UsageError, match="makes no epochs"):
        study_shards(write_documents([]).prefix, sequence_length=4, samples=10)


def test_the_table_of_all_ids_has_a_row_for_each(write_documents, tmp_path):
    prefix = write_documents(DOCUMENTS, ENTRIES).prefix
    study_shards(prefix, vocabulary=vocabulary(), parquet=tmp_path / "ids.parquet")
    table = pq.read_table(tmp_path / "ids.parquet")
    assert table.column("id").to_pylist() == list(range(8))
    assert table.column("stored").to_pylist() == [4, 1, 2, 1, 0, 4, 0, 0]
    assert table.column("read").to_pylist() == [4, 2, 4, 0, 0, 4, 0, 0]
    assert table.column("token").to_pylist() == WORDS
    assert [row for row, special in enumerate(table.column("special").to_pylist()) if special] == [0, 7]
    study_shards(prefix, parquet=tmp_path / "plain.parquet")
    assert pq.read_table(tmp_path / "plain.parquet").column_names == ["id", "stored", "read"]


def test_empty_shards_have_no_tokens(write_documents):
    study = study_shards(write_documents([]).prefix, vocabulary=vocabulary())
    assert (study.token_use.used, study.token_use.most, study.token_use.white_space.share) == (0, [], 0)
