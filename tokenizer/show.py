"""An encoder and a text in, the pieces that its tokens stand for out, to be coloured one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder


def boundaries(encoder: Encoder, text: str) -> list[bytes]:
    """One piece per token; together they are `text.encode()`.

    A piece may end inside a character. Where the tokenizer normalizes (NFC) or puts a space before words, together they
    are the text as it sees it.
    """
    return [encoder.token_bytes(token_id) for token_id in encoder.encode(text).tolist()]
