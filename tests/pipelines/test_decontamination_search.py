"""What is found is there, where it is said to be, and nothing is missed: against tuples of words in Python's sets."""

from __future__ import annotations

import json
import unicodedata

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.decontamination import Against
from pipelines.decontamination import spans as spans_of_words
from pipelines.decontamination.ngrams import open_ngrams, write_ngrams
from pipelines.decontamination.search import Searcher
from pipelines.decontamination.spans import word_spans
from tests.pipelines.decontamination_twin import hits_of, sought, words_of

AGAINST = Against(ngram=4, shortest=2)
# Characters that NFC, case folding and the folding of punctuation and white space treat in every way there is: marks in
# and out of order, Hangul in parts, singletons, a sign that composes out of punctuation, wide and long foldings.
ODD = [
    "=\u0338", "e\u0301", "=\u0301\u0338", "\u2000\u0301", "\u1112\u1161\u11ab",
    *"aAeEsß .,-_=<\n\t1²ﬁŉİıſΐΣς", *"\u0301\u0323\u0338\u0345\u0f73", *"\u1100\u1161\u11a8한",
    *"\u2000\u2001\u00a0\u3000",
    *"\u212b\u2126\u0958\u0915\u093c\uf900\u304b\u3099", *"😀Ａ漢。𝐀\U0001d15e\U00010400",
]  # fmt: skip
odd_texts = st.lists(st.sampled_from(ODD), max_size=40).map("".join)
any_texts = st.one_of(odd_texts, st.text(max_size=30))


@settings(max_examples=400)
@given(any_texts, st.booleans())
@example("a=\u0338b <\u0338 c", False)
def test_every_word_stands_where_it_is_said_to_and_nothing_but_separators_between(text, punctuation):
    spans = word_spans(text, Against(punctuation=punctuation).folding)
    places = list(zip(spans.starts.tolist(), spans.ends.tolist(), strict=True))

    def words(start: int, end: int) -> tuple[str, ...]:
        return words_of(text[start:end], punctuation=punctuation)

    expected = words_of(text, punctuation=punctuation)
    assert tuple(word for place in places for word in words(*place)) == expected
    assert len(places) == len(expected)
    # Of a text that NFC changes, part of what makes a word may make the same one: `=` and two marks that trade places.
    for start, end in places if unicodedata.is_normalized("NFC", text) else ():
        assert words(start + 1, end) != words(start, end) != words(start, end - 1)
    edges = [0, *(edge for place in places for edge in place), len(text)]
    assert edges == sorted(edges)
    assert not any(words(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True))
    places = np.arange(len(text) + 1)
    assert [len(text[:at].encode()) for at in places] == spans.bytes_before(places).tolist()
    assert spans.characters == len(text)


def test_blocks_meet_without_a_seam(monkeypatch):
    text = "Straße, e\u0301té 한 \u1112\u1161\u11ab -- 😀\u2000x" * 3
    whole = word_spans(text, AGAINST.folding)
    monkeypatch.setattr(spans_of_words, "_BLOCK", 7)
    found = word_spans(text, AGAINST.folding)
    assert all(np.array_equal(one, other) for one, other in zip(whole, found, strict=True))


def test_a_composed_character_is_never_cut_apart():
    decomposed = unicodedata.normalize("NFD", "Việt Nam, 한국어!")
    spans = word_spans(decomposed, AGAINST.folding)
    found = [decomposed[start:end] for start, end in zip(spans.starts, spans.ends, strict=True)]
    assert [unicodedata.normalize("NFC", word) for word in found] == ["Việt", "Nam", "한국어"]


@pytest.fixture(scope="module")
def searching(tmp_path_factory):
    """Hits of texts against records: [(number of the text, first character, end, n-gram)]."""

    def search(records: list, texts: list[str], against: Against = AGAINST) -> list[tuple[int, int, int, tuple]]:
        folder = tmp_path_factory.mktemp("sets")
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "set.jsonl").write_text(lines)
        table = tmp_path_factory.mktemp("table")
        write_ngrams(table, str(folder), msgspec.to_builtins(against))
        _, ngrams = open_ngrams(table)
        found = Searcher(table, against).find(texts)
        numbers = found.documents["number"]
        return [
            (int(numbers[hit["document"]]), int(hit["start"]), int(hit["end"]),
             tuple(ngrams.ngram_text(hit["ngram"]).split(" ")))
            for hit in found.hits
        ]  # fmt: skip

    return search


