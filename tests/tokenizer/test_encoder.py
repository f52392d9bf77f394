"""The encoder gives the library's ids on everything, gives the text back, and refuses what it cannot do exactly."""

from __future__ import annotations

import multiprocessing
import pickle
import unicodedata
from concurrent.futures import ProcessPoolExecutor

import msgspec
import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from pile_toolkit.core.errors import CorruptData, UsageError
from tokenizer.definition import BYTE_LEVEL, Definition, render
from tokenizer.encoder import CHUNK_CHARACTERS, Encoder
from tokenizer.layout import byte_characters

FRAGMENTS = [
    *(
        "<|endoftext|>",
        "<|padding|>",
        "<|endof",
        "text|>",
        "'s",
        "'re",
        "'LL",
        "''",
        "don't",
        "1234567890",
        "\r\n",
        "\t",
    ),
    *("\u00a0", "\u2000", "\u3000", "\u0085", "\u200b", "\u180e", "\ufeff", "\x00", "\x1c", "e\u0301", "\u1100\u1161"),
    *(
        "Å",
        "\u212b",
        "中文字",
        "שלום",
        "مرحبا",
        "👩‍👩‍👧‍👦",
        "🇩🇪",
        "Ⅷ",
        "½",
        "ǅ",
        "ß",
        "x" * 50,
        " ",
        "  ",
        " " * 24,
        " " * 25,
    ),
]
TEXT = st.lists(st.text(max_size=12) | st.sampled_from(FRAGMENTS) | st.integers(1, 60).map(" ".__mul__), max_size=12)
UNICODE = TEXT.map("".join)


def test_real_documents_get_the_librarys_ids_for_any_number_of_threads(pair, texts):
    pair.library.encode_special_tokens = True
    expected = [encoding.ids for encoding in pair.library.encode_batch_fast(texts, add_special_tokens=False)]
    ids, offsets = pair.ours.encode_batch(texts, threads=2)
    assert (ids.dtype, offsets.dtype) == (np.uint16, np.int64)
    assert offsets.tolist() == [0, *np.cumsum([len(one) for one in expected]).tolist()]
    assert np.array_equal(ids, np.concatenate(expected))


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_the_number_of_threads_changes_nothing(small, threads):
    texts = [f"{number} dogs jump " * (number * 40 % 599) for number in range(300)]
    assert sum(map(len, texts)) > 4 * CHUNK_CHARACTERS
    ids, offsets = small.encode_batch(iter(texts), threads=threads)
    assert np.array_equal(ids, np.concatenate([small.encode(text) for text in texts]))
    assert all(small.decode(ids[offsets[i] : offsets[i + 1]]) == text for i, text in enumerate(texts))


@settings(max_examples=150, deadline=None)
@given(text=UNICODE)
def test_any_text_gets_the_librarys_ids(neox, gpt2, trained, text):
    for pair in (neox, gpt2, trained):
        assert pair.ours.encode(text).tolist() == pair.expected(text)
        assert pair.ours.encode(text, allow_special=True).tolist() == pair.expected(text, allow_special=True)


@settings(max_examples=150, deadline=None)
@given(text=UNICODE)
def test_decoding_gives_the_text_back(small, text):
    assert small.decode(small.encode(text)) == text
    assert small.decode(small.encode(text, allow_special=True)) == text


@settings(max_examples=150, deadline=None)
@given(text=UNICODE)
def test_decoding_gives_the_normalized_text_back_where_the_tokenizer_normalizes(neox, gpt2, text):
    assert gpt2.ours.decode(gpt2.ours.encode(text)) == text
    assert neox.ours.decode(neox.ours.encode(text)) == normalizers.NFC().normalize_str(text)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_ids_decode_as_in_the_library(neox, gpt2, data):
    for ours, library in (neox, gpt2):
        ids = data.draw(st.lists(st.integers(0, ours.vocab_size - 1), max_size=20))
        assert ours.decode(ids) == library.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize(("before", "after"), [("", ""), ("", "x"), ("x", ""), ("x", "x"), ("x\n", "\nx"), ("", "中")])
