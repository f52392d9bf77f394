"""A path in, the format of what lies there and its files out; by content, by names only where two files are one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pile_toolkit.core.errors import UsageError
from tokenizer.formats.foreign import ANOTHER, HEAD_BYTES, MERGES, RANKS, VOCABULARY, kind_of, refuse_foreign

if TYPE_CHECKING:
    from pathlib import Path

TOKENIZER_JSON, VOCAB_MERGES, TIKTOKEN, HUGGING_FACE = "tokenizer.json", "vocab-merges", "tiktoken", "hf"
FORMATS = (TOKENIZER_JSON, VOCAB_MERGES, TIKTOKEN, HUGGING_FACE)
# The two files as transformers, and as OpenAI's first release, call them; others put something before it.
PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
# What folders of other kinds hold.
FOREIGN_NAMES = {
    "tokenizer.model": "a SentencePiece model or, of Llama 3, ranks",
    "spiece.model": "a SentencePiece model",
    "sentencepiece.bpe.model": "a SentencePiece model",
    "vocab.txt": "WordPiece's vocabulary",
}


class Source(NamedTuple):
    """Files of one format: the tokenizer.json, the ranks, or the vocabulary and its merges."""

    format: str
    files: tuple[Path, ...]


def recognize(path: Path, *, format: str | None = None, merges: Path | None = None) -> Source:
    """The tokenizer at a path, a file or a folder; `format` and `merges` say what cannot be told.

    Raises UsageError where there is none, or another kind, naming what is there.
    """
    for place in filter(None, (path, merges)):
        if not place.exists():
            raise UsageError(
                f"there is no file or folder {place}", hint="pile tokenizer import SOURCE -o tokenizer.json"
            )
    if format is not None and format not in FORMATS:
        raise UsageError(f"there is no format {format!r}", hint=f"one of {', '.join(FORMATS)}")
    if merges is not None and format not in (None, VOCAB_MERGES):
        raise UsageError(f"{format} has no file of merges", hint="--from vocab-merges, or without --merges")
    if path.is_dir():
        return _in_folder(path, format)
    if merges is not None:
        return Source(VOCAB_MERGES, (path, merges))
    format = format or _format_of(path)
    if format == VOCAB_MERGES:
        return Source(format, _pair_of(path))
    return Source(format, (path,))


def _format_of(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    refuse_foreign(head, name=str(path), reads=(RANKS, VOCABULARY, MERGES))
    kind = kind_of(head)
    if kind is RANKS:
        return TIKTOKEN
    if kind in (VOCABULARY, MERGES):
        return VOCAB_MERGES
    if head.lstrip()[:1] == b"{":
        return TOKENIZER_JSON
    raise UsageError(
        f"{path} is no tokenizer that is known here: neither JSON nor merges nor ranks",
        hint=f"{ANOTHER}; --from FORMAT says what a file is",
    )


def _pair_of(path: Path) -> tuple[Path, Path]:
    """`x-vocab.json` and `x-merges.txt`, whichever of them was named."""
    for names in PAIRS:
        for name in names:
            if path.name.endswith(name):
                pair = tuple(path.with_name(path.name.removesuffix(name) + other) for other in names)
                missing = next((file for file in pair if not file.is_file()), None)
                if missing is not None:
                    raise UsageError(f"{path} is one of two files, and there is no {missing}", hint=_BOTH)
                return pair[0], pair[1]
    raise UsageError(f"{path} is one of two files, and its name does not tell the other's", hint=_BOTH)


_BOTH = "pile tokenizer import VOCAB.json --merges MERGES.txt -o tokenizer.json"


def _in_folder(folder: Path, format: str | None) -> Source:
    if format in (None, HUGGING_FACE, TOKENIZER_JSON) and (folder / "tokenizer.json").is_file():
        return Source(HUGGING_FACE, (folder / "tokenizer.json",))
    for names in PAIRS:
        pair = (folder / names[0], folder / names[1])
        if format in (None, VOCAB_MERGES) and all(file.is_file() for file in pair):
            return Source(VOCAB_MERGES, pair)
    ranks = sorted(folder.glob("*.tiktoken"))
    if format in (None, TIKTOKEN) and len(ranks) == 1:
        return Source(TIKTOKEN, (ranks[0],))
    foreign = next(((name, what) for name, what in FOREIGN_NAMES.items() if (folder / name).exists()), None)
    if foreign is not None:
        raise UsageError(f"{folder} has no tokenizer.json but {foreign[0]}, {foreign[1]}", hint=ANOTHER)
    wanted = "tokenizer.json, vocab.json with merges.txt, or one .tiktoken file" if format is None else format
    raise UsageError(f"{folder} has no {wanted}", hint="name the file itself")
