"""Statistics are what counting by hand over every sequence gives."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import UsageError
from shards.stats import QUANTILES, shard_stats

DOCUMENTS = [[1] * size for size in (5, 3, 7, 2, 40, 1, 1)]
ENTRIES = [2, 0, 3, 2, 1, 0, 4, 5, 6, 2]


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(1, 70), min_size=1, max_size=12), draw=st.data())
def test_counts_equal_those_of_a_loop(write_documents, sizes, draw):
    entries = draw.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=30))
    written = write_documents([[1] * size for size in sizes], entries)
    stats = shard_stats(written.prefix)
    lengths = sorted(map(len, written.sequences))
    text_bytes = sum(row["bytes"] for row in written.rows)
    assert (stats.sequences, stats.stored_documents) == (len(entries), len(set(entries)))
    assert (stats.tokens, stats.stored_tokens) == (sum(lengths), sum(sizes))
    assert (stats.bytes, stats.bytes_per_token) == (text_bytes, text_bytes / sum(lengths))
    buckets = Counter(length.bit_length() for length in lengths)
    counted = {bucket.most.bit_length(): bucket.sequences for bucket in stats.length_histogram}
    assert Counter(counted) == buckets
    assert all(bucket.least.bit_length() == bucket.most.bit_length() for bucket in stats.length_histogram)
    for share in QUANTILES:
        # The shortest length that at least this share of sequences does not exceed.
        expected = next(length for place, length in enumerate(lengths, 1) if place >= share * len(lengths))
        assert stats.length_quantiles[f"{share:g}"] == expected


def test_each_component_has_its_documents_copies_tokens_and_bytes(write_documents):
    written = write_documents(DOCUMENTS, ENTRIES)
    stats = shard_stats(written.prefix)
    assert [row.slug for row in stats.components] == ["arxiv", "github", "ubuntu-irc"]
    for component in stats.components:
        mine = [place for place, row in enumerate(written.rows) if row["slug"] == component.slug]
        tokens = sum(len(written.sequences[place]) for place in mine)
        assert component.documents == len({ENTRIES[place] for place in mine})
        assert component.copies == len(mine)
        assert component.tokens == tokens
        assert component.bytes == sum(written.rows[place]["bytes"] for place in mine)
        assert component.share == tokens / stats.tokens
    assert sum(component.share for component in stats.components) == pytest.approx(1)


def test_what_needs_provenance_is_absent_without_it(write_documents):
    stats = shard_stats(write_documents(DOCUMENTS, ENTRIES, provenance=False).prefix)
    assert (stats.bytes, stats.bytes_per_token, stats.components) == (None, None, [])
    assert (stats.sequences, stats.stored_documents) == (10, 7)


def test_empty_shards_have_statistics(write_documents):
    stats = shard_stats(write_documents([]).prefix)
    assert (stats.sequences, stats.tokens, stats.bytes_per_token) == (0, 0, None)
    assert (stats.length_quantiles, stats.length_histogram) == ({}, [])


def test_empty_sequences_have_a_bucket_of_their_own(write_documents):
    histogram = shard_stats(write_documents([[], [1], []]).prefix).length_histogram
    assert [(bucket.least, bucket.most, bucket.sequences) for bucket in histogram] == [(0, 0, 2), (1, 1, 1)]


def test_statistics_go_to_json_as_they_stand(write_documents):
    stats = shard_stats(write_documents(DOCUMENTS, ENTRIES).prefix)
    assert msgspec.json.decode(msgspec.json.encode(stats), type=type(stats)) == stats


def test_missing_shards_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"no file .*train"):
        shard_stats(tmp_path / "train")
