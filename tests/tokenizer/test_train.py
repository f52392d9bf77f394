"""Training is the library's BpeTrainer with runs of spaces cut out, and depends on nothing but the counted texts."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from pile_toolkit.core.errors import CorruptData, UsageError
from tokenizer.layout import byte_characters
from tokenizer.train import train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable

SPECIAL = ["<|endoftext|>", "<|padding|>"]
# GPT-2's pattern where only ASCII letters and digits occur.
WORD = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def librarys_merges(pieces: Iterable[str], vocab_size: int) -> tuple[dict[str, int], list[list[str]]]:
    """What a plain BpeTrainer makes of texts that are cut already."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(pieces, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], model["merges"]


def plain_python_merges(texts: list[str], merges: int, max_space_run: int) -> list[tuple[str, str]]:
    """Byte-pair encoding as defined: count all pairs again after each merge; the most frequent, then the lowest ids."""
    character_of = byte_characters()
    pieces = [
        piece
        for text in texts
        for piece in (re.split(f" {{2,{max_space_run}}}", text) if max_space_run > 1 else [text])
    ]
    counts = Counter(word for piece in pieces for word in WORD.findall(piece))
    words = {word: [character_of[byte] for byte in word.encode()] for word in counts}
    ids = {token: number for number, token in enumerate(SPECIAL + sorted(character_of))}
    found: list[tuple[str, str]] = []
    while len(found) < merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, tokens in words.items():
            for pair in itertools.pairwise(tokens):
                pairs[pair] += counts[word]
        if not pairs:
            break
        left, right = min(pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]))
        found.append((left, right))
        ids.setdefault(left + right, len(ids))
        words = {word: merged(tokens, left, right) for word, tokens in words.items()}
    return found


def merged(tokens: list[str], left: str, right: str) -> list[str]:
    result, position = [], 0
    while position < len(tokens):
        joined = tokens[position : position + 2] == [left, right]
        result.append(left + right if joined else tokens[position])
        position += 2 if joined else 1
    return result


def spoken(alphabet: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.text(alphabet, max_size=40), max_size=10)


def test_without_runs_of_spaces_it_is_a_plain_bpe_trainer(texts):
    encoder = train_tokenizer(texts[::6], vocab_size=4000, max_space_run=1)
    vocab, merges = librarys_merges(texts[::6], 4000)
    assert encoder.definition.vocab == vocab
    assert [list(merge) for merge in encoder.definition.merges] == merges
    assert [token.content for token in encoder.definition.added_tokens] == SPECIAL
    assert encoder.vocab_size == 4000


@pytest.mark.parametrize("max_space_run", [2, 7, 24])
def test_runs_of_spaces_are_cut_out_before_counting(texts, max_space_run):
    encoder = train_tokenizer(texts[::8], vocab_size=3000, max_space_run=max_space_run)
    pieces = [piece for text in texts[::8] for piece in re.split(f" {{2,{max_space_run}}}", text)]
    vocab, merges = librarys_merges(pieces, 3000 - (max_space_run - 1))
    assert encoder.definition.vocab == vocab
    assert [list(merge) for merge in encoder.definition.merges] == merges
    assert not any("ĠĠ" in token for token in vocab)
    assert encoder.vocab_size == 3000


@settings(max_examples=200, deadline=None)
@given(texts=st.sampled_from(["ab", "ab ", "abc ", "aab12 '.\n", "  a", "'s re\t"]).flatmap(spoken), data=st.data())
def test_merges_and_ties_are_those_of_the_definition(texts, data):
    max_space_run = data.draw(st.sampled_from([1, 2, 3, 24]))
    merges = data.draw(st.integers(0, 60))
    size = 258 + merges + max_space_run - 1
    encoder = train_tokenizer(texts, vocab_size=size, max_space_run=max_space_run, allow_smaller=True, threads=1)
    assert list(encoder.definition.merges) == plain_python_merges(texts, merges, max_space_run)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=30), max_size=8), data=st.data())
def test_the_order_of_texts_and_the_threads_change_no_byte(texts, data):
    shuffled = data.draw(st.permutations(texts))
    hashes = {
        train_tokenizer(some, vocab_size=330, allow_smaller=True, threads=threads).hash
        for some in (texts, shuffled)
        for threads in (1, 2)
    }
    assert len(hashes) == 1


def test_real_texts_in_another_order_give_the_same_file(texts, tmp_path):
    some = texts[::8]
    orders = [some, some[::-1], sorted(some, key=len)]
    for number, (order, threads) in enumerate(zip(orders, (None, 1, 2), strict=True)):
        train_tokenizer(iter(order), vocab_size=3000, threads=threads).save(tmp_path / f"{number}.json")
    first, second, third = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert first == second == third


