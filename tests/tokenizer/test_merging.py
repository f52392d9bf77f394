"""Merging pairs, lowest rank first and leftmost of equals, gives what a plain loop over the list of merges gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from pile_toolkit.core.errors import UsageError
from tokenizer.definition import BYTE_LEVEL, Definition
from tokenizer.encoding import merges as merges_module
from tokenizer.encoding.merges import check_size, merge_arrays
from tokenizer.encoding.merging.kernels import SHORT_BYTES, merge_long, merge_short

LETTERS = "abcd"


@st.composite
def definitions(draw, *, alphabet: str = LETTERS) -> Definition:
    """Merges of what is there, in an order of their own: also such that make one token twice."""
    tokens = list(alphabet)
    merges: list[tuple[str, str]] = []
    for _ in range(draw(st.integers(0, 12))):
        left, right = draw(st.sampled_from(tokens)), draw(st.sampled_from(tokens))
        if len(left + right) > 12 or (left, right) in merges:
            continue
        merges.append((left, right))
        tokens.append(left + right)
    ids = draw(st.permutations(range(len(set(tokens)))))
    vocab = dict(zip(dict.fromkeys(tokens), ids, strict=True))
    if draw(st.booleans()):
        merges = draw(st.permutations(merges))
    return Definition(added_tokens=(), vocab=vocab, merges=tuple(merges), pre_tokenizer=BYTE_LEVEL, decoder=None)


def twin(definition: Definition, text: str) -> list[int]:
    """The definition of byte-pair encoding, word for word."""
    rank = {merge: place for place, merge in enumerate(definition.merges)}
    tokens = [character for character in text if character in definition.vocab]
    while True:
        ranked = [(rank[pair], at) for at, pair in enumerate(itertools.pairwise(tokens)) if pair in rank]
        if not ranked:
            return [definition.vocab[token] for token in tokens]
        _, at = min(ranked)
        tokens[at : at + 2] = [tokens[at] + tokens[at + 1]]


def merged(kernel, definition: Definition, text: str) -> list[int]:
    data = np.frombuffer(b"zz" + text.encode() + b"zz", np.uint8)
    size = len(text.encode())
    out = np.zeros(size + 3, np.uint32)
    scratch = [np.empty(max(size, SHORT_BYTES), np.int32), np.empty(max(size, SHORT_BYTES), np.uint32)]
    if kernel is merge_long:
        scratch += [np.empty(2 * size, np.int32), np.empty(2 * size, np.uint64)]
    count = kernel(data, 2, 2 + size, merge_arrays(definition), *scratch, out, 3)
    return out[3:count].tolist()


@settings(max_examples=300)
@given(definition=definitions(), text=st.text(alphabet=LETTERS + "z", max_size=40))
def test_short_and_long_merging_are_the_plain_loop_and_the_library(definition, text):
    expected = twin(definition, text)
    assert merged(merge_short, definition, text) == expected
    assert merged(merge_long, definition, text) == expected
    library = Tokenizer(models.BPE(definition.vocab, list(definition.merges)))
    assert library.encode(text).ids == expected


@settings(max_examples=30)
@given(
    definition=definitions(),
    parts=st.lists(st.text(alphabet=LETTERS, min_size=1, max_size=6), min_size=1),
    data=st.data(),
)
def test_long_texts_merge_alike(definition, parts, data):
    text = "".join(part * data.draw(st.integers(1, 20)) for part in parts)[:600]
    assert merged(merge_long, definition, text) == twin(definition, text)
    some = text[:SHORT_BYTES]
    assert merged(merge_short, definition, some) == merged(merge_long, definition, some) == twin(definition, some)


def test_of_a_merge_listed_twice_the_last_place_counts():
    vocab = {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4}
    definition = Definition(
        added_tokens=(),
        vocab=vocab,
        merges=(("a", "b"), ("b", "c"), ("a", "b")),
        pre_tokenizer=BYTE_LEVEL,
        decoder=None,
    )
    library = Tokenizer(models.BPE(vocab, list(definition.merges)))
    assert merged(merge_short, definition, "abc") == library.encode("abc").ids == [0, 4]


def test_more_tokens_than_fit_are_refused_by_field(monkeypatch):
    definition = Definition(
        added_tokens=(), vocab={"a": 0, "b": 1, "ab": 2}, merges=(("a", "b"),), pre_tokenizer=BYTE_LEVEL, decoder=None
    )
    check_size(definition, name="x")
    monkeypatch.setattr(merges_module, "LARGEST_VOCAB", 2)
    with pytest.raises(UsageError, match=r"model\.vocab has 3 entries, at most 2"):
        check_size(definition, name="x")
    monkeypatch.setattr(merges_module, "LARGEST_MERGES", 0)
    monkeypatch.setattr(merges_module, "LARGEST_VOCAB", 3)
    with pytest.raises(UsageError, match=r"model\.merges has 1 entries, at most 0"):
        check_size(definition, name="x")
