"""Searching finds what a loop over every document finds: each place once, none across the end of a document."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import UsageError
from shards.dataset import TokenDataset
from shards.find import find_tokens
from shards.format import index_path, write_index

DOCUMENTS = [[1, 2, 1, 2, 9], [2, 1, 9], [9], [], [1, 2, 9]]
ENTRIES = [4, 0, 1, 0, 3, 2]


def places_in(ids, wanted):
    return [at for at in range(len(ids) - len(wanted) + 1) if ids[at : at + len(wanted)] == wanted]


@settings(deadline=None, max_examples=150)
@given(
    documents=st.lists(st.lists(st.integers(0, 2), max_size=7), min_size=1, max_size=8),
    wanted=st.lists(st.integers(0, 2), min_size=1, max_size=4),
    data=st.data(),
)
def test_every_place_is_found_once_and_counted_with_its_copies(write_documents, documents, wanted, data):
    entries = data.draw(st.lists(st.integers(0, len(documents) - 1), max_size=10))
    block, jobs = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 3))
    written = write_documents(documents, entries)
    dataset = TokenDataset(written.prefix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shards.find.BLOCK_IDS", block)
        found = find_tokens(dataset, wanted, limit=1000, jobs=jobs)
    expected = [(number, at) for number in sorted(set(entries)) for at in places_in(documents[number], wanted)]
    assert found.stored == len(expected)
    assert found.read == sum(entries.count(number) for number, _ in expected)
    assert [(entries[one.sequence], one.start) for one in found.occurrences] == expected
    for one in found.occurrences:
        assert one.sequence == entries.index(entries[one.sequence])
        assert one.copies == entries.count(entries[one.sequence])
        assert dataset[one.sequence][one.start : one.stop].tolist() == wanted
        assert one.document == written.rows[one.sequence]["document"]


@settings(deadline=None, max_examples=100)
@given(
    ids=st.lists(st.integers(0, 1), min_size=1, max_size=12),
    wanted=st.lists(st.integers(0, 1), min_size=1, max_size=3),
    data=st.data(),
)
def test_sequences_that_overlap_each_other_are_searched_each(write_documents, ids, wanted, data):
    place = st.integers(0, len(ids))
    spans = data.draw(st.lists(st.tuples(place, place).map(sorted), min_size=1, max_size=6))
    prefix = write_documents([ids], provenance=False).prefix
    sizes, pointers = [stop - start for start, stop in spans], [2 * start for start, _ in spans]
    write_index(index_path(prefix), dtype="u2", sizes=sizes, pointers=pointers, doc_idx=range(len(spans) + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shards.find.BLOCK_IDS", data.draw(st.integers(1, 9)))
        found = find_tokens(TokenDataset(prefix), wanted, limit=1000)
    expected = [start + at for start, stop in spans for at in places_in(ids[start:stop], wanted)]
    assert (found.read, found.stored) == (len(expected), len(set(expected)))


def test_the_first_places_come_with_the_text_around_them(write_documents):
    written = write_documents([[*range(40)], [20, 21, 22]], [1, 0, 0])
    found = find_tokens(TokenDataset(written.prefix), [20, 21], limit=1, decode=lambda ids: " ".join(map(str, ids)))
    assert (found.stored, found.read) == (2, 3)
    (one,) = found.occurrences
    assert (one.sequence, one.copies, one.start, one.stop) == (1, 2, 20, 22)
    assert one.before == " ".join(map(str, range(8, 20)))
    assert (one.text, one.after) == ("20 21", " ".join(map(str, range(22, 34))))


def test_ids_that_the_file_cannot_hold_are_nowhere(write_documents):
    dataset = TokenDataset(write_documents(DOCUMENTS, ENTRIES).prefix)
    for ids in ([70_000], [-1], [1, 65_536], [2**70]):
        assert find_tokens(dataset, ids).stored == 0
    assert find_tokens(TokenDataset(write_documents([]).prefix), [1]).occurrences == []
    with pytest.raises(UsageError, match="no ids to look for"):
        find_tokens(dataset, [])


def test_wide_ids_are_found(write_documents):
    dataset = TokenDataset(write_documents([[1, 70_000, 3]], dtype="i4").prefix)
    assert find_tokens(dataset, np.array([70_000, 3])).stored == 1
