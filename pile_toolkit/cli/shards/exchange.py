"""`pile shards import` and `pile shards export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pile_toolkit.cli.options import dry_run_option, json_option, print_result
from pile_toolkit.cli.shards.inputs import safe
from pile_toolkit.core.console import reporter

# As shards.exchange.FORMATS and ID_TYPES, which a test compares: help imports nothing of the library.
FORMATS = ("megatron", "neox", "nanogpt", "dolma", "huggingface", "mds", "litdata")
ID_TYPES = ("uint16", "uint32", "int32")
PATH = click.Path(path_type=Path)


@click.command(name="import", short_help="Tokens of another program as .bin and .idx.")
@click.argument("source", type=PATH)
@click.option("--from", "format", type=click.Choice(FORMATS), required=True, help="What SOURCE is.")
@click.option("-o", "--output", type=PATH, required=True, metavar="PREFIX", help="Path without ending to write.")
@click.option("--end-of-text", type=click.IntRange(min=0), help="The id that ends a document, for nanogpt.")
@click.option("--vocab-size", type=click.IntRange(min=1), help="Refuse ids past it; from 65,500 on ids are int32.")
@click.option("--id-type", type=click.Choice(ID_TYPES), help="Of ids in nanogpt and dolma files, default uint16.")
@dry_run_option
@json_option
def import_(source: Path, format: str, output: Path, as_json: bool, **options: Any) -> None:
    """SOURCE as a pair of .bin and .idx, with .docs.arrow where it says which documents it holds.

    \b
    megatron, neox   a prefix; ids of 1 to 8 bytes become uint16, or int32 where they must
    nanogpt          a file of ids and nothing else: documents end after --end-of-text
    dolma            name.npy and name.csv.gz
    huggingface      a folder of save_to_disk with a column input_ids
    mds, litdata     a folder with index.json, not compressed

    \b
    pile shards import ./pile_text_document --from neox -o shards/pile
    pile shards import train.bin --from nanogpt --end-of-text 50256 -o shards/owt
    pile shards import ./tokenized --from huggingface -o shards/mine
    """
    from shards.exchange import import_shards

    result = import_shards(source, output, format=format, reporter=reporter(), **options)
    print_result(result, as_json=as_json, show=_show)


@click.command(short_help="A pair, or a folder of splits, in the format of another program.")
@click.argument("prefix", type=PATH)
@click.option("--to", type=click.Choice(FORMATS), required=True, help="Format to write.")
@click.option("-o", "--output", type=PATH, required=True, help="Prefix, file or folder to write.")
@click.option("--keep-pointers", is_flag=True, help="Leave copies shared; for readers that look at every pointer.")
@dry_run_option
@json_option
def export(prefix: Path, to: str, output: Path, keep_pointers: bool, dry_run: bool, as_json: bool) -> None:
    """PREFIX for other programs, copies written out; of a folder its train, val and test.

    \b
    neox         pairs, and the lines of the configuration that read them
    megatron     pairs, and the options of the command line
    nanogpt      ids and nothing else, two bytes each
    dolma        name.npy and name.csv.gz
    huggingface  load_from_disk(OUTPUT): input_ids, component, document, copy, bytes
    mds          StreamingDataset(local=OUTPUT): tokens and the same
    litdata      StreamingDataset(OUTPUT, item_loader=TokensLoader(block_size=2049))

    What is known of the documents goes along, as columns or in OUTPUT.docs.parquet.

    \b
    pile shards export pile-data/shards --to neox -o ./for-neox
    pile shards export pile-data/shards/val --to huggingface -o ./val
    """
    from pile_toolkit.cli.shards.inputs import ENDINGS
    from shards.exchange import export_shards

    ending = next((ending for ending in ENDINGS if prefix.name.endswith(ending)), "")
    source = prefix.with_name(prefix.name.removesuffix(ending))
    result = export_shards(source, output, to=to, keep_pointers=keep_pointers, dry_run=dry_run, reporter=reporter())
    print_result(result, as_json=as_json, show=_show)


def _show(result: Any) -> None:
    for path in result.would_write:
        click.echo(safe(f"would write {path}"))
    for pair in result.pairs:
        counted = f"{pair.sequences:,} sequences, {pair.tokens:,} tokens of {pair.dtype}"
        click.echo(safe(f"{pair.source}: {counted}"))
        for file in pair.files:
            click.echo(safe(f"  {file}"))
    for fact in result.said:
        click.echo(f"note: {safe(fact)}")
    for line in result.options:
        click.echo(safe(line))
