"""A Hugging Face folder: `tokenizer.json`, and beside it which of its tokens are special for transformers.

`AutoTokenizer.from_pretrained(folder)` gives the ids of `Encoder.encode(text, allow_special=True)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.jsonfile import CONFIG_LIMIT_BYTES, read_json
from tokenizer.definition import REPAIR, Definition, brief, render
from tokenizer.layout import END_OF_TEXT, PADDING

if TYPE_CHECKING:
    from pathlib import Path

TOKENIZER, SETTINGS, SPECIAL_TOKENS_MAP = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"


class _Content(msgspec.Struct):
    content: str


class _Settings(msgspec.Struct):
    added_tokens_decoder: dict[str, _Content] | None = None


def check_settings(folder: Path, definition: Definition) -> None:
    """Raises UsageError where the folder's settings add tokens that its tokenizer.json lacks."""
    path = folder / SETTINGS
    if not path.is_file():
        return
    settings = read_json(
        path, _Settings, limit_bytes=CONFIG_LIMIT_BYTES, what="a transformers tokenizer_config.json", hint=REPAIR
    )
    added = {str(token.id): token.content for token in definition.added_tokens}
    for token_id, token in (settings.added_tokens_decoder or {}).items():
        if added.get(token_id) != token.content:
            raise UsageError(
                f"{path} adds {brief(token.content)} with the id {brief(token_id)}, {TOKENIZER} does not",
                hint=f"load the folder with transformers and save it, or import {folder / TOKENIZER} alone",
            )


def special_tokens_map(definition: Definition) -> dict[str, str]:
    """The part that each special token has: `<|endoftext|>` begins and ends texts and stands for what is unknown."""
    special = {token.content for token in definition.added_tokens if token.special}
    parts = {part: END_OF_TEXT for part in ("bos_token", "eos_token", "unk_token") if END_OF_TEXT in special}
    if PADDING in special:
        parts["pad_token"] = PADDING
    return parts


def huggingface_files(definition: Definition, *, max_length: int | None = None) -> dict[str, bytes]:
    """The three files by name; `max_length` is that of the model, where there is one."""
    parts = special_tokens_map(definition)
    settings: dict[str, Any] = {
        # The plain class uses tokenizer.json as it stands; GPT2Tokenizer and GPTNeoXTokenizer put their own rules in.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {
            str(token.id): {
                "content": token.content,
                "lstrip": token.lstrip,
                "normalized": token.normalized,
                "rstrip": token.rstrip,
                "single_word": token.single_word,
                "special": token.special,
            }
            for token in definition.added_tokens
        },
        **parts,
    }
    if max_length is not None:
        settings["model_max_length"] = max_length
    return {TOKENIZER: render(definition), SETTINGS: _json(settings), SPECIAL_TOKENS_MAP: _json(parts)}


def _json(content: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content, order="sorted"), indent=2) + b"\n"
