"""Words are counted as the library cuts them; growing tables, parts, files and threads lose and double none."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers

from tokenizer.layout import byte_characters
from tokenizer.pretokens.kernels import PADDING
from tokenizer.training.counting import kernels
from tokenizer.training.counting import words as words_module
from tokenizer.training.counting.texts import count_texts
from tokenizer.training.counting.words import WordCounter, WordCounts, prune, read_part, write_parts
from tokenizer.training.request import TextRules

TEXTS = st.lists(
    st.text(max_size=40)
    | st.text("ab '\n\u3000\u00e9e\u0301", max_size=60)
    | st.text("x", min_size=10, max_size=70)
    | st.sampled_from(["a" * 15, "a" * 16, "\0" * 8, "\0" * 9, "ab\0", "ab", " " * 49, "\u0344\u0958"]),
    max_size=10,
)


def as_dictionary(words: WordCounts) -> dict[bytes, int]:
    starts = [0, *words.ends.tolist()]
    found = [words.data[start:end].tobytes() for start, end in zip(starts, words.ends.tolist(), strict=False)]
    assert len(set(found)) == len(found)
    return dict(zip(found, words.counts.tolist(), strict=True))


def librarys_words(texts: list[tuple[str, int]], rules: TextRules) -> Counter[bytes]:
    byte_of = {character: byte for byte, character in enumerate(byte_characters())}
    cut = pre_tokenizers.ByteLevel(add_prefix_space=rules.add_prefix_space)
    found: Counter[bytes] = Counter()
    for text, count in texts:
        composed = normalizers.NFC().normalize_str(text) if rules.nfc else text
        run = f" {{2,{rules.max_space_run}}}"
        for piece in re.split(run, composed) if rules.max_space_run > 1 else [composed]:
            # The library cuts nothing out of nothing, and puts no space before it.
            for word, _ in cut.pre_tokenize_str(piece) if piece else ():
                found[bytes(map(byte_of.__getitem__, word))] += count
    return +found


@settings(max_examples=150)
@given(
    texts=st.lists(st.integers(0, 4), max_size=10).flatmap(
        lambda counts: TEXTS.map(lambda texts: list(zip(texts, counts, strict=False)))
    ),
    run=st.sampled_from([1, 2, 24]),
    nfc=st.booleans(),
    prefix=st.booleans(),
    threads=st.sampled_from([1, 3]),
)
def test_words_are_the_librarys(texts, run, nfc, prefix, threads):
    rules = TextRules(max_space_run=run, nfc=nfc, add_prefix_space=prefix)
    assert as_dictionary(count_texts(texts, rules, threads=threads).words()) == librarys_words(texts, rules)


def test_real_documents_have_the_librarys_words(texts):
    some = [(text, number % 3) for number, text in enumerate(texts[::5])]
    rules = TextRules(max_space_run=24, nfc=True)
    counted = as_dictionary(count_texts(some, rules, threads=2).words())
    assert counted == librarys_words(some, rules)
    assert any(unicodedata.normalize("NFC", text) != text for text, _ in some)


@pytest.fixture
def tiny(monkeypatch):
    """Tables that have to grow all the time."""
    monkeypatch.setattr(words_module, "SMALLEST_TABLE", 2)
    monkeypatch.setattr(words_module, "SMALLEST_ARENA", 1)


def test_tables_that_grow_lose_and_double_nothing(tiny, texts):
    counter, expected = WordCounter(), Counter()
    for text in texts[::40]:
        counter.add_texts([text.encode()], [2], longest_run=1)
        expected += librarys_words([(text, 2)], TextRules(max_space_run=1))
    assert as_dictionary(counter.words()) == expected
    assert len(counter) == len(expected)


def words_of_one_hash() -> list[bytes]:
    """Words of 16 letters that share all 64 bits of their hash."""

    def step(values: np.ndarray) -> np.ndarray:
        # What the hash does with each eight bytes: a bijection, so that the next eight can undo a difference.
        values = values * kernels._B
        return values ^ values >> np.uint64(32)

    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", np.uint8)
    first = np.random.default_rng(1).choice(letters, (3_000_000, 8)).view(np.uint64)[:, 0]
    second = step(first) ^ step(first[:1]) ^ first[:1]
    fits = np.isin(second.view(np.uint8), letters).reshape(-1, 8).all(axis=1)
    return [np.array([before, after]).tobytes() for before, after in zip(first[fits], second[fits], strict=True)]


def test_long_words_of_one_hash_are_told_apart():
    words = words_of_one_hash()
    assert len(words) > 2
    padded = np.frombuffer(b"".join(words) + bytes(PADDING), np.uint8)
    assert len({int(kernels._hash(padded, 16 * number, 16 * number + 16)) for number in range(len(words))}) == 1
    counts = {word: number for number, word in enumerate(words, start=1)}
    counter = WordCounter()
    counter.add_words(WordCounts.of(counts))
    for word in words:
        counter.add_texts([word], [7], longest_run=24)
    assert as_dictionary(counter.words()) == {word: 7 + count for word, count in counts.items()}


@settings(max_examples=60)
@given(
    several=st.lists(st.dictionaries(st.binary(min_size=1, max_size=40), st.integers(1, 10**13)), max_size=4),
    parts=st.integers(1, 5),
    least=st.sampled_from([1, 2, 10**12]),
)
def test_parts_and_files_add_up_to_the_whole(several, parts, least, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    files = []
    for number, counts in enumerate(several):
        counter = WordCounter()
        counter.add_words(WordCounts.of(counts))
        files.append((folder / str(number), write_parts(folder / str(number), counter.parts(parts))))
    counters = [WordCounter() for _ in range(parts)]
    for part, counter in enumerate(counters):
        for path, starts in files:
            counter.add_words(read_part(path, starts[part]))
    total = sum(map(Counter, several), Counter())
    kept, dropped = prune(counters, least)
    assert as_dictionary(kept) == {word: count for word, count in total.items() if count >= least}
    rare = [count for count in total.values() if count < least]
    assert dropped == (len(rare), sum(rare))
