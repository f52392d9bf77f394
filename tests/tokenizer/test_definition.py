"""A tokenizer.json is read exactly or refused in one sentence that names the field; no file from outside does worse."""

from __future__ import annotations

import contextlib
import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from pile_toolkit.core.errors import CorruptData, UsageError
from tokenizer.definition import parse, render
from tokenizer.encoder import LARGEST_FILE_BYTES, Encoder


def changed(encoder: Encoder, *keys: str | int, to: Any) -> bytes:
    """The tokenizer's file with one value replaced."""
    content = json.loads(render(encoder.definition))
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    return json.dumps(content).encode()


def test_the_definition_is_what_the_library_reads(pair):
    definition = pair.ours.definition
    model = json.loads(pair.library.to_str())["model"]
    assert definition.vocab == model["vocab"] == pair.library.get_vocab(with_added_tokens=False)
    assert [list(merge) for merge in definition.merges] == model["merges"]
    added = {token.id: token.content for token in definition.added_tokens}
    assert added == {number: str(token) for number, token in pair.library.get_added_tokens_decoder().items()}


def test_rendering_and_parsing_are_inverse(pair):
    data = render(pair.ours.definition)
    assert parse(data, name="file") == pair.ours.definition
    assert render(parse(data, name="file")) == data


def test_how_a_file_is_written_does_not_change_its_canonical_bytes(small):
    # The library writes merges as pairs, keys in another order and fields that the oldest readers do not know.
    theirs = Tokenizer.from_str(render(small.definition).decode())
    for variant in (theirs.to_str(), theirs.to_str(pretty=True)):
        assert variant.encode() != render(small.definition)
        content = json.loads(variant)
        for part in ("pre_tokenizer", "post_processor", "decoder"):
            assert content[part].pop("use_regex") is True
        assert Encoder.from_json(json.dumps(content).encode()).hash == small.hash
        assert Encoder.from_json(variant.encode()).encode("the  quick").tolist() == small.encode("the  quick").tolist()


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["model", "type"], "WordPiece", "is a WordPiece tokenizer"),
        (["model", "type"], "Unigram", "is a Unigram tokenizer"),
        (["model"], {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}, "is a WordLevel tokenizer"),
        (["model", "dropout"], 0.1, "model.dropout is 0.1"),
        (["model", "byte_fallback"], True, "model.byte_fallback is True"),
        (["model", "ignore_merges"], True, "model.ignore_merges is True"),
        (["model", "continuing_subword_prefix"], "##", "model.continuing_subword_prefix is '##'"),
        (["model", "end_of_word_suffix"], "</w>", "model.end_of_word_suffix is '</w>'"),
        (["normalizer"], {"type": "NFKC"}, "normalizer is 'NFKC', expected null or 'NFC'"),
        (["normalizer"], {"type": "Prepend", "prepend": "▁"}, "normalizer is 'Prepend'"),
        (["pre_tokenizer"], None, "pre_tokenizer is None, expected 'ByteLevel'"),
        (["pre_tokenizer"], {"type": "Metaspace"}, "pre_tokenizer is 'Metaspace'"),
        (["pre_tokenizer"], {"type": "Sequence", "pretokenizers": []}, "pre_tokenizer is 'Sequence'"),
        (["pre_tokenizer", "use_regex"], False, "pre_tokenizer.use_regex is False"),
        (["decoder"], {"type": "WordPiece"}, "decoder is 'WordPiece'"),
        (["truncation"], {"max_length": 512}, "truncation is {'max_length': 512}, expected null"),
        (["padding"], {"strategy": "BatchLongest"}, "padding is"),
    ],
)
def test_another_kind_of_tokenizer_is_refused_with_the_field(small, keys, value, message):
    with pytest.raises(UsageError) as error:
        Encoder.from_json(changed(small, *keys, to=value))
    assert message in error.value.message
    assert error.value.hint


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["model", "merges", 0], "a", "the merge 'a' is not two tokens"),
        (["model", "merges", 0], ["a ", "b"], "is not two tokens"),
        (["model", "merges", 0], ["a", "b", "c"], "model.merges"),
        (["model", "merges", 0], ["nowhere", "!"], "a merge of 'nowhere' and '!'"),
        (["model", "merges", 0], ["!", "nowhere"], "a merge of '!' and 'nowhere'"),
        (["model", "merges", 0], ["!", "!"], "a merge of '!' and '!'"),
        (["model", "vocab", "!"], 3, "two tokens with the id 3"),
        (["model", "vocab", "!"], -1, "model.vocab"),
        (["model", "vocab", "!"], 2**32, "model.vocab"),
        (["model", "vocab", ""], 999, "a token that is empty"),
        (["model", "vocab"], [["a", 0.5]], "model.vocab"),
        (["added_tokens", 0, "id"], 999, "two ids for '<|endoftext|>': 0 in the vocabulary and 999 in added_tokens"),
        (["added_tokens", 0, "content"], "<|padding|>", "added twice"),
        (["added_tokens", 0], {"id": 0, "content": "<|endoftext|>"}, "added_tokens"),
    ],
)
def test_a_file_that_contradicts_itself_is_corrupt(small, keys, value, message):
    with pytest.raises(CorruptData) as error:
        Encoder.from_json(changed(small, *keys, to=value))
    assert message in error.value.message


