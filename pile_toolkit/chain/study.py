"""Shards, their tokenizer and a run in, samples as text, places of a text and statistics out: what one looks at."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.chain.orders import Order, open_order, run_recipe, shards_of_run
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pile_toolkit.core.console import Reporter
    from shards.locate import FoundText
    from shards.show import ShownSamples
    from shards.stats import RunLength, ShardStudy, Vocabulary
    from tokenizer.encoder import Encoder


def encoder_of(prefix: Path, root: Path, tokenizer: Path | None) -> Encoder | None:
    """The tokenizer given, else the root's; None where there is neither. Raises UsageError for another's shards."""
    from shards.encoder import refuse_other_tokenizer
    from tokenizer.encoder import Encoder

    path = tokenizer or root / "tokenizer" / "tokenizer.json"
    if tokenizer is None and not path.exists():
        return None
    encoder = Encoder.load(path)
    refuse_other_tokenizer(prefix, encoder.hash)
    return encoder


def vocabulary_of(encoder: Encoder) -> Vocabulary:
    """What the ids of a tokenizer stand for, as statistics want to know it."""
    import numpy as np

    from shards.stats import Vocabulary
    from tokenizer.comparing.results import printable
    from tokenizer.comparing.tally import is_white_space

    white_space = np.zeros(encoder.vocab_size, bool)
    known = {*encoder.definition.vocab.values(), *(token.id for token in encoder.definition.added_tokens)}
    for token_id in known:
        white_space[token_id] = is_white_space(encoder.token_bytes(token_id))
    return Vocabulary(
        size=encoder.vocab_size,
        token=lambda token_id: printable(encoder.token(token_id)) if token_id in known else "",
        special={token.content: token.id for token in encoder.definition.added_tokens if token.special},
        white_space=white_space,
    )


def show_samples(
    prefix: str | Path,
    *,
    root: str | Path = "pile-data",
    index: int | None = None,
    step: int | None = None,
    order: Order | None = None,
    tokenizer: str | Path | None = None,
    as_ids: bool = False,
) -> ShownSamples:
    """Sample `index` of an order, or all samples of its step `step`, piece by piece with the documents they are of.

    `as_ids` gives ids instead of text, which is also what there is without a tokenizer. Raises UsageError for a sample
    or a step that the order does not have, and for another tokenizer than that of the shards.
    """
    from shards.show import ShownSample, ShownSamples, show_sample

    prefix, root, order = Path(prefix), Path(root), order or Order()
    if order.run is None:
        asked = (index or 0) + 1 if step is None else step * (order.batch or 1)
        order = msgspec.structs.replace(order, samples=max(order.samples, asked))
    opened = open_order(prefix, root, order)
    numbers = [index or 0] if step is None else opened.of_step(step)
    shown = []
    # Phases of a run may be of several shards; each shows its own tokenizer.
    load = functools.cache(lambda of: encoder_of(Path(of), root, Path(tokenizer) if tokenizer else None))
    for number in numbers:
        found, inside = opened.find(number)
        encoder = None if as_ids else load(found.dataset.prefix)
        pieces = show_sample(found, inside, encoder.decode if encoder else None)
        shown.append(ShownSample(sample=number, step=step, pieces=pieces))
    return ShownSamples(
        prefix=found.dataset.prefix,
        run=order.run,
        order=found.order,
        sequence_length=found.sequence_length,
        samples=opened.samples,
        seed=found.seed,
        shown=shown,
    )


def find_text(
    prefix: str | Path,
    text: str | Sequence[int],
    *,
    root: str | Path = "pile-data",
    order: Order | None = None,
    tokenizer: str | Path | None = None,
    limit: int = 20,
    jobs: int = 1,
    reporter: Reporter = SILENT,
) -> FoundText:
    """Where a text, or ids, stand in the shards, and in which samples of `order`, where one is given.

    A text is looked for as the ids it has by itself: in a document its first and last token may be others. Raises
    UsageError for an empty text, and where there is no tokenizer to encode it.
    """
    from shards.dataset import TokenDataset
    from shards.find import find_tokens
    from shards.locate import FoundText, samples_holding

    prefix, root = Path(prefix), Path(root)
    encoder = encoder_of(prefix, root, Path(tokenizer) if tokenizer else None)
    if isinstance(text, str) and encoder is None:
        raise UsageError(
            "a text is looked for by its ids, and there is no tokenizer", hint="--tokenizer FILE, or --find-ids"
        )
    ids = encoder.encode(text, allow_special=True).tolist() if encoder and isinstance(text, str) else [*map(int, text)]
    opened = open_order(prefix, root, order) if order is not None else None
    dataset = opened.find(0)[0].dataset if opened else TokenDataset(prefix)
    decode = encoder.decode if encoder else None
    found = find_tokens(dataset, ids, limit=limit, decode=decode, jobs=jobs, reporter=reporter)
    if opened is None:
        return FoundText(found=found, samples=[], steps=None)
    samples = samples_holding(opened.find(0)[0], found.occurrences, samples=opened.samples)
    steps = [one.sample // opened.batch + 1 for one in samples] if opened.batch else None
    return FoundText(found=found, samples=samples, steps=steps)


def study(
    prefix: str | Path,
    *,
    root: str | Path = "pile-data",
    tokenizer: str | Path | None = None,
    sequence_length: int | None = None,
    samples: int | None = None,
    run: str | None = None,
    listed: int = 20,
    parquet: str | Path | None = None,
    jobs: int = 1,
    reporter: Reporter = SILENT,
) -> ShardStudy:
    """All that `pile shards stats` tells: `shards.stats.study_shards` with the root's tokenizer and a run's length.

    Raises UsageError where the pair or the run is absent, and for another tokenizer than that of the shards.
    """
    from shards.stats import study_shards

    prefix, root = Path(prefix), Path(root)
    if run is not None:
        folder, recipe = run_recipe(root, run)
        prefix = shards_of_run(root, folder) / "train"
        sequence_length, samples = recipe.data.sequence_length, recipe.train.steps * recipe.data.global_batch
    encoder = encoder_of(prefix, root, Path(tokenizer) if tokenizer else None) if _is_known(prefix, tokenizer) else None
    studied = study_shards(
        prefix,
        vocabulary=vocabulary_of(encoder) if encoder else None,
        sequence_length=sequence_length,
        samples=samples,
        listed=listed,
        parquet=Path(parquet) if parquet else None,
        jobs=jobs,
        reporter=reporter,
    )
    if run is None or studied.run is None or not studied.components:
        return studied
    return _with_epochs_of(studied, studied.run, root, run)


def _with_epochs_of(studied: ShardStudy, length: RunLength, root: Path, run: str) -> ShardStudy:
    """The same with what the samples of the run really read, over all its phases, in place of the average."""
    from shards.exposures import exposures

    opened = open_order(Path(studied.prefix), root, Order(run=run))
    epochs = exposures(opened.phases, opened.samples).epochs()
    components = [msgspec.structs.replace(row, epochs=epochs.get(row.slug, 0.0)) for row in length.components]
    return msgspec.structs.replace(studied, run=msgspec.structs.replace(length, components=components))


def _is_known(prefix: Path, tokenizer: str | Path | None) -> bool:
    """Whether one may say what the ids stand for: shards without a manifest may be of any tokenizer."""
    return tokenizer is not None or read_manifest(prefix.parent) is not None
