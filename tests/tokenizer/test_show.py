"""The pieces are the text, cut where the library's tokens end."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from tokenizer.show import boundaries


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60))
def test_the_pieces_together_are_the_text(small, neox, text):
    pieces = boundaries(small, text)
    assert b"".join(pieces) == text.encode()
    assert len(pieces) == len(small.encode(text))
    assert b"".join(boundaries(neox.ours, text)) == normalizers.NFC().normalize_str(text).encode()


def test_the_pieces_of_ascii_text_are_the_librarys_offsets(neox, texts):
    text = next(text for text in texts if text.isascii() and "    " in text and len(text) < 20_000)
    neox.library.encode_special_tokens = True
    encoding = neox.library.encode(text)
    # Its offsets leave out the space before a word; the ends of tokens are the same.
    ends = [len(piece) for piece in boundaries(neox.ours, text)]
    assert [sum(ends[: number + 1]) for number in range(len(ends))] == [end for _, end in encoding.offsets]


def test_a_character_may_lie_in_several_pieces(small):
    assert boundaries(small, "a中") == [b"a", b"\xe4", b"\xb8", b"\xad"]