def test_runs_of_1_to_100_spaces_are_cut_longest_first(neox, trained, before, after):
    longest = trained.ours.token_id(" " * 24)
    for length in range(1, 101):
        text = before + " " * length + after
        for pair in (neox, trained):
            ids = pair.ours.encode(text).tolist()
            assert ids == pair.expected(text)
            assert pair.ours.decode(ids) == text
        assert ids.count(longest) == length // 24
        if length % 24 >= 2:
            assert ids.count(trained.ours.token_id(" " * (length % 24))) == 1


def test_special_tokens_inside_a_document_are_text(small):
    text = "a document that quotes <|endoftext|> and <|padding|>"
    ids = small.encode(text)
    assert not {0, 1} & set(ids.tolist())
    assert small.decode(ids) == text
    assert [token for token in small.encode(text, allow_special=True).tolist() if token < 2] == [0, 1]
    assert small.encode_batch([text], allow_special=True)[0].tolist() == small.encode(text, allow_special=True).tolist()


def test_nothing_in_gives_nothing_out_in_the_right_types(small):
    ids, offsets = small.encode_batch([])
    assert (ids.dtype, ids.size, offsets.tolist()) == (np.uint16, 0, [0])
    ids, offsets = small.encode_batch(["", "the", ""])
    assert offsets.tolist() == [0, 0, 1, 1]
    assert small.encode("").dtype == np.uint16
    assert small.decode(small.encode("")) == ""
    assert small.decode([]) == ""


@pytest.mark.parametrize(("size", "dtype"), [(65_499, np.uint16), (65_500, np.int32)])
def test_ids_are_int32_from_65500_ids_on(size, dtype):
    vocab = {character: size - 1 - byte for byte, character in enumerate(byte_characters())}
    vocab |= {f"unused{number}": number for number in range(size - 256)}
    encoder = Encoder(Definition(added_tokens=(), vocab=vocab, merges=(), pre_tokenizer=BYTE_LEVEL, decoder=BYTE_LEVEL))
    assert encoder.vocab_size == size
    ids, _ = encoder.encode_batch(["\x00\x01"])
    assert (encoder.dtype, ids.dtype, encoder.encode("").dtype) == (dtype, dtype, dtype)
    assert ids.tolist() == [size - 1, size - 2]
    assert encoder.decode(ids) == "\x00\x01"


def test_the_vocabulary_size_counts_added_tokens(neox, gpt2, trained):
    assert (neox.ours.vocab_size, gpt2.ours.vocab_size, trained.ours.vocab_size) == (50_277, 50_257, 3000)
    assert (neox.ours.end_of_text, gpt2.ours.end_of_text, trained.ours.end_of_text) == (0, 50_256, 0)


def test_a_token_can_be_read_as_text_and_as_bytes(neox):
    the = neox.ours.token_id("Ġthe")
    assert neox.ours.encode(" the").tolist() == [the]
    assert (neox.ours.token_bytes(the), neox.ours.token(the)) == (b" the", " the")
    assert neox.ours.token(neox.ours.token_id("â")) == "\\xe2"
    assert neox.ours.token(0) == "<|endoftext|>"
    with pytest.raises(UsageError, match="no token 'no such token'"):
        neox.ours.token_id("no such token")


def test_an_added_token_with_an_accent_comes_back_as_it_was(small):
    added = msgspec.structs.replace(small.definition.added_tokens[-1], id=small.vocab_size, content="éé")
    definition = msgspec.structs.replace(small.definition, added_tokens=(*small.definition.added_tokens, added))
    encoder = Encoder.from_json(render(definition))
    assert added.id in encoder.encode("caféé").tolist()
    assert encoder.decode(encoder.encode("caféé")) == "caféé"


def test_ids_that_the_tokenizer_does_not_have_are_refused(small, neox):
    for ids in ([small.vocab_size], [0, -1], np.array([65_535], np.uint16)):
        with pytest.raises(UsageError, match=f"no token has the id {ids[-1]}, .* between 0 and {small.vocab_size - 1}"):
            small.decode(ids)
    with pytest.raises(UsageError, match="no token has the id 50277"):
        neox.ours.token_bytes(50_277)
    for wrong in ([1.0], [[1, 2]], 3, ["a"]):
        with pytest.raises(UsageError, match="list of integers"):
            small.decode(wrong)