def test_an_added_token_whose_id_the_library_would_change_is_refused(small):
    last = len(small.definition.added_tokens) - 1
    with pytest.raises(UsageError, match=rf"gives '  ' the id 5000, the tokenizers library {small.vocab_size - 1}"):
        Encoder.from_json(changed(small, "added_tokens", last, "id", to=5000))


def test_a_byte_alphabet_with_holes_gives_the_librarys_ids_or_is_refused(small):
    content = json.loads(render(small.definition))
    definition = small.definition
    holes = {"q", "é"}
    content["model"]["merges"] = [merge for merge in definition.merges if not holes & set("".join(merge))]
    reachable = [token for token in definition.vocab if len(token) == 1 or token.startswith("<|")]
    reachable += ["".join(merge) for merge in content["model"]["merges"]]
    content["model"]["vocab"] = {token: number for number, token in enumerate(t for t in reachable if t not in holes)}
    content["added_tokens"] = []
    data = json.dumps(content).encode()
    library = Tokenizer.from_str(data.decode())
    assert Encoder.from_json(data).encode("the quick 中 é").tolist() == library.encode("the quick 中 é").ids
    # Every unknown byte would become this one token, which no text comes back from.
    content["model"]["unk_token"] = "<|endoftext|>"
    with pytest.raises(UsageError, match=r"model\.unk_token"):
        Encoder.from_json(json.dumps(content).encode())


def test_a_prefix_space_is_put_where_the_library_puts_it(small):
    data = changed(small, "pre_tokenizer", "add_prefix_space", to=True)
    library = Tokenizer.from_str(data.decode())
    encoder = Encoder.from_json(data)
    for text in ("the quick", " the", "the    quick", ""):
        assert encoder.encode(text).tolist() == library.encode(text).ids


def test_a_post_processor_adds_nothing_to_a_document(small):
    template = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    encoder = Encoder.from_json(changed(small, "post_processor", to=template))
    assert encoder.encode("the quick").tolist() == small.encode("the quick").tolist()


