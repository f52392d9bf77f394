"""The bytes of a file in; where their beginning shows another kind of file than wanted, one sentence that names it."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from pile_toolkit.core.errors import CorruptData, UsageError

# What is looked at; JSON is told by the parser.
HEAD_BYTES = 4096
ANOTHER = "name a tokenizer.json like that of GPT-2 or GPT-NeoX, or make one: pile tokenizer train"
AGAIN = "fetch or train the file again"
IMPORT = "pile tokenizer import {name} -o tokenizer.json"


class Kind(NamedTuple):
    """A kind of file: how its first bytes look, what it is called, what to type instead."""

    head: re.Pattern[bytes]
    what: str
    hint: str


RANKS = Kind(re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?(\n|$)"), "a file of tiktoken ranks", IMPORT)
MERGES = Kind(
    re.compile(rb"#version|(?![{<])[!-~\x80-\xff]+ [!-~\x80-\xff]+\r?\n[!-~\x80-\xff]+ [!-~\x80-\xff]+\r?(\n|$)"),
    "a merges.txt, half of a tokenizer",
    IMPORT,
)
VOCABULARY = Kind(re.compile(rb'\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\d+\s*[,}]'), "a vocab.json, half of a tokenizer", IMPORT)
KINDS = (
    Kind(re.compile(rb"\x80[\x02-\x05]"), "a pickle, and nothing is unpickled here", ANOTHER),
    Kind(re.compile(rb"PK\x03\x04"), "a zip archive, such as torch makes of pickles", ANOTHER),
    Kind(re.compile(rb"\x1f\x8b"), "compressed with gzip", "gunzip -k {name}"),
    Kind(re.compile(rb"\x28\xb5\x2f\xfd"), "compressed with zstd", "zstd -dk {name}"),
    Kind(re.compile(rb"version https://git-lfs"), "a pointer of git-lfs, not the file", "git lfs pull"),
    Kind(re.compile(rb"(?i)<(!doctype|html|\?xml)"), "a web page, not the file it speaks of", AGAIN),
    Kind(
        re.compile(rb"\n(?s:.){1,3}\n(?s:.{1,3000}?)(<unk>|<s>|\xe2\x96\x81)"),
        "a SentencePiece model, this reads byte-level BPE of the GPT-2 / GPT-NeoX kind",
        ANOTHER,
    ),
)


def refuse_foreign(data: bytes, *, name: str, reads: tuple[Kind, ...] = ()) -> None:
    """Raises UsageError for a known kind of file that is not among `reads`, CorruptData for an empty one."""
    if not data.strip():
        raise CorruptData(f"{name} is empty" if not data else f"{name} has nothing but blanks", hint=AGAIN)
    kind = kind_of(data)
    if kind is not None and kind not in reads:
        raise UsageError(f"{name} is {kind.what}", hint=kind.hint.format(name=shlex.quote(name)))


def kind_of(data: bytes) -> Kind | None:
    """What the first bytes show, None for what only a parser can tell."""
    head = data[:HEAD_BYTES]
    return next((kind for kind in (*KINDS, VOCABULARY, RANKS, MERGES) if kind.head.match(head)), None)