def test_a_lone_surrogate_is_damage_and_named(small):
    with pytest.raises(CorruptData, match=r"text 0 has the lone surrogate U\+D83D at character 2"):
        small.encode("ab\ud83d")
    texts = ["fine " * CHUNK_CHARACTERS, "fine", "\udfff"]
    for threads in (1, 2):
        with pytest.raises(CorruptData, match=r"text 2 has the lone surrogate U\+DFFF at character 0"):
            small.encode_batch(texts, threads=threads)


def test_what_is_no_text_is_refused(small):
    with pytest.raises(UsageError, match="text 1 is of type bytes"):
        small.encode_batch(["a", b"b"])
    with pytest.raises(UsageError, match="text 0 is of type tuple"):
        small.encode_batch([("a", "b")])
    with pytest.raises(UsageError, match="this is one text"):
        small.encode_batch("abc")
    with pytest.raises(UsageError, match="threads is 0"):
        small.encode_batch(["a"], threads=0)


def test_a_worker_process_gets_the_same_tokenizer(small):
    copy = pickle.loads(pickle.dumps(small))
    assert (copy.hash, copy.definition) == (small.hash, small.definition)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(small.encode, "the  quick").result().tolist() == small.encode("the  quick").tolist()


def test_saving_and_loading_changes_nothing(small, neox, gpt2, tmp_path):
    for encoder in (small, neox.ours, gpt2.ours):
        path = tmp_path / "new folder" / "tokenizer.json"
        encoder.save(path)
        again = Encoder.load(path)
        assert again.definition == encoder.definition
        assert encoder.hash == again.hash == xxhash.xxh3_128_hexdigest(path.read_bytes())


def test_the_library_reads_what_we_saved_of_a_foreign_file(neox, texts, tmp_path):
    neox.ours.save(tmp_path / "tokenizer.json")
    library = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert library.get_vocab() == neox.library.get_vocab()
    library.encode_special_tokens = True
    for text in texts[::40]:
        assert library.encode(text).ids == neox.expected(text)


def test_transformers_reads_our_file_and_gives_our_ids(trained, texts, tmp_path):
    transformers = pytest.importorskip("transformers")
    trained.ours.save(tmp_path / "tokenizer.json")
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), eos_token="<|endoftext|>", split_special_tokens=True
    )
    assert (len(theirs), theirs.eos_token_id) == (trained.ours.vocab_size, trained.ours.end_of_text)
    for text in [*texts[::20], "a<|endoftext|>b", " " * 60 + "x", unicodedata.normalize("NFD", "café"), ""]:
        ids = trained.ours.encode(text).tolist()
        assert theirs(text)["input_ids"] == ids
        assert theirs.decode(ids, clean_up_tokenization_spaces=False) == text
    # What they write back, with whatever they add to it, is a tokenizer of ours again.
    theirs.save_pretrained(tmp_path / "saved")
    again = Encoder.load(tmp_path / "saved" / "tokenizer.json")
    assert np.array_equal(again.encode_batch(texts[:50])[0], trained.ours.encode_batch(texts[:50])[0])


def test_the_switch_for_special_tokens_is_per_call(small):
    text = "x<|endoftext|>"
    as_text = small.encode(text).tolist()
    assert small.encode(text, allow_special=True).tolist()[-1] == small.end_of_text
    assert small.encode(text).tolist() == as_text


def test_ids_of_32_bits_are_those_of_16_bits_further_up(trained, texts):
    up = 70_000
    definition = msgspec.structs.replace(
        trained.ours.definition,
        vocab={token: token_id + up for token, token_id in trained.ours.definition.vocab.items()},
        added_tokens=(),
    )
    plain = msgspec.structs.replace(trained.ours.definition, added_tokens=())
    ids, offsets = Encoder(definition).encode_batch(texts[::4])
    expected, starts = Encoder(plain).encode_batch(texts[::4])
    assert (ids.dtype, expected.dtype) == (np.int32, np.uint16)
    assert np.array_equal(ids - up, expected)
    assert np.array_equal(offsets, starts)
