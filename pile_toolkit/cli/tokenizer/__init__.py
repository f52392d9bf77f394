"""`pile tokenizer`: the group; its commands are in the modules beside, mostly one in each."""

from __future__ import annotations

import click

from pile_toolkit.cli.options import OrderedGroup
from pile_toolkit.cli.tokenizer.compare import compare
from pile_toolkit.cli.tokenizer.encode import decode, encode
from pile_toolkit.cli.tokenizer.exchange import export, import_
from pile_toolkit.cli.tokenizer.show import show
from pile_toolkit.cli.tokenizer.train import train


@click.group(cls=OrderedGroup)
def tokenizer() -> None:
    """Train, use and compare byte-level BPE tokenizers of the GPT-NeoX kind."""


for command in (train, encode, decode, compare, show, import_, export):
    tokenizer.add_command(command)
