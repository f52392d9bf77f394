"""The pieces are the text, cut where the library's tokens end; what is shown of them obeys nobody."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from pile_toolkit.core.errors import UsageError
from tokenizer.show import DOTTED_CIRCLE, Part, parts, show_tokens


def pieces_of(encoder, text):
    return [bytes.fromhex(piece) for piece in show_tokens([("one", encoder)], text).bytes]


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60))
def test_the_pieces_together_are_the_text(small, neox, text):
    pieces = pieces_of(small, text)
    assert b"".join(pieces) == text.encode()
    assert len(pieces) == len(small.encode(text))
    assert b"".join(pieces_of(neox.ours, text)) == normalizers.NFC().normalize_str(text).encode()


def test_the_pieces_of_ascii_text_are_the_librarys_offsets(neox, texts):
    text = next(text for text in texts if text.isascii() and "    " in text and len(text) < 20_000)
    neox.library.encode_special_tokens = True
    encoding = neox.library.encode(text)
    # Its offsets leave out the space before a word; the ends of tokens are the same.
    ends = [end for _, end in encoding.offsets]
    done, ours = 0, []
    for piece in pieces_of(neox.ours, text):
        done += len(piece)
        ours.append(done)
    assert ours == ends


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=30))
def test_every_tokenizers_ids_bytes_and_tokens_belong_together(small, neox, text):
    shown = show_tokens([("small", small), ("20B", neox.ours)], text)
    assert shown.tokenizer == "small"
    (other,) = shown.others
    for one, encoder in ((shown, small), (other, neox.ours)):
        assert one.ids == encoder.encode(text).tolist()
        assert one.count == len(one.ids) == len(one.tokens) == len(one.bytes)
        assert encoder.decode(one.ids).encode() == bytes.fromhex("".join(one.bytes))
        assert one.tokens == [encoder.token(token_id) for token_id in one.ids]
    assert (shown.ratio, other.ratio) == ((1.0, other.count / shown.count) if text else (None, None))


def test_nothing_is_shown_without_a_tokenizer():
    with pytest.raises(UsageError, match="there is no tokenizer"):
        show_tokens([], "x")


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=20) | st.text(max_size=10).map(str.encode))
def test_the_parts_are_the_bytes_and_what_prints_of_them_is_harmless(data):
    back = b""
    for part in parts(data):
        if part.kind == "byte":
            back += bytes.fromhex(part.text)
        elif part.kind == "code":
            char = chr(int(part.text.removeprefix("U+"), 16))
            # Of what is written as a code nothing is a letter, a digit or a sign of its own.
            assert unicodedata.category(char)[0] in "CZ" or unicodedata.category(char) == "Mn"
            back += char.encode()
        else:
            assert all(char in " \n\t" or unicodedata.category(char)[0] not in "CZ" for char in part.text)
            back += part.text.encode() if not part.text.startswith(DOTTED_CIRCLE) else part.text[1:].encode()
    if DOTTED_CIRCLE.encode() not in data:
        assert back == data


def test_what_a_terminal_or_a_browser_would_obey_is_a_code():
    shown = parts("a\x1b[31m\x07\r\x9b\u202eb\u200d\u2028\u00a0❤\ufe0f".encode())
    codes = [part.text for part in shown if part.kind == "code"]
    assert codes == ["U+001B", "U+0007", "U+000D", "U+009B", "U+202E", "U+200D", "U+2028", "U+00A0", "U+FE0F"]
    assert parts("日".encode()[:2]) == [Part("byte", "e6"), Part("byte", "97")]
    assert parts(b"  x\n\n\t") == [
        Part("space", "  "),
        Part("text", "x"),
        Part("newline", "\n"),
        Part("newline", "\n"),
        Part("tab", "\t"),
    ]
    # A mark stands on what it belongs to, or on a circle where that is in another token.
    assert parts("e\u0301".encode()) == [Part("text", "e\u0301")]
    assert parts("\u0301e".encode()) == [Part("text", f"{DOTTED_CIRCLE}\u0301e")]
