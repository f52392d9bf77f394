"""A vocabulary in; a UsageError out where it was trained with another splitting of text than GPT-2's.

Files of ranks and of merges do not say by which regular expression text is cut before merging, and with another one
every id would be a little wrong. But the vocabulary tells: a token that the expression cuts in two is never made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pile_toolkit.core.errors import UsageError
from tokenizer.layout import byte_characters

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_pattern(tokens: Iterable[str], *, name: str) -> None:
    """Raises UsageError where a token, in byte characters, could never come out of GPT-2's splitting."""
    from tokenizers.pre_tokenizers import ByteLevel

    split = ByteLevel(add_prefix_space=False).pre_tokenize_str
    byte_of = {character: byte for byte, character in enumerate(byte_characters())}
    texts = (_text(bytes(map(byte_of.__getitem__, token))) for token in tokens)
    never = [text for text in texts if text is not None and len(split(text)) > 1]
    if never:
        shortest = min(never, key=lambda text: (len(text), text))
        raise UsageError(
            f"{name} was trained with another regular expression than GPT-2's, which never makes "
            f"{len(never):,} of its tokens, such as {shortest[:40]!r}",
            hint="a tokenizer of the GPT-2 / GPT-NeoX kind; cl100k, o200k, Llama 3 and Qwen split text otherwise",
        )


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None  # A part of a character says nothing.
