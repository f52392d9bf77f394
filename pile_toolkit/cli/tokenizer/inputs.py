"""What the tokenizer's commands read: a tokenizer.json, and a text from the command line or standard input."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from pile_toolkit.core.errors import UsageError

# Nobody looks at more, and a file from outside must not fill the memory.
LARGEST_SHOWN_BYTES = 16 << 20
FILE = click.Path(path_type=Path, dir_okay=False)
tokenizer_option = click.option(
    "--tokenizer", type=FILE, default=None, show_default="that of the root", help="A tokenizer.json."
)


def tokenizer_of(root: Path) -> Path:
    """Where a root has its tokenizer."""
    return root / "tokenizer" / "tokenizer.json"


def readable(path: str | Path) -> str:
    """A name as text: bytes that are no UTF-8 are written as `\\xe9`."""
    return os.fsencode(path).decode(errors="backslashreplace")


def load_encoder(tokenizer: Path | None, root: Path) -> Any:
    """The encoder of the file given, else of the root."""
    from tokenizer.encoder import Encoder

    path = tokenizer or tokenizer_of(root)
    if tokenizer is None and not path.exists():
        raise UsageError(
            f"there is no tokenizer file {path}",
            hint=f"pile tokenizer train --root {shlex.quote(str(root))}, or name one: --tokenizer FILE",
        )
    return Encoder.load(path)


def input_text(text: str | None) -> str:
    """The text given, else all of standard input."""
    try:
        # Under an ASCII locale Python takes the bytes of an argument for surrogates.
        return sys.stdin.buffer.read().decode() if text is None else os.fsencode(text).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"the text is not UTF-8: {error}", hint="iconv -t utf-8 FILE | pile tokenizer ...") from error


def file_or_text(argument: str | None, text: str | None) -> tuple[str, str]:
    """(name, content) of what is to be shown: a file, the argument or `--text` itself, or all of standard input.

    Raises UsageError where the argument looks like the name of a file that is not there.
    """
    if text is not None:
        if argument is not None:
            raise UsageError(f"there are two texts: {argument} and that of --text", hint="one of the two")
        return "the text given", input_text(text)
    if argument is None:
        return "standard input", input_text(None)
    if _exists(argument):
        return readable(argument), _file_text(Path(argument))
    if _looks_like_a_name(argument):
        raise UsageError(
            f"there is no file {argument}", hint=f"pile tokenizer show --text {shlex.quote(argument)}, if it is a text"
        )
    return "the text", input_text(argument)


def _exists(argument: str) -> bool:
    # A text may be longer than any path, have a zero in it, or be empty.
    with contextlib.suppress(OSError, ValueError):
        return bool(argument) and Path(argument).exists()
    return False


def _looks_like_a_name(argument: str) -> bool:
    ending = Path(argument).suffix[1:]
    return not any(map(str.isspace, argument)) and ("/" in argument or (ending.isascii() and ending.isalnum()))


def _file_text(path: Path) -> str:
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a text", hint="name one file of it")
    with path.open("rb") as file:
        data = file.read(LARGEST_SHOWN_BYTES + 1)
    if len(data) > LARGEST_SHOWN_BYTES:
        raise UsageError(
            f"{path} has more than {LARGEST_SHOWN_BYTES:,} bytes, too many to look at",
            hint=f"head -n 1000 {path} | pile tokenizer show",
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8: {error}", hint=f"iconv -t utf-8 {path} | pile tokenizer show"
        ) from error