def test_files_of_other_kinds_are_refused_in_one_sentence(tmp_path, reference):
    wordpiece = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    wordpiece.pre_tokenizer = pre_tokenizers.Whitespace()
    unigram = Tokenizer(models.Unigram([("a", -1.0), ("b", -2.0)], unk_id=0))
    word_level = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    cases = {
        "wordpiece.json": (wordpiece.to_str().encode(), UsageError, "is a WordPiece tokenizer"),
        "unigram.json": (unigram.to_str().encode(), UsageError, "is a Unigram tokenizer"),
        "wordlevel.json": (word_level.to_str().encode(), UsageError, "is a WordLevel tokenizer"),
        "config.json": (b'{"model_type": "gpt_neox"}', UsageError, "has no field 'model'"),
        "vocab.json": ((reference / "gpt2_vocab.json").read_bytes(), UsageError, "half of a tokenizer"),
        "merges.txt": ((reference / "gpt2_merges.txt").read_bytes(), UsageError, "half of a tokenizer"),
        "x.tiktoken": (b"IQ== 0\nIg== 1\n", UsageError, "tiktoken ranks"),
        "sentencepiece.model": (b"\n\x0e\n\x05<unk>\x15" + bytes(4) + b"\x18\x02", UsageError, "SentencePiece model"),
        "tokenizer.pkl": (pickle.dumps({"vocab": {}}), UsageError, "nothing is unpickled"),
        "pytorch.bin": (b"PK\x03\x04 and more", UsageError, "a zip archive"),
        "tokenizer.json.gz": (b"\x1f\x8b\x08", UsageError, "compressed with gzip"),
        "pointer.json": (b"version https://git-lfs.github.com/spec/v1\n", UsageError, "a pointer of git-lfs"),
        "page.json": (b"<!doctype html><title>404", UsageError, "a web page"),
        "cut.json": ((reference / "gpt2_tokenizer.json").read_bytes()[:-1000], CorruptData, "truncated"),
        "latin1.json": ('{"model": {"type": "é"}}'.encode("latin-1"), CorruptData, "not a tokenizer.json"),
        "deep.json": (b'{"normalizer":' + b'{"a":' * 100_000, CorruptData, "nested"),
        "array.json": (b"[]", CorruptData, "not a tokenizer.json"),
        "blank.json": (b" \n", CorruptData, "nothing but blanks"),
        "empty.json": (b"", CorruptData, "is empty"),
    }
    for name, (data, kind, said) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(kind) as error:
            Encoder.load(tmp_path / name)
        assert str(tmp_path / name) in error.value.message
        assert said in error.value.message
        assert "\n" not in error.value.message
        assert error.value.hint


def bpe(pre_tokenizer, **settings: Any) -> Tokenizer:
    """A small tokenizer of the library with another way to split text."""
    tokenizer = Tokenizer(models.BPE(**settings))
    tokenizer.pre_tokenizer = pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the quick brown fox, the 1984 dogs"] * 5, trainer)
    return tokenizer


@pytest.mark.parametrize(
    ("splitting", "said"),
    [
        (pre_tokenizers.Metaspace(), "pre_tokenizer is 'Metaspace'"),
        (pre_tokenizers.ByteLevel(use_regex=False), "pre_tokenizer.use_regex is False"),
        (pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"), "pre_tokenizer is 'Split'"),
        (
            pre_tokenizers.Sequence(
                [pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"), pre_tokenizers.ByteLevel(use_regex=False)]
            ),
            "pre_tokenizer is 'Sequence of Split, ByteLevel'",
        ),
    ],
)
def test_bpe_that_splits_text_otherwise_is_refused_with_the_field(splitting, said):
    with pytest.raises(UsageError) as error:
        Encoder.from_json(bpe(splitting).to_str().encode())
    assert said in error.value.message


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["model", "type"], "\x1b[31m" + "x" * 10_000),
        (["truncation"], {"\x1b[31m": "x" * 10_000}),
        (["model", "merges", 0], "\x1b[31m" * 10_000),
        (["pre_tokenizer"], {"type": "\x1b", "pretokenizers": 5}),
        (["normalizer"], {"type": "Sequence", "normalizers": [5, {"type": "\x1b"}]}),
    ],
)
def test_what_a_hostile_file_says_is_quoted_and_cut_in_the_error(small, keys, value):
    with pytest.raises((UsageError, CorruptData)) as error:
        Encoder.from_json(changed(small, *keys, to=value))
    assert "\x1b" not in error.value.message
    assert len(error.value.message) < 300


def test_no_file_a_folder_and_a_file_beyond_all_measure_are_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no tokenizer file") as error:
        Encoder.load(tmp_path / "missing.json")
    assert error.value.hint == "pile tokenizer train --root ROOT, or the path of a tokenizer.json"
    with pytest.raises(UsageError, match="is a folder") as error:
        Encoder.load(tmp_path)
    assert error.value.hint == str(tmp_path / "tokenizer.json")
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(LARGEST_FILE_BYTES + 1)
    with pytest.raises(UsageError, match="more than 67,108,864 bytes"):
        Encoder.load(huge)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(small, data):
    damaged = bytearray(render(small.definition))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(damaged) - 1))
        damaged[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    # Any other exception, or the library giving up inside, fails the test.
    with contextlib.suppress(UsageError, CorruptData):
        encoder = Encoder.from_json(bytes(damaged))
        assert encoder.encode("the quick").max() < encoder.vocab_size
