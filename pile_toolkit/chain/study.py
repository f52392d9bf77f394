"""Shards, their tokenizer and a run in, samples as text, places of a text and statistics out: what one looks at."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.chain.orders import Order, open_order
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pile_toolkit.core.console import Reporter
    from shards.find import Found
    from shards.index import SampleIndex
    from shards.locate import FoundText
    from shards.show import ShownSamples
    from shards.stats import ShardStudy, Vocabulary
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
        first_sample=opened.phases.of(numbers[-1])[0].first_sample,
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

    Of a run every phase is looked through, each in its own shards, up to `limit` places of each.

    A text is looked for as the ids it has by itself: in a document its first and last token may be others. Raises
    UsageError for an empty text, and where there is no tokenizer to encode it.
    """
    from shards.dataset import TokenDataset
    from shards.find import find_tokens
    from shards.locate import FoundText

    prefix, root = Path(prefix), Path(root)
    opened = open_order(prefix, root, order) if order is not None else None
    looked_at = Path(opened.phases.phases[0].prefix) if opened else prefix
    encoder = encoder_of(looked_at, root, Path(tokenizer) if tokenizer else None)
    if isinstance(text, str) and encoder is None:
        raise UsageError(
            "a text is looked for by its ids, and there is no tokenizer", hint="--tokenizer FILE, or --find-ids"
        )
    ids = encoder.encode(text, allow_special=True).tolist() if encoder and isinstance(text, str) else [*map(int, text)]
    decode = encoder.decode if encoder else None

    def find(dataset: TokenDataset) -> Found:
        return find_tokens(dataset, ids, limit=limit, decode=decode, jobs=jobs, reporter=reporter)

    if opened is None:
        return FoundText(found=find(TokenDataset(prefix)), samples=[], steps=None)
    first, *later = (
        _found_in_phase(find(index.dataset), index, phase.first_sample, samples, opened.batch)
        for phase, index, samples in opened.spans()
    )
    return msgspec.structs.replace(first, later_phases=later)


def _found_in_phase(found: Found, index: SampleIndex, first: int, samples: int, batch: int | None) -> FoundText:
    """The samples of one phase that hold what was found, by their numbers in the run."""
    from shards.locate import FoundText, samples_holding

    inside = samples_holding(index, found.occurrences, samples=samples)
    held = [msgspec.structs.replace(one, sample=first + one.sample) for one in inside]
    steps = [one.sample // batch + 1 for one in held] if batch else None
    return FoundText(found=found, samples=held, steps=steps, first_sample=first)


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
    exposures: str | Path | None = None,
    jobs: int = 1,
    reporter: Reporter = SILENT,
) -> ShardStudy:
    """All that `pile shards stats` tells: `shards.stats.study_shards` with the root's tokenizer and a run's length.

    Of a run it is a `RunStudy` of the shards of its last phase, with what the samples of all its phases read of each
    document, which `exposures` is a Parquet file of. Raises UsageError where the pair or the run is absent, and for
    another tokenizer than that of the shards.
    """
    from shards.stats import study_shards

    prefix, root = Path(prefix), Path(root)
    opened = open_order(prefix, root, Order(run=run)) if run is not None else None
    if opened is not None:
        last = opened.phases.phases[-1]
        prefix, sequence_length, samples = Path(last.prefix), last.sequence_length, opened.samples
    elif exposures is not None:
        raise UsageError("how often documents are read is counted of a run", hint="--run NAME")
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
    if opened is None:
        return studied
    from shards.run_study import study_of_run, write_exposures

    counted, run_study = study_of_run(studied, opened.phases, opened.samples)
    if exposures is not None:
        if counted is None:
            raise UsageError(f"{prefix} does not say which documents it holds", hint="without --exposures")
        write_exposures(Path(exposures), counted, run_study)
    return run_study


def _is_known(prefix: Path, tokenizer: str | Path | None) -> bool:
    """Whether one may say what the ids stand for: shards without a manifest may be of any tokenizer."""
    return tokenizer is not None or read_manifest(prefix.parent) is not None