def test_copies_count_a_text_that_often():
    texts, copies = ["aab aab xyz", "xyz xyzz", "never counted"], np.array([3, 2, 0])
    weighted = train_tokenizer(zip(texts, copies, strict=True), vocab_size=290, allow_smaller=True)
    repeated = train_tokenizer(
        [text for text, times in zip(texts, copies, strict=True) for _ in range(times)],
        vocab_size=290,
        allow_smaller=True,
    )
    assert weighted.hash == repeated.hash
    assert weighted.hash != train_tokenizer(texts, vocab_size=290, allow_smaller=True).hash


def test_the_default_layout_has_exactly_50257_ids(texts):
    encoder = train_tokenizer(texts)
    assert encoder.vocab_size == 50_257
    assert len(encoder.definition.merges) == 49_976
    assert [encoder.token(number) for number in (0, 1)] == SPECIAL
    single_bytes = [encoder.token_bytes(number) for number in range(2, 258)]
    assert sorted(single_bytes) == [bytes([byte]) for byte in range(256)]
    in_file = [character.encode("utf-32-be") for character in sorted(byte_characters())]
    assert [byte_characters()[data[0]].encode("utf-32-be") for data in single_bytes] == in_file
    assert [encoder.token(number) for number in range(50_234, 50_257)] == [" " * length for length in range(24, 1, -1)]
    assert {token.id: token.special for token in encoder.definition.added_tokens} == {
        0: True,
        1: True,
        **dict.fromkeys(range(50_234, 50_257), False),
    }
    some = "".join(texts[::50])
    assert encoder.decode(encoder.encode(some)) == some


def test_a_corpus_too_small_says_how_many_merges_it_has():
    with pytest.raises(UsageError, match=r"too small for 300 ids: 2 merges are possible, 19 are needed") as error:
        train_tokenizer(["abc"], vocab_size=300)
    assert error.value.hint == "more text, --vocab-size 283, or --allow-smaller"
    assert train_tokenizer(["abc"], vocab_size=283).vocab_size == 283


def test_a_smaller_vocabulary_can_be_allowed_and_keeps_the_layout():
    encoder = train_tokenizer(["abc"], vocab_size=10**9, allow_smaller=True)
    assert encoder.vocab_size == 283
    assert encoder.token(259) == "abc"
    assert [encoder.token(number) for number in range(260, 283)] == [" " * length for length in range(24, 1, -1)]
    assert train_tokenizer([], vocab_size=400, allow_smaller=True).vocab_size == 281


@pytest.mark.parametrize(("max_space_run", "smallest"), [(24, 281), (1, 258), (100, 357)])
def test_a_vocabulary_too_small_for_the_layout_names_the_smallest(max_space_run, smallest):
    with pytest.raises(UsageError, match=f"need {smallest}") as error:
        train_tokenizer(["abc"], vocab_size=smallest - 1, max_space_run=max_space_run)
    assert error.value.hint == f"--vocab-size {smallest} or more"
    bytes_only = train_tokenizer(["abc"], vocab_size=smallest, max_space_run=max_space_run)
    assert (bytes_only.vocab_size, bytes_only.definition.merges) == (smallest, ())


def test_bad_requests_are_refused():
    for texts, message in (
        ("one text", "this is one text"),
        ([3], "text 0 is '3'"),
        (["a", ("b", -1)], "text 1 is"),
        ([("a" * 2**20, 2048)], "more than 2,147,483,647 bytes"),
    ):
        with pytest.raises(UsageError, match=message):
            train_tokenizer(texts, vocab_size=300)
    with pytest.raises(CorruptData, match=r"text 1 has the lone surrogate U\+D800"):
        train_tokenizer(["a", "b\ud800"], vocab_size=300)
    with pytest.raises(UsageError, match="threads is 0"):
        train_tokenizer(["a"], vocab_size=300, threads=0)
    with pytest.raises(UsageError, match="max_space_run is 0"):
        train_tokenizer(["a"], vocab_size=300, max_space_run=0)


def test_an_error_of_the_source_comes_through():
    def broken():
        yield "a text"
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="the disk went away"):
        train_tokenizer(broken(), vocab_size=300)


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_training_leaves_the_environment_as_it_was(monkeypatch, threads):
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    before = dict(os.environ)
    train_tokenizer(["abc abd"], vocab_size=283, threads=threads)
    assert dict(os.environ) == before
