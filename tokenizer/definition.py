"""The bytes of a tokenizer.json in, a checked definition out, and back; whatever else would change ids is refused.

`render(parse(data))` is canonical: two files that differ in white space, key order or the way merges are spelled render
to the same bytes, whatever version of the `tokenizers` library wrote them.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import msgspec

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.jsonfile import decode_json
from tokenizer.formats.foreign import AGAIN, ANOTHER, refuse_foreign
from tokenizer.layout import NEVER_IN_UTF8, byte_characters

# Ids travel as int32 at the widest.
TokenId = Annotated[int, msgspec.Meta(ge=0, lt=2**31 - 1)]
KIND = "byte-level BPE of the GPT-2 / GPT-NeoX kind"
OTHER_FILE = ANOTHER
REPAIR = AGAIN
# Of what a file says, so much is repeated in an error.
BRIEF_CHARACTERS = 60
BYTE_LEVEL: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


class AddedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A string that is cut out of the text before the regular expression sees it; fields as in the file."""

    id: TokenId
    content: str
    single_word: bool
    lstrip: bool
    rstrip: bool
    normalized: bool
    special: bool


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides ids: `vocab` maps tokens (in byte characters) to ids, `merges` are in order of rank."""

    added_tokens: tuple[AddedToken, ...]
    vocab: dict[str, int]
    merges: tuple[tuple[str, str], ...]
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any]
    post_processor: dict[str, Any] | None = None
    decoder: dict[str, Any] | None
    unk_token: str | None = None
    fuse_unk: bool = False


class _Model(msgspec.Struct):
    vocab: dict[str, TokenId]
    merges: list[str | tuple[str, str]]
    dropout: float | None = None
    unk_token: str | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None
    fuse_unk: bool = False
    byte_fallback: bool = False
    ignore_merges: bool = False


class _File(msgspec.Struct):
    model: _Model
    added_tokens: list[AddedToken] | None = None
    truncation: dict[str, Any] | None = None
    padding: dict[str, Any] | None = None
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None
    post_processor: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None


class _ModelKind(msgspec.Struct):
    type: str = "BPE"


class _Head(msgspec.Struct):
    model: _ModelKind | None = None


def parse(data: bytes, *, name: str) -> Definition:
    """The definition in a tokenizer.json; `name` is what errors call it.

    Raises CorruptData where the bytes are no consistent tokenizer.json, UsageError where they are one of another kind.
    """
    refuse_foreign(data, name=name)
    wanted: Any = {"name": name, "what": "a tokenizer.json", "hint": REPAIR}
    model = decode_json(data, _Head, **wanted).model
    if model is None:
        raise UsageError(f"{name} has no field 'model', so it is no tokenizer.json", hint=OTHER_FILE)
    if (kind := model.type) != "BPE":
        # Whatever the file says is printed as text: it may hold control characters.
        named = kind if kind.isalnum() and len(kind) <= BRIEF_CHARACTERS else brief(kind)
        raise UsageError(f"{name} is a {named} tokenizer, this reads {KIND}", hint=OTHER_FILE)
    file = decode_json(data, _File, **wanted)
    _refuse_other_kinds(file, name)
    definition = Definition(
        added_tokens=tuple(sorted(file.added_tokens or (), key=lambda token: token.id)),
        vocab=dict(sorted(file.model.vocab.items(), key=lambda item: item[1])),
        merges=tuple(_merge(merge, name) for merge in file.model.merges),
        normalizer=file.normalizer,
        pre_tokenizer=file.pre_tokenizer or {},
        post_processor=file.post_processor,
        decoder=file.decoder,
        unk_token=file.model.unk_token or None,
        fuse_unk=file.model.fuse_unk,
    )
    _check_consistency(definition, name)
    return definition


def render(definition: Definition) -> bytes:
    """The canonical tokenizer.json, in the layout of the released 20B file, which the oldest readers know."""
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": definition.added_tokens,
        "normalizer": definition.normalizer,
        "pre_tokenizer": definition.pre_tokenizer,
        "post_processor": definition.post_processor,
        "decoder": definition.decoder,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": definition.unk_token,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": definition.fuse_unk,
            "vocab": definition.vocab,
            "merges": [" ".join(merge) for merge in definition.merges],
        },
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def _merge(merge: str | tuple[str, str], name: str) -> tuple[str, str]:
    # "a b" up to tokenizers 0.19 and ["a", "b"] since; byte characters hold no blank, so both say the same.
    parts = tuple(merge.split(" ")) if isinstance(merge, str) else merge
    if len(parts) != 2 or not all(parts) or any(" " in part for part in parts):
        raise CorruptData(f"{name}: the merge {brief(merge)} is not two tokens", hint=REPAIR)
    return parts


def brief(value: object) -> str:
    """A value of a file for an error: quoted, so that nothing in it reaches the terminal, and cut where it is long."""
    shown = repr(value)
    return shown if len(shown) <= BRIEF_CHARACTERS else f"{shown[:BRIEF_CHARACTERS]}..."


def _refuse_other_kinds(file: _File, name: str) -> None:
    model, pre_tokenizer = file.model, file.pre_tokenizer or {}
    full_alphabet = all(
        byte in NEVER_IN_UTF8 or character in model.vocab for byte, character in enumerate(byte_characters())
    )
    for field, found, expected in (
        ("truncation", file.truncation, (None,)),
        ("padding", file.padding, (None,)),
        ("normalizer", _type(file.normalizer), (None, "NFC")),
        ("pre_tokenizer", _type(file.pre_tokenizer), ("ByteLevel",)),
        ("pre_tokenizer.use_regex", pre_tokenizer.get("use_regex", True), (True,)),
        ("decoder", _type(file.decoder), (None, "ByteLevel")),
        ("model.dropout", model.dropout, (None, 0.0)),
        ("model.continuing_subword_prefix", model.continuing_subword_prefix, (None, "")),
        ("model.end_of_word_suffix", model.end_of_word_suffix, (None, "")),
        ("model.byte_fallback", model.byte_fallback, (False,)),
        ("model.ignore_merges", model.ignore_merges, (False,)),
        # With every byte in the alphabet nothing is ever unknown, and what stands here does not matter.
        ("model.unk_token", None if full_alphabet else model.unk_token, (None,)),
    ):
        if found not in expected:
            wanted = " or ".join("null" if value is None else repr(value) for value in expected)
            raise UsageError(f"{name} is not {KIND}: {field} is {brief(found)}, expected {wanted}", hint=OTHER_FILE)


def _type(part: dict[str, Any] | None) -> object:
    if part is None:
        return None
    # What Llama 3 and others have is told by its parts: "Sequence of Split, ByteLevel".
    parts = part.get("pretokenizers") or part.get("normalizers") or part.get("decoders")
    kinds = [str(inner.get("type")) for inner in parts if isinstance(inner, dict)] if isinstance(parts, list) else []
    kind = part.get("type", "without a type")
    return f"{kind} of {', '.join(kinds)}" if kinds else kind


def _check_consistency(definition: Definition, name: str) -> None:
    """Contradictions inside one file: an id given twice, a merge of tokens that do not exist."""
    vocab, problem = definition.vocab, None
    added = {token.content: token.id for token in definition.added_tokens}
    everything = vocab | added
    if len(added) < len(definition.added_tokens) or "" in everything:
        problem = "a token that is empty or added twice"
    elif len(set(everything.values())) < len(everything):
        twice, _ = Counter(everything.values()).most_common(1)[0]
        problem = f"two tokens with the id {twice}"
    elif moved := next((token for token in added if vocab.get(token, added[token]) != added[token]), None):
        problem = f"two ids for {brief(moved)}: {vocab[moved]} in the vocabulary and {added[moved]} in added_tokens"
    else:
        for left, right in definition.merges:
            if left not in vocab or right not in vocab or left + right not in vocab:
                problem = f"a merge of {brief(left)} and {brief(right)} that its vocabulary does not hold"
                break
    if problem:
        raise CorruptData(f"{name} has {problem}", hint=REPAIR)
