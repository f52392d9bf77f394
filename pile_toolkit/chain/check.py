"""A configuration in, nothing or a UsageError out: what a later stage would refuse is said before the first runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pile_toolkit.core.components import downloaded_slugs
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.memory import parse_memory
from pipelines.build.settings import refuse_unsearched
from pipelines.catalog import components, select
from pipelines.decontamination import read_evaluation_sets
from pipelines.dedup.settings import check_priority, resolve
from pipelines.filters import read_filtering
from pipelines.mixture import mixture
from pipelines.sources import parse_sources
from tokenizer.layout import smallest_vocab_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pile_toolkit.chain.config import RunConfig
    from pipelines.mixture import Mixture


def check(config: RunConfig) -> None:
    """Raises UsageError for components, sources, filters, a mixture, shares, a vocabulary or a recipe that are none."""
    slugs = [component.slug for component in select(config.download.components)]
    source_of = parse_sources(config.download.source)
    for slug in slugs:
        source_of(slug)
    read_filtering(config.download.filters, config.download.mask, config.download.original_filters)
    mixture_of(config, slugs)
    _check_numbers(config)
    if config.train is not None:
        from trainer.config import load_recipe

        load_recipe(config.train.recipe, config.train.set)


def mixture_of(config: RunConfig, slugs: Sequence[str]) -> Mixture:
    """What [build] says of the mixture of these components. Raises UsageError for what no sizes could make right."""
    build = config.build
    return mixture(
        build.weights,
        slugs,
        mode=build.mode,
        total=build.total,
        share=build.share,
        temperature=build.temperature,
        max_epochs=build.max_epochs,
    )


def _check_numbers(config: RunConfig) -> None:
    build, tokenizer = config.build, config.tokenizer
    if min(build.val_share, build.test_share) < 0.0 or build.val_share + build.test_share >= 1.0:
        raise UsageError(
            f"build.val_share is {build.val_share} and build.test_share {build.test_share}, "
            "both must be 0 or more and below 1 together",
            hint="val_share = 0.001, test_share = 0.001",
        )
    if build.memory is not None:
        parse_memory(build.memory)
    refuse_unsearched(build.duplicates, method=config.dedup.method, searched=config.dedup.against is not None)
    if (smallest := smallest_vocab_size(tokenizer.max_space_run, tokenizer.layout)) > tokenizer.vocab_size:
        raise UsageError(
            f"tokenizer.vocab_size is {tokenizer.vocab_size:,}, special tokens, bytes and runs of spaces "
            f"need {smallest:,}",
            hint="vocab_size = 50257",
        )
    check_priority(resolve(config.dedup).priority, downloaded_slugs(Path(config.root)))
    if config.dedup.against is not None:
        read_evaluation_sets(Path(config.dedup.against))
    if config.train is not None and config.train.steps is not None and config.train.steps < 1:
        raise UsageError(f"train.steps is {config.train.steps}, at least one is needed", hint="steps = 100")


def refuse_leftovers(root: Path, config: RunConfig) -> None:
    """Raises UsageError where an earlier run left published components that this configuration does not name.

    The stages take every component of a root, so they would go into the corpus unasked. Components of one's own stay.
    """
    named = {component.slug for component in select(config.download.components)}
    published = {component.slug for component in components()}
    if leftovers := sorted((set(downloaded_slugs(root)) & published) - named):
        folders = " ".join(str(root / "components" / slug) for slug in leftovers)
        raise UsageError(
            f"{root} holds {', '.join(leftovers)}, not among download.components, and would mix them in",
            hint=f"another --root, name them in download.components, or rm -r {folders}",
        )
