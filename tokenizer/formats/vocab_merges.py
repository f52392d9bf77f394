"""`vocab.json` + `merges.txt`, GPT-2's two files: read into a definition, and written as the `tokenizers` library does.

The vocabulary maps tokens, in byte characters, to ids; every line of the other file is a merge of two tokens, the most
frequent first. Neither says how text is normalized and cut, nor which tokens are special or runs of spaces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.jsonfile import TOKENIZER_LIMIT_BYTES, decode_json, read_bounded
from tokenizer.definition import REPAIR, Definition, TokenId, brief
from tokenizer.formats.assembly import assemble
from tokenizer.formats.foreign import MERGES, VOCABULARY, refuse_foreign

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VOCAB, MERGES_FILE = "vocab.json", "merges.txt"
VERSION_LINE = "#version: 0.2"


def read_vocab_merges(
    vocab_path: Path, merges_path: Path, special_tokens: Mapping[str, int | None] | None = None
) -> Definition:
    """The tokenizer of two files. Without `special_tokens` those of GPT-2 and GPT-NeoX are special, where there.

    Raises CorruptData where the files are damaged or belong to different tokenizers, UsageError for another kind.
    """
    vocab_data = read_bounded(vocab_path, limit_bytes=TOKENIZER_LIMIT_BYTES, hint=REPAIR)
    refuse_foreign(vocab_data, name=str(vocab_path), reads=(VOCABULARY,))
    vocab = decode_json(
        vocab_data, dict[str, TokenId], name=str(vocab_path), what="a vocabulary of tokens and ids", hint=REPAIR
    )
    merges_data = read_bounded(merges_path, limit_bytes=TOKENIZER_LIMIT_BYTES, hint=REPAIR)
    refuse_foreign(merges_data, name=str(merges_path), reads=(MERGES,))
    merges = parse_merges(merges_data, name=str(merges_path))
    return assemble(vocab, merges, special_tokens, name=f"{vocab_path} with {merges_path.name}")


def parse_merges(data: bytes, *, name: str) -> list[tuple[str, str]]:
    """The merges in a merges.txt; raises CorruptData, naming the line, for what is none or there twice."""
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise CorruptData(f"{name} is not UTF-8: {error}", hint=REPAIR) from error
    line_of: dict[tuple[str, str], int] = {}
    for number, line in enumerate(lines, start=1):
        text = line.removesuffix("\r")
        if text.startswith("#version") or (not text and number == len(lines)):
            continue
        parts = text.split(" ")
        if len(parts) != 2 or not all(parts):
            raise CorruptData(f"line {number} of {name} is {brief(text)}, not two tokens", hint=REPAIR)
        first = line_of.setdefault((parts[0], parts[1]), number)
        if first != number:
            raise CorruptData(f"line {number} of {name} is the merge of line {first} again", hint=REPAIR)
    return list(line_of)


def vocab_merges_files(definition: Definition) -> dict[str, bytes]:
    """`vocab.json` and `merges.txt`, the latter in the library's bytes, of a definition that holds nothing else."""
    lines = [f"{left} {right}" for left, right in definition.merges]
    # Special tokens are entries as any other, as in GPT-2's own file.
    vocab = {**definition.vocab, **{token.content: token.id for token in definition.added_tokens}}
    by_id = dict(sorted(vocab.items(), key=lambda item: item[1]))
    return {VOCAB: msgspec.json.encode(by_id), MERGES_FILE: "\n".join([VERSION_LINE, *lines, ""]).encode()}