def expected_hits(records: list, texts: list[str], size: int = 4, shortest: int = 2) -> list[tuple]:
    """The same by the twin, with the places that `word_spans` gives."""
    ngrams = set().union(*(sought(record, size, shortest) for record in records))
    rows = []
    for number, text in enumerate(texts):
        spans = word_spans(text, AGAINST.folding)
        for hit in hits_of(text, ngrams):
            rows.append((number, int(spans.starts[hit.first]), int(spans.ends[hit.last]), hit.ngram))
    return rows


few_words = st.lists(st.sampled_from(["to", "be", "or", "NOT", "é", "e\u0301", "straße", "_", "x" * 40]), max_size=12)
phrases = few_words.map(" ".join)
joints = st.sampled_from([" ", "\n\n", ", ", " -- ", "\u2003"])
values = st.recursive(
    st.one_of(phrases, st.integers(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from("abcd"), inner, max_size=4)),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.lists(values, max_size=4), st.lists(st.tuples(few_words, joints), max_size=6), odd_texts)
def test_hits_are_those_of_sets_of_tuples(searching, records, documents, noise):
    records = [*records, "to be or not to be", noise or "to be"]
    texts = [joint.join(words) for words, joint in documents] + [f"To\tbe; OR not,to BE {noise}", noise, ""]
    assert searching(records, texts) == expected_hits(records, texts)


def test_long_documents_and_long_words_are_searched_from_end_to_end(searching):
    words = [f"w{number}" for number in range(5000)]
    record = "a b c d " + "y" * 500
    texts = [
        " ".join([*words, "A b, C d " + "Y" * 500]),
        "a b c d",
        " ".join(words[:511] + ["a", "b", "c", "d", "e"] * 600),
    ]
    found = searching([record], texts)
    assert found == expected_hits([record], texts)
    assert len(found) > 600


def test_ngrams_of_very_many_lengths_are_found(searching):
    words = [f"w{number}" for number in range(90)]
    records = [" ".join(words[:count]) for count in range(2, 90)]
    texts = [" ".join([*words[:70], "end"]), " ".join(words)]
    against = Against(ngram=90, shortest=2)
    found = searching(records, texts, against)
    assert found == expected_hits(records, texts, 90, 2)
    assert len(found) == 69 + 88


def test_texts_that_only_begin_like_an_ngram_are_no_hits(searching):
    # They pass the filter, which knows the first words only.
    record = "one two three four five six seven eight"
    assert searching([record], ["one two three", "one two three fours", "ONE two three four"]) == [
        (2, 0, 18, ("one", "two", "three", "four"))
    ]


def test_a_hash_that_two_ngrams_share_is_told_apart_by_their_bytes(tmp_path):
    from pipelines.decontamination.loading import load_kernels

    kernels = load_kernels()
    text = np.frombuffer(b"a b c d" + bytes(128), np.uint8)
    slots, keys = np.zeros(8, np.uint32), np.zeros(4, np.uint64)
    starts, sizes, numbers = np.zeros(4, np.int64), np.zeros(4, np.int64), np.zeros(3, np.int64)
    count = kernels.insert_ngrams(text, np.array([0, 4, 0]), np.array([3, 3, 3]), slots, keys, starts, sizes, numbers)
    assert (count, numbers.tolist()) == (2, [0, 1, 0])
    # The second as if it had the hash, and the slot, of the first.
    keys[1] = keys[0]
    slots[:] = 0
    first = int(keys[0]) % 8
    slots[first], slots[(first + 1) % 8] = 2, 1
    room, hits = kernels_room(2), np.zeros((4, 3), np.int64)
    marks = np.full(2, np.uint64(0xFFFFFFFFFFFFFFFF))
    words, prefixes = np.array([2]), np.zeros(room.starts.size, np.uint64)
    arguments = [marks, marks.copy(), 63, words, slots, keys, starts, sizes, text]
    for array in (*arguments[:2], words, slots, keys, starts, sizes):
        array.flags.writeable = False
    found = kernels.scan_texts(text.copy(), np.array([3]), 2, room, prefixes, *arguments, hits)
    assert (found, hits[0].tolist()) == (1, [0, 0, 0])


def kernels_room(size: int):
    """Scratch arrays for `size` words."""
    from pipelines.minhash.kernels import make_room

    return make_room(size)
