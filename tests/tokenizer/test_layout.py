"""The layout is the one that the project promises, and its byte characters are GPT-2's."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from pile_toolkit.core.errors import UsageError
from tokenizer.layout import (
    NEVER_IN_UTF8,
    byte_characters,
    id_dtype,
    merges_wanted,
    smallest_vocab_size,
    space_run_tokens,
)


def test_byte_characters_are_those_that_the_library_replaces_bytes_by():
    characters = byte_characters()
    assert set(characters) == set(ByteLevel.alphabet())
    byte_level = ByteLevel(add_prefix_space=False, use_regex=False)
    for text in [chr(code) for code in [*range(0x80), 0x80, 0xE9, 0x7FF, 0x800, 0x20AC, 0xFFFF, 0x10000, 0x10FFFF]]:
        ((replaced, _),) = byte_level.pre_tokenize_str(text)
        assert replaced == "".join(characters[byte] for byte in text.encode())


def test_bytes_said_to_be_in_no_text_are_in_none():
    in_text = {byte for code in range(0x110000) if not 0xD800 <= code < 0xE000 for byte in chr(code).encode()}
    assert set(range(256)) - in_text == NEVER_IN_UTF8


def test_runs_go_from_the_longest_down_to_two_spaces():
    assert [len(token) for token in space_run_tokens(24)] == list(range(24, 1, -1))
    assert space_run_tokens(1) == ()
    assert smallest_vocab_size(24) == 281
    assert smallest_vocab_size(1) == 258
    for wrong in (-1, 0, 1001, 10**9):
        with pytest.raises(UsageError, match=f"max_space_run is {wrong}, it must lie between 1 and 1000"):
            space_run_tokens(wrong)


def test_runs_of_spaces_are_among_the_ids_asked_for_or_on_top_of_them():
    assert merges_wanted(50_257, 24) == 49_976
    assert merges_wanted(50_257, 1) == 49_999
    # The released file has 50,254 ids in its vocabulary; 11 bytes that no text contains are not among them.
    assert smallest_vocab_size(24, "neox-20b") == 258
    assert merges_wanted(50_254, 24, "neox-20b") == 49_996
    with pytest.raises(UsageError, match="2 special tokens, 256 bytes and 23 runs of spaces need 281"):
        merges_wanted(280, 24)
    with pytest.raises(UsageError, match="2 special tokens and 256 bytes need 258"):
        merges_wanted(257, 24, "neox-20b")
    with pytest.raises(UsageError, match="there is no layout 'gpt-2'"):
        merges_wanted(300, 24, "gpt-2")


def test_ids_are_16_bits_wide_below_65500_ids():
    assert [id_dtype(size) for size in (1, 65_499, 65_500, 10**6)] == ["uint16", "uint16", "int32", "int32"]


def test_importing_the_package_imports_no_library():
    code = "import sys; before = set(sys.modules); import tokenizer; print(*(set(sys.modules) - before))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(found.split()) <= {"tokenizer", "__future__"}
