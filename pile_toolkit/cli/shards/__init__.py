"""`pile shards`: the group; its commands are in the modules beside, mostly one in each."""

from __future__ import annotations

import click

from pile_toolkit.cli.options import OrderedGroup
from pile_toolkit.cli.shards.exchange import export, import_
from pile_toolkit.cli.shards.index import index
from pile_toolkit.cli.shards.show import show
from pile_toolkit.cli.shards.stats import stats
from pile_toolkit.cli.shards.verify import verify
from pile_toolkit.cli.shards.write import mix, write


@click.group(cls=OrderedGroup)
def shards() -> None:
    """Token shards: Megatron-LM and gpt-neox read the .bin/.idx pairs, upsampled copies share their bytes.

    PREFIX is a path without ending, default the train split of the root: pile-data/shards/train
    """


for command in (write, mix, index, stats, show, verify, import_, export):
    shards.add_command(command)
