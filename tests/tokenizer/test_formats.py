"""Formats of other tools: their own reader is the oracle, tiktoken's merging a twin in plain Python."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from pile_toolkit.core.errors import CorruptData, UsageError
from tests.tokenizer.test_tiktoken import WORDS, ranks_in
from tokenizer.definition import BYTE_LEVEL, parse, render
from tokenizer.encoder import Encoder
from tokenizer.exchange import export_tokenizer, import_tokenizer
from tokenizer.formats.recognize import FORMATS, recognize
from tokenizer.layout import END_OF_TEXT, SPECIAL_TOKENS
from tokenizer.train import train_tokenizer

SPECIAL = {END_OF_TEXT: 0, "<|padding|>": 1}


@pytest.fixture(scope="module")
def plain() -> Encoder:
    """A tokenizer trained here that every format can hold: without tokens for runs of spaces."""
    return train_tokenizer([WORDS * 3], vocab_size=400, max_space_run=1, allow_smaller=True)


def library_of(vocab: Path, merges: Path) -> Tokenizer:
    """The two files as the library reads them."""
    tokenizer = Tokenizer(models.BPE.from_file(str(vocab), str(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def test_gpt2s_two_files_are_gpt2(reference, gpt2, texts):
    ours = import_tokenizer(reference / "gpt2_vocab.json")
    assert ours.definition.vocab == gpt2.ours.definition.vocab
    assert ours.definition.merges == gpt2.ours.definition.merges
    assert (ours.vocab_size, ours.end_of_text) == (50_257, 50_256)
    library = library_of(reference / "gpt2_vocab.json", reference / "gpt2_merges.txt")
    for text in [*texts[::40], "a<|endoftext|>b"]:
        assert ours.encode(text).tolist() == library.encode(text).ids
    # Either file names both.
    assert import_tokenizer(reference / "gpt2_merges.txt").hash == ours.hash


def test_the_two_files_are_those_that_the_library_writes(plain, gpt2, tmp_path):
    for number, encoder in enumerate((plain, gpt2.ours)):
        folder, theirs = tmp_path / f"ours{number}", tmp_path / f"theirs{number}"
        theirs.mkdir()
        export_tokenizer(encoder, folder, to="vocab-merges")
        Tokenizer.from_str(render(encoder.definition).decode()).model.save(str(theirs))
        assert (folder / "merges.txt").read_bytes() == (theirs / "merges.txt").read_bytes()
        assert json.loads((folder / "vocab.json").read_bytes()) == json.loads((theirs / "vocab.json").read_bytes())


@pytest.mark.parametrize("to", FORMATS)
def test_what_was_exported_comes_back_as_it_was(plain, to, tmp_path):
    exported = export_tokenizer(plain, tmp_path / "out", to=to)
    special = SPECIAL if to == "tiktoken" else None
    assert import_tokenizer(tmp_path / "out", special_tokens=special).definition == plain.definition
    assert import_tokenizer(exported.files[0], special_tokens=special).hash == plain.hash == exported.hash
    # What comes back is exported to the same bytes.
    again = export_tokenizer(import_tokenizer(tmp_path / "out", special_tokens=special), tmp_path / "again", to=to)
    assert [Path(file).read_bytes() for file in again.files] == [Path(file).read_bytes() for file in exported.files]


@pytest.mark.parametrize("to", ["tokenizer.json", "hf"])
def test_formats_that_hold_everything_hold_published_tokenizers(pair, to, texts, tmp_path):
    export_tokenizer(pair.ours, tmp_path / "out", to=to)
    back = import_tokenizer(tmp_path / "out")
    assert back.definition == pair.ours.definition
    library = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json" if to == "hf" else tmp_path / "out"))
    library.encode_special_tokens = True
    for text in texts[::60]:
        assert back.encode(text).tolist() == library.encode(text).ids == pair.expected(text)


@pytest.mark.parametrize("to", ["vocab-merges", "tiktoken"])
def test_gpt2_comes_back_with_its_ids(gpt2, to, texts, tmp_path):
    exported = export_tokenizer(gpt2.ours, tmp_path / "out", to=to)
    # `<|endoftext|>` has the first id that no rank has, which is GPT-2's.
    back = import_tokenizer(tmp_path / "out")
    assert back.definition.vocab == gpt2.ours.definition.vocab
    assert back.definition.merges == gpt2.ours.definition.merges
    assert exported.special_tokens == {END_OF_TEXT: 50_256}
    assert f"{END_OF_TEXT} = 50256" in exported.untold[1]
    for text in texts[::60]:
        assert back.encode(text, allow_special=True).tolist() == gpt2.expected(text, allow_special=True)


CL100K = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def test_a_vocabulary_of_another_regular_expression_is_refused_because_ids_would_differ(tmp_path):
    tokenizer = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(CL100K), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    text = "f(x);\ng(y);\n\n"
    tokenizer.train_from_iterator(
        [text] * 9, trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.model.save(str(tmp_path))
    assert tokenizer.encode(text).ids != library_of(tmp_path / "vocab.json", tmp_path / "merges.txt").encode(text).ids
    with pytest.raises(UsageError, match="another regular expression than GPT-2's"):
        import_tokenizer(tmp_path)


def merged(folder: Path, vocab: object, merges: str | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_bytes(vocab if isinstance(vocab, bytes) else json.dumps(vocab).encode())
    (folder / "merges.txt").write_bytes(merges if isinstance(merges, bytes) else merges.encode())
    return folder


LETTERS = {"a": 0, "b": 1, "c": 2, "ab": 3}


@pytest.mark.parametrize(
    ("vocab", "merges", "kind", "said"),
    [
        (LETTERS, "#version: 0.2\na b\na c\n", CorruptData, "a merge of 'a' and 'c' that its vocabulary does not hold"),
        (LETTERS, "a b\na b\n", CorruptData, "line 2 of .* is the merge of line 1 again"),
        (LETTERS, "#version: 0.2\na b c\n", CorruptData, "line 2 of .* is 'a b c', not two tokens"),
        (LETTERS, "a b\n\nb c\n", CorruptData, "line 2 of .* is '', not two tokens"),
        (LETTERS, b"a b\n\xff\n", CorruptData, "is not UTF-8"),
        (LETTERS, "", CorruptData, "merges.txt is empty"),
        (LETTERS, "#version: 0.2\n", UsageError, "no merge makes 'ab'"),
        (LETTERS | {"<s>": 4}, "a b\n", UsageError, "no merge makes '<s>'"),
        (LETTERS | {f"<{n}>": 4 + n for n in range(9)}, "a b\n", CorruptData, "no merge makes 9 entries"),
        (LETTERS | {"d": 3}, "a b\n", CorruptData, "two tokens with the id 3"),
        (LETTERS | {"d": 7}, "a b\n", UsageError, "none with the id 4, 5, 6"),
        (LETTERS | {"▁the": 4}, "a b\n", UsageError, "'▁the' is no token of bytes"),
        ({"a": 0, "b</w>": 1, "ab</w>": 2}, "a b</w>\n", UsageError, "end in '</w>'"),
        ({"a": 0, "b": "1"}, "a b\n", CorruptData, "not a vocabulary of tokens and ids"),
        ({"a": 0, "b": -1}, "a b\n", CorruptData, "not a vocabulary of tokens and ids"),
        (b'{"a": 0, "b"', "a b\n", CorruptData, "vocab.json is not a vocabulary"),
        (b"", "a b\n", CorruptData, "vocab.json is empty"),
        ({}, "a b\n", CorruptData, "no tokens"),
    ],
)
def test_a_vocabulary_and_merges_that_do_not_fit_are_one_sentence(tmp_path, vocab, merges, kind, said):
    with pytest.raises(kind, match=said) as error:
        import_tokenizer(merged(tmp_path / "x", vocab, merges))
    assert "\n" not in error.value.message
    assert error.value.hint


def test_entries_that_no_merge_makes_are_special_tokens_where_named(tmp_path):
    folder = merged(tmp_path / "x", LETTERS | {"<s>": 4}, "a b\n")
    encoder = import_tokenizer(folder, special_tokens={"<s>": None, "</s>": 5})
    assert encoder.encode("ab<s></s>", allow_special=True).tolist() == [3, 4, 5]
    assert encoder.decode([3, 4, 5]) == "ab<s></s>"


def test_what_a_format_cannot_hold_is_refused_with_its_name(neox, trained, small, plain, tmp_path):
    def changed(**fields):
        return Encoder(msgspec.structs.replace(plain.definition, **fields))

    eot, padding = plain.definition.added_tokens
    unordered = [*plain.definition.merges[1:], plain.definition.merges[0]]
    cases = (
        (neox.ours, "normalizer NFC"),
        (trained.ours, "23 tokens for runs of spaces"),
        (changed(pre_tokenizer=BYTE_LEVEL | {"add_prefix_space": True}), "add_prefix_space"),
        (changed(added_tokens=(eot, msgspec.structs.replace(padding, special=False))), "added token '<|padding|>'"),
        (changed(added_tokens=(msgspec.structs.replace(eot, lstrip=True), padding)), "swallows white space"),
    )
    for to in ("vocab-merges", "tiktoken"):
        for encoder, said in cases:
            with pytest.raises(UsageError, match=re.escape(said)) as error:
                export_tokenizer(encoder, tmp_path / "out", to=to)
            assert error.value.hint == "--to tokenizer.json or --to hf, which hold everything"
    with pytest.raises(UsageError, match=r"another order than ids|not made of two tokens"):
        export_tokenizer(changed(merges=tuple(unordered)), tmp_path / "out", to="tiktoken")
    assert not (tmp_path / "out").exists()
    # Fewer merges than tokens: the rest never comes out, and must not come out of another tool.
    some = changed(merges=plain.definition.merges[:20])
    export_tokenizer(some, tmp_path / "some", to="tiktoken")
    assert len(ranks_in(tmp_path / "some")) == 256 + 20


def test_transformers_reads_the_folder_with_special_tokens_and_our_ids(trained, texts, tmp_path):
    import transformers

    export_tokenizer(trained.ours, tmp_path / "out", to="hf")
    for kind in (transformers.AutoTokenizer, transformers.PreTrainedTokenizerFast):
        theirs = kind.from_pretrained(tmp_path / "out")
        assert (theirs.bos_token_id, theirs.eos_token_id, theirs.unk_token_id, theirs.pad_token_id) == (0, 0, 0, 1)
        assert len(theirs) == trained.ours.vocab_size
        for text in [*texts[::100], "a<|endoftext|>b", "x" + " " * 30 + "y\n        z", " .  , ' s", ""]:
            ids = trained.ours.encode(text, allow_special=True).tolist()
            assert theirs(text)["input_ids"] == ids
            assert theirs.decode(ids) == text
    batch = theirs(["a b c", "a"], padding=True)
    assert batch["input_ids"][1][1:] == [1] * (len(batch["input_ids"][0]) - 1)
    # What they save, with whatever else they write, comes back.
    transformers.AutoTokenizer.from_pretrained(tmp_path / "out").save_pretrained(tmp_path / "saved")
    assert import_tokenizer(tmp_path / "saved").encode(texts[0]).tolist() == trained.ours.encode(texts[0]).tolist()
    # A token that their settings add and tokenizer.json lacks would be missing here.
    config = tmp_path / "saved" / "tokenizer_config.json"
    settings = json.loads(config.read_bytes())
    config.write_text(json.dumps(settings | {"added_tokens_decoder": {"5000": {"content": "<new>"}}}))
    with pytest.raises(UsageError, match="adds '<new>'"):
        import_tokenizer(tmp_path / "saved")


def test_a_source_is_recognized_by_content_or_refused_by_what_is_there(plain, reference, tmp_path):
    ranks, folder = tmp_path / "any.name", tmp_path / "folder"
    export_tokenizer(plain, ranks, to="tiktoken")
    assert recognize(ranks).format == "tiktoken"
    assert recognize(reference / "20B_tokenizer.json").format == "tokenizer.json"
    assert recognize(reference / "gpt2_vocab.json").format == "vocab-merges"
    folder.mkdir()
    for name, said in (("vocab.txt", "WordPiece"), ("spiece.model", "SentencePiece"), ("tokenizer.model", "ranks")):
        (folder / name).write_bytes(b"[PAD]\n")
        with pytest.raises(UsageError, match=said):
            recognize(folder)
    with pytest.raises(UsageError, match="has no hf"):
        recognize(merged(tmp_path / "pair", LETTERS, "a b\n"), format="hf")
    with pytest.raises(UsageError, match="there is no file or folder"):
        recognize(tmp_path / "nowhere")
    (tmp_path / "pair" / "merges.txt").rename(tmp_path / "pair" / "other.txt")
    with pytest.raises(UsageError, match=r"there is no .*merges\.txt") as error:
        recognize(tmp_path / "pair" / "vocab.json")
    assert error.value.hint is not None
    assert "--merges" in error.value.hint
    found = recognize(tmp_path / "pair" / "vocab.json", merges=tmp_path / "pair" / "other.txt")
    assert import_tokenizer(found.files[0], merges=found.files[1]).vocab_size == 4
    # What was forced and is something else is said as well.
    with pytest.raises(UsageError, match=r"a vocab\.json, half of a tokenizer"):
        import_tokenizer(reference / "gpt2_vocab.json", format="tiktoken")


def test_a_file_beyond_all_measure_is_refused_at_once(tmp_path):
    beginnings = {"vocab.json": b'{"a": 0, ', "merges.txt": b"a b\nb c\n", "x.tiktoken": b"YQ== 0\n"}
    for name, beginning in beginnings.items():
        with (tmp_path / name).open("wb") as file:
            file.write(beginning)
            file.truncate(1 << 30)
    for name in beginnings:
        with pytest.raises(CorruptData, match="1,073,741,824 bytes"):
            import_tokenizer(tmp_path / name)


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_files_are_read_or_refused_and_nothing_else(plain, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    to = data.draw(st.sampled_from(["vocab-merges", "tiktoken"]))
    files = [Path(file) for file in export_tokenizer(plain, folder / "out", to=to).files]
    victim = data.draw(st.sampled_from(files))
    damaged = bytearray(victim.read_bytes())
    start = data.draw(st.integers(0, len(damaged) - 1))
    damaged[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    victim.write_bytes(damaged)
    # Any other exception fails the test.
    with contextlib.suppress(UsageError, CorruptData):
        encoder = import_tokenizer(folder / "out", special_tokens=SPECIAL if to == "tiktoken" else None)
        assert parse(render(encoder.definition), name="again") == encoder.definition


def test_the_names_on_the_command_line_are_those_of_the_library():
    from pile_toolkit.cli.tokenizer.exchange import FORMATS as OFFERED

    assert OFFERED == FORMATS
    assert set(SPECIAL) == set(SPECIAL_TOKENS)
