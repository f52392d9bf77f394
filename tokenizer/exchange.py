"""A tokenizer in the format of another tool in, an `Encoder` out, and back: the same ids, or the format is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import write_bytes
from pile_toolkit.core.manifest import MANIFEST
from tokenizer.definition import Definition, brief, render
from tokenizer.encoder import Encoder
from tokenizer.formats.huggingface import check_settings, huggingface_files
from tokenizer.formats.recognize import FORMATS, HUGGING_FACE, TIKTOKEN, TOKENIZER_JSON, VOCAB_MERGES, recognize
from tokenizer.formats.tiktoken import read_tiktoken, tiktoken_ranks
from tokenizer.formats.vocab_merges import read_vocab_merges, vocab_merges_files

if TYPE_CHECKING:
    from collections.abc import Mapping

IN_FULL = "--to tokenizer.json or --to hf, which hold everything"


class Exchanged(msgspec.Struct, frozen=True, kw_only=True):
    """What was read or written; `special_tokens` by name, `untold` what the files cannot say and readers must know."""

    format: str
    files: list[str]
    vocab_size: int
    merges: int
    hash: str
    special_tokens: dict[str, int]
    untold: list[str]


def import_tokenizer(
    source: str | Path,
    *,
    format: str | None = None,
    merges: str | Path | None = None,
    special_tokens: Mapping[str, int | None] | None = None,
) -> Encoder:
    """The tokenizer in a tokenizer.json, a Hugging Face folder, `vocab.json` + `merges.txt`, or tiktoken ranks.

    What it is, is recognized, or said in `format` (one of FORMATS). `special_tokens` are names and ids, None where the
    vocabulary has the id; without them `<|endoftext|>` is one (in ranks with the first id that no rank has).
    Raises UsageError for another kind of tokenizer, CorruptData for damaged files.
    """
    found = recognize(Path(source), format=format, merges=Path(merges) if merges is not None else None)
    if found.format in (TOKENIZER_JSON, HUGGING_FACE):
        if special_tokens is not None:
            raise UsageError(f"{found.files[0]} says itself which tokens are special", hint="without --special")
        encoder = Encoder.load(found.files[0])
        if found.format == HUGGING_FACE:
            check_settings(found.files[0].parent, encoder.definition)
        return encoder
    if found.format == TIKTOKEN:
        definition = read_tiktoken(found.files[0], special_tokens)
    else:
        definition = read_vocab_merges(found.files[0], found.files[1], special_tokens)
    return Encoder(definition, name=str(source))


def export_tokenizer(encoder: Encoder, target: str | Path, *, to: str, dry_run: bool = False) -> Exchanged:
    """Writes the tokenizer in one of FORMATS: into the folder `target` (hf, vocab-merges), else the file `target`.

    Raises UsageError for what the format cannot hold, where that would change ids.
    """
    target = Path(target)
    if to not in FORMATS:
        raise UsageError(f"there is no format {to!r}", hint=f"--to {' or '.join(FORMATS)}")
    is_folder = to in (VOCAB_MERGES, HUGGING_FACE)
    _check_target(target, is_folder=is_folder)
    contents = _contents(encoder.definition, to)
    files = {target / name if is_folder else target: data for name, data in contents.items()}
    for path, data in files.items():
        if not dry_run:
            write_bytes(path, data)
    return Exchanged(
        format=to,
        files=[str(file) for file in files],
        vocab_size=encoder.vocab_size,
        merges=len(encoder.definition.merges),
        hash=encoder.hash,
        special_tokens={token.content: token.id for token in encoder.definition.added_tokens if token.special},
        untold=_untold(encoder.definition, to),
    )


def _contents(definition: Definition, to: str) -> dict[str, bytes]:
    if to == TOKENIZER_JSON:
        return {TOKENIZER_JSON: render(definition)}
    if to == HUGGING_FACE:
        return huggingface_files(definition)
    check_plain(definition, to=to)
    if to == VOCAB_MERGES:
        return vocab_merges_files(definition)
    return {TIKTOKEN: tiktoken_ranks(definition, name="the tokenizer")}


def check_plain(definition: Definition, *, to: str) -> None:
    """Raises UsageError for what decides ids and is neither vocabulary nor merges: neither file can say it."""
    pieces = [token for token in definition.added_tokens if not token.special]
    runs = sum(not token.content.strip(" ") for token in pieces)
    what = None
    if definition.normalizer is not None:
        what = f"normalizer {definition.normalizer.get('type')}: text that is not normalized would get other ids"
    elif definition.pre_tokenizer.get("add_prefix_space", True):
        what = "space before a text (add_prefix_space)"
    elif runs:
        what = f"{runs} tokens for runs of spaces: text with such runs would get other ids"
    elif pieces:
        what = f"added token {brief(pieces[0].content)}, which is not special"
    elif stripping := [token for token in definition.added_tokens if token.lstrip or token.rstrip]:
        what = f"rule that {brief(stripping[0].content)} swallows white space beside it (lstrip, rstrip)"
    if what is not None:
        raise UsageError(f"{to} cannot hold the tokenizer's {what}", hint=IN_FULL)


def _untold(definition: Definition, to: str) -> list[str]:
    if to in (TOKENIZER_JSON, HUGGING_FACE):
        return []
    untold = ["text is split by GPT-2's regular expression, without a space put before it"]
    special = {token.content: token.id for token in definition.added_tokens}
    if special:
        told = ", ".join(f"{token} = {token_id}" for token, token_id in special.items())
        untold.append(f"special tokens: {told}")
    kind = definition.post_processor.get("type") if definition.post_processor is not None else "ByteLevel"
    if kind != "ByteLevel":
        untold.append(f"the post-processor {kind}, which adds tokens around a text")
    return untold


def _check_target(target: Path, *, is_folder: bool) -> None:
    if target.is_dir() and not is_folder:
        raise UsageError(f"{target} is a folder, this format is one file", hint=f"-o {target / 'tokenizer.json'}")
    if target.exists() and is_folder and not target.is_dir():
        raise UsageError(f"{target} is a file, this format needs a folder", hint="another -o")
    folder = target if is_folder else target.parent
    if (folder / MANIFEST).exists():
        # Its next reader would find an output that is not what its manifest promises.
        raise UsageError(
            f"{folder} belongs to a stage, which has a manifest of its files",
            hint="another -o, and then pile shards write --tokenizer FILE",
        )
