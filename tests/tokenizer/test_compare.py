"""The table's counts are those of the library and of plain Python over the same documents."""

from __future__ import annotations

import msgspec
import pytest

from pile_toolkit.core.errors import CorruptData, UsageError
from tokenizer.compare import BATCH_CHARACTERS, compare


def test_counts_per_component_and_in_all_are_the_librarys(neox, gpt2, documents):
    some = documents[::5]
    table = compare({"GPT-2": gpt2.ours, "20B": neox.ours}, iter(some), threads=2)
    assert sum(len(text) for _, text in some) < 2 * BATCH_CHARACTERS
    assert table.encoders == ("GPT-2", "20B")
    assert [row.component for row in table.rows] == list(dict.fromkeys(component for component, _ in some))
    for row in table.rows:
        texts = [text for component, text in some if component == row.component]
        assert row.documents == len(texts)
        assert row.bytes == sum(len(text.encode()) for text in texts)
        for name, pair in (("GPT-2", gpt2), ("20B", neox)):
            assert row.tokens[name] == sum(len(pair.expected(text)) for text in texts)
            assert row.bytes_per_token[name] == row.bytes / row.tokens[name]
            assert row.ratio[name] == row.tokens[name] / row.tokens["GPT-2"]
    for name in table.encoders:
        assert table.total.tokens[name] == sum(row.tokens[name] for row in table.rows)
    assert (table.total.documents, table.total.component) == (len(some), "total")
    assert table.total.ratio["20B"] == table.total.tokens["20B"] / table.total.tokens["GPT-2"] < 1


def test_many_batches_count_as_one(small):
    documents = [(f"component {number % 3}", "the quick " * (BATCH_CHARACTERS // 40)) for number in range(9)]
    table = compare({"small": small}, documents)
    tokens = len(small.encode(documents[0][1]))
    assert [row.tokens["small"] for row in table.rows] == [3 * tokens] * 3
    assert table.total.tokens == {"small": 9 * tokens}


def test_documents_without_tokens_have_no_ratio(small):
    table = compare({"small": small}, [("empty", ""), ("full", "the")])
    empty, full = table.rows
    assert (empty.bytes_per_token, empty.ratio) == ({"small": None}, {"small": None})
    assert (full.bytes_per_token, full.ratio) == ({"small": 3.0}, {"small": 1.0})
    assert msgspec.json.decode(msgspec.json.encode(table), type=type(table)) == table


def test_nothing_to_compare_is_refused(small):
    with pytest.raises(UsageError, match="no tokenizer"):
        compare({}, [("a", "b")])
    with pytest.raises(UsageError, match="no documents"):
        compare({"small": small}, [])
    with pytest.raises(CorruptData, match="a document of wikipedia-en has the lone surrogate"):
        compare({"small": small}, [("wikipedia-en", "\ud800")])
