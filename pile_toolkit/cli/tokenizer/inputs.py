"""What the tokenizer's commands read: a tokenizer.json, and a text from the command line or standard input."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from pile_toolkit.core.errors import UsageError

FILE = click.Path(path_type=Path, dir_okay=False)
tokenizer_option = click.option(
    "--tokenizer", type=FILE, default=None, show_default="that of the root", help="A tokenizer.json."
)


def load_encoder(tokenizer: Path | None, root: Path) -> Any:
    """The encoder of the file given, else of the root."""
    from tokenizer.encoder import Encoder

    return Encoder.load(tokenizer or root / "tokenizer" / "tokenizer.json")


def input_text(text: str | None) -> str:
    """The text given, else all of standard input."""
    try:
        # Under an ASCII locale Python takes the bytes of an argument for surrogates.
        return sys.stdin.buffer.read().decode() if text is None else os.fsencode(text).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"the text is not UTF-8: {error}", hint="iconv -t utf-8 FILE | pile tokenizer ...") from error
