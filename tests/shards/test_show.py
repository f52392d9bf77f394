"""A sample is shown piece by piece, and the pieces are the sample."""

from __future__ import annotations

import msgspec
import pytest

from shards.dataset import TokenDataset
from shards.index import SampleIndex
from shards.show import show_sample

DOCUMENTS = [[ord(letter) for letter in text] for text in ("alpha.", "be.", "gamma rays.", ".", "delta delta delta.")]
ENTRIES = [2, 0, 3, 2, 1, 0, 4]


def decode(ids):
    return "".join(map(chr, ids.tolist()))


@pytest.fixture
def written(write_documents):
    return write_documents(DOCUMENTS, ENTRIES)


def test_pieces_joined_are_the_sample_and_each_is_where_it_says(written):
    index = SampleIndex.build(TokenDataset(written.prefix), sequence_length=9, samples=12)
    for number in range(len(index)):
        ids, pieces = index.tokens(number), show_sample(index, number, decode)
        assert "".join(piece.text for piece in pieces) == decode(ids)
        for piece in pieces:
            text, row = decode(index.dataset[piece.sequence]), written.rows[piece.sequence]
            assert piece.text == text[piece.start : piece.stop]
            assert piece.text == decode(ids[piece.offset : piece.offset + piece.stop - piece.start])
            assert (piece.component, piece.document, piece.copy) == (row["slug"], row["document"], row["copy"])


def test_document_boundaries_are_marked_where_they_are(written):
    index = SampleIndex.build(TokenDataset(written.prefix), sequence_length=9, samples=12)
    pieces = [piece for number in range(len(index)) for piece in show_sample(index, number, decode)]
    for piece in pieces:
        assert piece.starts_document == (piece.start == 0)
        assert piece.ends_document == piece.text.endswith(".")
    marks = {(piece.starts_document, piece.ends_document) for piece in pieces}
    assert marks >= {(True, True), (True, False), (False, True)}


def test_shards_without_provenance_show_their_text(write_documents):
    index = SampleIndex.build(
        TokenDataset(write_documents(DOCUMENTS, provenance=False).prefix), sequence_length=9, samples=2
    )
    pieces = show_sample(index, 0, decode)
    assert {(piece.component, piece.document, piece.copy) for piece in pieces} == {(None, None, None)}
    assert msgspec.json.decode(msgspec.json.encode(pieces[0]))["text"] == pieces[0].text
